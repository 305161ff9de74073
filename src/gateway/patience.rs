//! For how long clients have been waiting for an answer.
//!
//! A query may take as long as it likes: that a client waits says nothing of MAIN by itself. It is what the operator has MAIN
//! tried for.

use std::{
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use super::clearance::Now;

/// The clients of one instance.
#[derive(Debug)]
pub struct Patience {
    now: Now,
    waits: Mutex<Vec<Weak<Wait>>>,
}

/// One client, who says something and waits for an answer.
#[derive(Debug)]
pub struct Wait {
    now: Now,
    /// When it has said something for the first time after the last byte of an answer, in nanoseconds; 0: it does not wait.
    since: AtomicU64,
}

impl Patience {
    /// Nobody waits, by this clock.
    #[must_use]
    pub fn new(now: Now) -> Self {
        Self {
            now,
            waits: Mutex::default(),
        }
    }

    /// One more client, which does not wait.
    #[must_use]
    pub fn client(&self) -> Arc<Wait> {
        let wait = Arc::new(Wait {
            now: self.now.clone(),
            since: AtomicU64::new(0),
        });
        let mut waits = self.lock();
        if waits.len() == waits.capacity() {
            waits.retain(|wait| wait.strong_count() > 0);
        }
        waits.push(Arc::downgrade(&wait));
        wait
    }

    /// For how long the client has waited that has waited for longest; none: nobody waits.
    #[must_use]
    pub fn longest(&self) -> Option<Duration> {
        let mut waits = self.lock();
        waits.retain(|wait| wait.strong_count() > 0);
        let since = waits.iter().filter_map(|wait| wait.upgrade()?.since()).min()?;
        Some(self.now.get().saturating_sub(since))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Weak<Wait>>> {
        // Nothing under the lock leaves the list half changed.
        self.waits.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Wait {
    /// Bytes of the client were handed to the instance.
    pub fn asked(&self) {
        if self.since.load(Ordering::Relaxed) == 0 {
            let now = u64::try_from(self.now.get().as_nanos()).unwrap_or(u64::MAX);
            self.since.store(now.max(1), Ordering::Relaxed);
        }
    }

    /// Bytes of the instance were handed to the client.
    pub fn answered(&self) {
        self.since.store(0, Ordering::Relaxed);
    }

    fn since(&self) -> Option<Duration> {
        let since = self.since.load(Ordering::Relaxed);
        (since > 0).then(|| Duration::from_nanos(since))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gateway::tests::TestClock;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_client_waits_from_its_first_byte_after_an_answer_up_to_the_next_one() {
        let clock = TestClock::default();
        clock.advance(SECOND);
        let patience = Patience::new(Now::of(clock.clone()));
        let (one, other) = (patience.client(), patience.client());
        assert_eq!(patience.longest(), None);
        one.asked();
        clock.advance(SECOND);
        one.asked();
        other.asked();
        clock.advance(SECOND);
        assert_eq!(patience.longest(), Some(2 * SECOND));
        one.answered();
        assert_eq!(patience.longest(), Some(SECOND));
        one.asked();
        drop(other);
        assert_eq!(patience.longest(), Some(Duration::ZERO));
        one.answered();
        assert_eq!(patience.longest(), None);
    }
}
