//! Leave to pass bytes, which ends by itself.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::sync::watch;

use super::{attestation::Attestation, flow::Flow};
use crate::leader::Clock;

/// Tells the time of a clock that goes on while the machine sleeps.
#[derive(Clone)]
pub struct Now(Arc<dyn Fn() -> Duration + Send + Sync>);

impl Now {
    /// The time of this clock.
    pub fn of(clock: impl Clock) -> Self {
        Self(Arc::new(move || clock.now()))
    }

    /// The time at this moment.
    #[must_use]
    pub fn get(&self) -> Duration {
        (self.0)()
    }
}

impl fmt::Debug for Now {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.get())
    }
}

/// Leave to pass bytes until some moment, to be asked for before each copy.
#[derive(Debug)]
pub struct Clearance {
    /// None: for ever.
    bounds: Option<Bounds>,
    flow: Flow,
}

#[derive(Debug)]
struct Bounds {
    now: Now,
    /// The term in which MAIN is MAIN now.
    term: AtomicI64,
    until_nanos: AtomicU64,
    free_until_nanos: AtomicU64,
    /// Marked changed when it was extended.
    extended: watch::Sender<()>,
    attestation: Arc<Attestation>,
}

/// What may be done at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leave {
    /// Bytes may be passed in both directions.
    Free,
    /// Those of a client may; those of MAIN only once it is attested that its replicas were there after they had come.
    Attested,
    /// None may.
    Over,
}

impl Clearance {
    /// One for MAIN of this term that has ended, until it is extended.
    #[must_use]
    pub fn ended(now: Now, term: i64, attestation: Arc<Attestation>) -> Self {
        Self {
            bounds: Some(Bounds {
                now,
                term: AtomicI64::new(term),
                until_nanos: AtomicU64::new(0),
                free_until_nanos: AtomicU64::new(0),
                extended: watch::Sender::default(),
                attestation,
            }),
            flow: Flow::default(),
        }
    }

    /// One that does not end.
    #[must_use]
    pub fn endless() -> Self {
        Self {
            bounds: None,
            flow: Flow::default(),
        }
    }

    /// Whether bytes may move at the moment, as far as there is leave to pass them at all.
    #[must_use]
    pub fn flow(&self) -> &Flow {
        &self.flow
    }

    /// The term in which MAIN is MAIN now; none for a replica.
    #[must_use]
    pub fn term(&self) -> Option<i64> {
        let bounds = self.bounds.as_ref()?;
        Some(bounds.term.load(Ordering::Relaxed))
    }

    /// Lets it last until `until` at least, for MAIN of this term; from `free_until` on, what MAIN says must be attested.
    pub fn extend(&self, term: i64, until: Duration, free_until: Duration) {
        let Some(bounds) = &self.bounds else { return };
        bounds.term.fetch_max(term, Ordering::Relaxed);
        let nanos = |at: Duration| u64::try_from(at.as_nanos()).unwrap_or(u64::MAX);
        bounds.until_nanos.fetch_max(nanos(until), Ordering::Relaxed);
        bounds
            .free_until_nanos
            .fetch_max(nanos(free_until), Ordering::Relaxed);
        bounds.extended.send_replace(());
    }

    /// What may be done at this moment.
    #[must_use]
    pub fn leave(&self) -> Leave {
        let Some(bounds) = &self.bounds else {
            return Leave::Free;
        };
        let now = bounds.now.get();
        let is_before = |nanos: &AtomicU64| now < Duration::from_nanos(nanos.load(Ordering::Relaxed));
        if is_before(&bounds.free_until_nanos) {
            Leave::Free
        } else if is_before(&bounds.until_nanos) {
            Leave::Attested
        } else {
            Leave::Over
        }
    }

    /// Ends when whatever MAIN has said before this call may be passed on as far as its replicas count: it is attested that
    /// they were there later, or that needs not be any more.
    pub async fn attested(&self) {
        let Some(bounds) = &self.bounds else { return };
        let mut extended = bounds.extended.subscribe();
        let term = bounds.term.load(Ordering::Relaxed);
        let attested = bounds.attestation.since(term, bounds.now.get());
        let freed = async {
            while self.leave() != Leave::Free {
                // The sender is this clearance's own.
                let _ = extended.changed().await;
            }
        };
        tokio::select! {
            biased;
            () = attested => {}
            () = freed => {}
        }
    }
}
