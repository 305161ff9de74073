//! A bound on how many sessions there are at the same time.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

/// Counts sessions and lets no more in than the bound. The bound may change at any time; sessions above a
/// lowered one stay.
#[derive(Debug)]
pub struct Limit {
    used: AtomicUsize,
    max: AtomicUsize,
}

/// One counted session; dropping it makes room for another.
#[derive(Debug)]
pub struct Permit(Arc<Limit>);

impl Limit {
    /// A bound of `max` sessions.
    #[must_use]
    pub fn new(max: usize) -> Arc<Self> {
        Arc::new(Self {
            used: AtomicUsize::new(0),
            max: AtomicUsize::new(max),
        })
    }

    /// Changes the bound.
    pub fn set_max(&self, max: usize) {
        self.max.store(max, Ordering::Relaxed);
    }

    /// How many there are.
    #[must_use]
    pub fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    /// Counts one more session, unless the bound is reached.
    #[must_use]
    pub fn admit(self: &Arc<Self>) -> Option<Permit> {
        let max = self.max.load(Ordering::Relaxed);
        // Test and increment are one atomic step, so two clients never share the last place.
        self.used
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
                (used < max).then_some(used + 1)
            })
            .ok()
            .map(|_| Permit(Arc::clone(self)))
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.used.fetch_sub(1, Ordering::Relaxed);
    }
}
