//! What the operator wrote, by the API server's audit log.

use std::ops::RangeInclusive;
use std::path::Path;

use anyhow::Result;
use e2e_cluster::audit;
use e2e_node::node::OPERATOR_USER;
use jiff::Timestamp;

/// The operator's writes of statuses and Events, by their times.
pub struct Requests {
    statuses: Vec<Timestamp>,
    events: Vec<Timestamp>,
}

/// How many writes there were in some time.
#[derive(Clone, Copy)]
pub struct Count {
    /// Of a MemgraphCluster's status.
    pub statuses: usize,
    /// Of Events.
    pub events: usize,
}

/// Reads the audit log.
///
/// # Errors
/// When it cannot be read.
pub fn read(log: &Path) -> Result<Requests> {
    let mut all = Requests {
        statuses: Vec::new(),
        events: Vec::new(),
    };
    for request in audit::read(log)? {
        let Some(object) = request.object_ref.as_ref().filter(|_| request.is_write()) else {
            continue;
        };
        if request.user.username != OPERATOR_USER {
            continue;
        }
        let at = request.request_received_timestamp.parse()?;
        match (object.resource.as_str(), object.subresource.as_str()) {
            ("memgraphclusters", "status") => all.statuses.push(at),
            ("events", _) => all.events.push(at),
            _ => {}
        }
    }
    Ok(all)
}

impl Requests {
    /// Those that came in within a window.
    pub fn within(&self, window: &RangeInclusive<Timestamp>) -> Count {
        let within = |times: &[Timestamp]| times.iter().filter(|at| window.contains(at)).count();
        Count {
            statuses: within(&self.statuses),
            events: within(&self.events),
        }
    }
}
