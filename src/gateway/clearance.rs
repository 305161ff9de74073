//! Leave to pass bytes, which ends by itself.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

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
    now: Option<Now>,
    until_nanos: AtomicU64,
}

impl Clearance {
    /// One that has ended, until it is extended.
    pub fn ended(now: Now) -> Self {
        Self {
            now: Some(now),
            until_nanos: AtomicU64::new(0),
        }
    }

    /// One that does not end.
    #[must_use]
    pub fn endless() -> Self {
        Self {
            now: None,
            until_nanos: AtomicU64::new(u64::MAX),
        }
    }

    /// Lets it last until then at least.
    pub fn extend(&self, until: Duration) {
        let nanos = u64::try_from(until.as_nanos()).unwrap_or(u64::MAX);
        self.until_nanos.fetch_max(nanos, Ordering::Relaxed);
    }

    /// Whether bytes may be passed at this moment.
    #[must_use]
    pub fn holds(&self) -> bool {
        let Some(now) = &self.now else { return true };
        now.get() < Duration::from_nanos(self.until_nanos.load(Ordering::Relaxed))
    }
}
