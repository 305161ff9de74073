//! One operator process: how far it has come, whether it leads, and what it has done.

use std::{
    sync::{
        Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use prometheus_client::{
    metrics::{counter::Counter, family::Family, histogram::Histogram},
    registry::{Registry, Unit},
};

use super::live::{Eyes, Live};
use crate::metrics::{Labels, labels};

/// Upper bounds of the time of a reconciliation, a step and a wait, in seconds.
const BUCKETS: [f64; 12] = [
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
];

/// What an operator process tells of itself.
#[derive(Debug)]
pub struct Vitals {
    ready: AtomicBool,
    /// Who held the Lease when it was seen last.
    holder: Mutex<Option<String>>,
    eyes: Mutex<Option<Weak<dyn Eyes>>>,
    reconciliations: Histogram,
    errors: Family<Labels, Counter>,
    steps: Family<Labels, Histogram, fn() -> Histogram>,
    waits: Family<Labels, Histogram, fn() -> Histogram>,
}

impl std::fmt::Debug for dyn Eyes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Eyes")
    }
}

impl Default for Vitals {
    fn default() -> Self {
        Self {
            ready: AtomicBool::default(),
            holder: Mutex::default(),
            eyes: Mutex::default(),
            reconciliations: Histogram::new(BUCKETS),
            errors: Family::default(),
            steps: Family::new_with_constructor(|| Histogram::new(BUCKETS)),
            waits: Family::new_with_constructor(|| Histogram::new(BUCKETS)),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Each is set in one step, so a panic elsewhere under the lock spoils nothing.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Vitals {
    /// The caches are filled: this process can lead.
    pub fn set_ready(&self) {
        self.ready.store(true, Ordering::Relaxed);
    }

    /// Whether it can lead.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Relaxed)
    }

    /// The Lease was seen in this one's hands.
    pub fn note_holder(&self, holder: Option<&str>) {
        let mut known = lock(&self.holder);
        if known.as_deref() != holder {
            *known = holder.map(str::to_owned);
        }
    }

    /// Who held the Lease when it was seen last: the name of a process, `_`, and a number.
    #[must_use]
    pub fn holder(&self) -> Option<String> {
        lock(&self.holder).clone()
    }

    /// This process leads, and sees the clusters by these eyes for as long as they are open.
    pub fn lead(&self, eyes: Weak<dyn Eyes>) {
        *lock(&self.eyes) = Some(eyes);
    }

    /// Whether this process leads.
    #[must_use]
    pub fn leads(&self) -> bool {
        lock(&self.eyes)
            .as_ref()
            .is_some_and(|eyes| eyes.strong_count() > 0)
    }

    /// What this process sees of the cluster with this UID, if it leads.
    pub async fn live(&self, uid: &str) -> Option<Live> {
        let eyes = lock(&self.eyes).as_ref()?.upgrade()?;
        eyes.live(uid).await
    }

    /// A reconciliation is over; `failure` is the kind of its error.
    pub fn reconciled(&self, took: Duration, failure: Option<&'static str>) {
        self.reconciliations.observe(took.as_secs_f64());
        if let Some(reason) = failure {
            self.errors.get_or_create(&labels([("reason", reason)])).inc();
        }
    }

    /// A step of this kind is over.
    pub fn took(&self, step: &'static str, time: Duration) {
        self.steps
            .get_or_create(&labels([("step", step)]))
            .observe(time.as_secs_f64());
    }

    /// A request to the API server has waited for so long until it could be sent in this lane.
    pub fn waited(&self, lane: &'static str, time: Duration) {
        self.waits
            .get_or_create(&labels([("lane", lane)]))
            .observe(time.as_secs_f64());
    }

    /// Adds what this process has counted to a registry.
    pub fn register(&self, registry: &mut Registry) {
        let registry = registry.sub_registry_with_prefix("memgraph_operator");
        registry.register_with_unit(
            "reconcile_duration",
            "How long reconciliations took, those that failed included",
            Unit::Seconds,
            self.reconciliations.clone(),
        );
        registry.register(
            "reconcile_errors",
            "Reconciliations that failed",
            self.errors.clone(),
        );
        registry.register_with_unit(
            "step_duration",
            "How long the steps of changes to clusters took, those that failed included",
            Unit::Seconds,
            self.steps.clone(),
        );
        registry.register_with_unit(
            "api_request_wait",
            "How long requests for clusters waited until they could be sent to the API server",
            Unit::Seconds,
            self.waits.clone(),
        );
    }
}
