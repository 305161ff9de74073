//! How far it has come with what a cluster consists of: its objects, and the Secrets that its spec names.
//!
//! What is in the way there is mostly for a human to change. A cluster whose MAIN is away is looked at several times in a second,
//! but what was refused, or not found, is asked for ever less often, and from the second time on in the queue of those who can wait:
//! hundreds of clusters that lack a Secret do not stand in the way of another one's failover. Where the spec is another one by
//! now, it is asked for at once.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;

use super::{objects::ObjectError, pause_after};
use crate::api::MemgraphCluster;

/// What is known of it.
#[derive(Default)]
pub(super) struct Equipment {
    /// The generation of the spec by which all was found to be there last.
    complete: Option<i64>,
    hindered: Option<Hindered>,
}

/// Something could not be brought about.
struct Hindered {
    since: Instant,
    /// How often in a row.
    times: u32,
    /// When the cluster is to be looked at again for another reason, if nothing else has failed since.
    next: Option<Duration>,
    /// None: all is there, and only applications could not be told of it.
    missing: Option<Missing>,
}

/// What the cluster lacks by this generation of its spec.
struct Missing {
    generation: Option<i64>,
    error: Arc<ObjectError>,
    /// It is not asked for again before.
    again: Instant,
}

impl Equipment {
    /// All of it is there.
    pub(super) fn completed(&mut self, cluster: &MemgraphCluster) {
        self.complete = cluster.metadata.generation;
    }

    /// Whether all was there once that this very spec asks for.
    pub(super) fn is_complete(&self, cluster: &MemgraphCluster) -> bool {
        self.complete == cluster.metadata.generation
    }

    /// What is in the way, and for how long it is left alone, if it was found not long ago and is not asked for again now.
    pub(super) fn awaits(&self, cluster: &MemgraphCluster) -> Option<(Arc<ObjectError>, Duration)> {
        let missing = self.missing(cluster)?;
        let again = missing.again.saturating_duration_since(Instant::now());
        (!again.is_zero()).then(|| (Arc::clone(&missing.error), again))
    }

    /// Whether something of this very spec has been in the way before.
    pub(super) fn is_asked_for_again(&self, cluster: &MemgraphCluster) -> bool {
        self.missing(cluster).is_some()
    }

    fn missing(&self, cluster: &MemgraphCluster) -> Option<&Missing> {
        let missing = self.hindered.as_ref()?.missing.as_ref()?;
        (missing.generation == cluster.metadata.generation).then_some(missing)
    }

    /// Something could not be brought about.
    pub(super) fn lacks(&mut self, cluster: &MemgraphCluster, error: ObjectError) -> Arc<ObjectError> {
        let error = Arc::new(error);
        let hindered = self.hindered();
        hindered.missing = Some(Missing {
            generation: cluster.metadata.generation,
            error: Arc::clone(&error),
            again: Instant::now() + pause_after(hindered.times),
        });
        error
    }

    /// There was no time for it. Returns what was in the way before, and is taken for being so still.
    pub(super) fn put_off(&mut self, cluster: &MemgraphCluster) -> Option<Arc<ObjectError>> {
        let error = Arc::clone(&self.missing(cluster)?.error);
        let hindered = self.hindered();
        hindered.times = hindered.times.saturating_add(1);
        let pause = pause_after(hindered.times);
        if let Some(missing) = &mut hindered.missing {
            missing.again = Instant::now() + pause;
        }
        Some(error)
    }

    /// Everything else was seen to, whose failures are its own: it is to be looked at again after `next`.
    pub(super) fn hindered_until(&mut self, next: Duration) {
        self.hindered().next = Some(next);
    }

    /// Counts a failure, if it is one of these. Returns how many there were without a success, and after what time at the latest the cluster
    /// is to be looked at again for another reason.
    pub(super) fn failed(&mut self) -> Option<(u32, Duration)> {
        let hindered = self.hindered.as_mut()?;
        let next = hindered.next.take()?;
        hindered.times = hindered.times.saturating_add(1);
        Some((hindered.times, next))
    }

    /// Nothing is in the way.
    pub(super) fn succeeded(&mut self) {
        self.hindered = None;
    }

    /// For how long something has been in the way.
    pub(super) fn hindered_for(&self) -> Duration {
        let since = self.hindered.as_ref().map(|hindered| hindered.since);
        since.map(|since| since.elapsed()).unwrap_or_default()
    }

    fn hindered(&mut self) -> &mut Hindered {
        self.hindered.get_or_insert_with(|| Hindered {
            since: Instant::now(),
            times: 0,
            next: None,
            missing: None,
        })
    }
}
