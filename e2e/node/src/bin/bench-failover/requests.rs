//! What the operator wrote, by the API server's audit log.

use std::ops::RangeInclusive;
use std::path::Path;

use anyhow::Result;
use e2e_cluster::audit::Follower;
use e2e_node::node::OPERATOR_USER;
use jiff::Timestamp;

/// The operator's writes of statuses and Events, by their times.
pub struct Requests {
    log: Follower,
    statuses: Vec<Timestamp>,
    events: Vec<Timestamp>,
}

impl Requests {
    /// Those that an audit log tells of.
    pub fn of(log: &Path) -> Self {
        Self {
            log: Follower::of(log),
            statuses: Vec::new(),
            events: Vec::new(),
        }
    }

    /// How many writes of a MemgraphCluster's status, and how many of Events, came in within a window that is over.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub fn within(&mut self, window: &RangeInclusive<Timestamp>) -> Result<(usize, usize)> {
        for request in self.log.news()? {
            let Some(object) = request.object_ref.as_ref().filter(|_| request.is_write()) else {
                continue;
            };
            if request.user.username != OPERATOR_USER {
                continue;
            }
            let at = request.request_received_timestamp.parse()?;
            match (object.resource.as_str(), object.subresource.as_str()) {
                ("memgraphclusters", "status") => self.statuses.push(at),
                ("events", _) => self.events.push(at),
                _ => {}
            }
        }
        let within = |times: &[Timestamp]| times.iter().filter(|at| window.contains(at)).count();
        Ok((within(&self.statuses), within(&self.events)))
    }
}
