//! The right to act.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use super::clock::Clock;

/// This process does not lead, or cannot be sure that it still does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("another operator process may be leading by now")]
pub struct NotLeading;

/// The right to change anything: asked before each command and each request that changes something.
///
/// It ends by itself at a deadline that only a renewal of the Lease moves; one that was sent in time, not one that
/// is under way.
#[derive(Clone)]
pub struct Leadership {
    remaining: Arc<dyn Fn() -> Duration + Send + Sync>,
}

impl Leadership {
    pub(super) fn new<C: Clock>(clock: C, deadline: Arc<Deadline>) -> Self {
        Self {
            remaining: Arc::new(move || deadline.get().saturating_sub(clock.now())),
        }
    }

    /// One that never ends, for tests of what is done with it.
    #[cfg(test)]
    pub(crate) fn for_ever() -> Self {
        Self {
            remaining: Arc::new(|| Duration::MAX),
        }
    }

    /// One that holds while `leads` is true, for tests of what is done without it. It is to be asked often.
    #[cfg(test)]
    pub(crate) fn while_true(leads: Arc<std::sync::atomic::AtomicBool>) -> Self {
        let soon = Duration::from_millis(1);
        Self {
            remaining: Arc::new(move || {
                if leads.load(Ordering::Acquire) {
                    soon
                } else {
                    Duration::ZERO
                }
            }),
        }
    }

    /// For how long it holds if it is not renewed.
    #[must_use]
    pub fn remaining(&self) -> Duration {
        (self.remaining)()
    }

    /// Whether this process may act now.
    ///
    /// # Errors
    /// When the Lease was not renewed in time, or was given up.
    pub fn check(&self) -> Result<(), NotLeading> {
        if self.remaining().is_zero() {
            Err(NotLeading)
        } else {
            Ok(())
        }
    }
}

/// When leadership ends, as a time of the [`Clock`].
#[derive(Debug, Default)]
pub(super) struct Deadline(AtomicU64);

impl Deadline {
    pub(super) fn get(&self) -> Duration {
        Duration::from_nanos(self.0.load(Ordering::Acquire))
    }

    pub(super) fn set(&self, time: Duration) {
        let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        self.0.store(nanos, Ordering::Release);
    }

    /// Ends leadership at once.
    pub(super) fn end(&self) {
        self.0.store(0, Ordering::Release);
    }
}
