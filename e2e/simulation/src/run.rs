//! One run: a seed from its beginning to its end.

use std::{collections::BTreeSet, rc::Rc, time::Duration};

use memgraph_operator::api::{ledger::Route, names};
use tokio::{
    task::LocalSet,
    time::{Instant, sleep},
};

use crate::{
    api::Resource,
    invariants::Violation,
    trace::Trace,
    world::{CLUSTER, Options, World},
};

/// What became of a run.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// The seed.
    pub seed: u64,
    /// What must never be, and was.
    pub violations: Vec<Violation>,
    /// The number that two runs of a seed share.
    pub hash: u64,
    /// How many writes were acknowledged.
    pub acknowledged: u64,
    /// How long it took, by the clock of its world.
    pub time: Duration,
    /// What has happened, if it was wanted.
    pub lines: Vec<String>,
}

/// Runs `course` in a world of its own, on virtual time.
///
/// # Errors
/// When the runtime cannot be made.
pub fn run<F>(
    seed: u64,
    options: &Options,
    with_text: bool,
    course: impl FnOnce(Rc<World>) -> F,
) -> std::io::Result<Outcome>
where
    F: Future<Output = ()>,
{
    // Whatever asks for chance without a seed of its own gets it from here.
    fastrand::seed(seed);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()?;
    let local = LocalSet::new();
    let outcome = local.block_on(&runtime, async {
        let trace = Trace::new(with_text);
        let world = World::begin(seed, options, trace.clone());
        let alarm = world.watchman.clone();
        let following = course(Rc::clone(&world));
        tokio::select! {
            biased;
            () = alarm.alarm() => {}
            () = following => {}
        }
        Outcome {
            seed,
            violations: world.watchman.violations(),
            hash: trace.hash() ^ world.memgraphs.fingerprint(),
            acknowledged: world.clients.acknowledged(),
            time: world.memgraphs.now(),
            lines: trace.lines(),
        }
    });
    Ok(outcome)
}

impl World {
    /// Whether clients may write and so many replicas are in sync, as far as the status tells.
    #[must_use]
    pub fn is_settled(&self, in_sync: i32) -> bool {
        let settled = self.with_cluster(|cluster| {
            cluster.status.as_ref().is_some_and(|status| {
                let ledger = status.ledger.as_ref();
                ledger.is_some_and(|ledger| ledger.route == Route::Open)
                    && status.in_sync_replicas >= in_sync
                    && status.ready_replicas == status.replicas
                    && status.observed_generation == cluster.metadata.generation
            })
        });
        settled == Some(true)
    }

    /// Whether nothing of the cluster is about to end: no pod, and no gateway that the ledger still waits for.
    #[must_use]
    pub fn is_at_rest(&self) -> bool {
        let mut uids = BTreeSet::new();
        for (_, pod) in self.api.store().all(&Resource::pods()) {
            if pod["metadata"]["labels"][names::CLUSTER_LABEL] != CLUSTER {
                continue;
            }
            if !pod["metadata"]["deletionTimestamp"].is_null() {
                return false;
            }
            uids.extend(pod["metadata"]["uid"].as_str().map(str::to_owned));
        }
        let gateways = self.ledger().unwrap_or_default().gateways;
        gateways
            .iter()
            .all(|entry| !entry.leaving && uids.contains(&entry.pod_uid))
    }

    /// Waits until clients may write and so many replicas are in sync; whether that was so in time.
    pub async fn settled(&self, in_sync: i32, time: Duration) -> bool {
        let deadline = Instant::now() + time;
        while Instant::now() < deadline {
            if self.is_settled(in_sync) {
                return true;
            }
            sleep(Duration::from_millis(100)).await;
        }
        false
    }
}
