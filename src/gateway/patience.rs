//! For how long clients have been waiting for an answer, and for how long nothing was said.
//!
//! A query may take as long as it likes: that a client waits says nothing of MAIN by itself. It is what the operator has MAIN
//! tried for. Whose session is idle, or quiet for so long that it can sleep, is found out for all clients of an instance together, so
//! that none needs a timer.

use std::{
    future::poll_fn,
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicU8, AtomicU64, Ordering},
    },
    task::Poll,
    time::Duration,
};

use futures::task::AtomicWaker;
use tokio::time::Instant;

use super::{clearance::Now, statistics::Direction};

/// The clients of one instance.
#[derive(Debug)]
pub struct Patience {
    clocks: Arc<Clocks>,
    waits: Mutex<Vec<Weak<Wait>>>,
    /// Until when nobody could say anything, in nanoseconds since [`Clocks::began`].
    held_until: AtomicU64,
}

#[derive(Debug)]
struct Clocks {
    /// By which clients wait.
    now: Now,
    /// By which they are idle.
    began: Instant,
}

/// One client, who says something and waits for an answer.
#[derive(Debug)]
pub struct Wait {
    clocks: Arc<Clocks>,
    /// When it has said something for the first time after the last byte of an answer, in nanoseconds; 0: it does not wait.
    since: AtomicU64,
    /// When something was said last, by either side, in nanoseconds since [`Clocks::began`].
    last: AtomicU64,
    /// One of those below.
    told: AtomicU8,
    /// Of the session, which is told.
    waker: AtomicWaker,
}

/// What a session is told that passes nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// For so long that it must end.
    Idle,
    /// For so long that it can sleep.
    Quiet,
}

const NOTHING: u8 = 0;
const QUIET: u8 = 1;
/// That it is quiet, for which it cannot sleep.
const STAYS_AWAKE: u8 = 2;
const IDLE: u8 = 3;

impl Patience {
    /// Nobody waits, by this clock.
    #[must_use]
    pub fn new(now: Now) -> Self {
        Self {
            clocks: Arc::new(Clocks {
                now,
                began: Instant::now(),
            }),
            waits: Mutex::default(),
            held_until: AtomicU64::new(0),
        }
    }

    /// One more client, which does not wait.
    #[must_use]
    pub fn client(&self) -> Arc<Wait> {
        self.client_since(self.clocks.elapsed())
    }

    /// The same for one with whom something was said last at this [time](Wait::last).
    #[must_use]
    pub fn client_since(&self, last: u64) -> Arc<Wait> {
        let wait = Arc::new(Wait {
            clocks: Arc::clone(&self.clocks),
            since: AtomicU64::new(0),
            last: AtomicU64::new(last),
            told: AtomicU8::new(NOTHING),
            waker: AtomicWaker::new(),
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
        Some(self.clocks.now.get().saturating_sub(since))
    }

    /// Up to now nobody could say anything: that is not their idleness.
    pub fn begin_anew(&self) {
        self.held_until.store(self.clocks.elapsed(), Ordering::Relaxed);
    }

    /// Tells all clients that they are [idle](Told::Idle) who have said and heard nothing for so long. Returns when the next one
    /// will be, at the earliest.
    pub fn find_idle(&self, allowed: Duration) -> Instant {
        let now = self.clocks.elapsed();
        let allowed = nanos(allowed);
        let mut next = now.saturating_add(allowed);
        for wait in self.lock().iter().filter_map(Weak::upgrade) {
            let ends = self.ends(wait.last(), allowed);
            if ends <= now {
                wait.told.store(IDLE, Ordering::Release);
                wait.waker.wake();
            } else {
                next = next.min(ends);
            }
        }
        self.clocks.began + Duration::from_nanos(next)
    }

    /// When a client will be idle with whom something was said last at this [time](Wait::last), if so long is allowed.
    #[must_use]
    pub fn idle_at(&self, last: u64, allowed: Duration) -> Instant {
        self.clocks.began + Duration::from_nanos(self.ends(last, nanos(allowed)))
    }

    /// Tells so many clients at most that they are [quiet](Told::Quiet) who wait for no answer, and have said and heard nothing for
    /// so long. Each is told once, until something is said again. Returns how many were told, and when the next one will be quiet, at
    /// the earliest.
    pub fn find_quiet(&self, after: Duration, at_most: usize) -> (usize, Instant) {
        let now = self.clocks.elapsed();
        let after = nanos(after);
        let (mut told, mut next) = (0, now.saturating_add(after));
        let mut waits = self.lock();
        waits.retain(|wait| wait.strong_count() > 0);
        for wait in waits.iter().filter_map(Weak::upgrade) {
            if wait.since().is_some() || wait.told.load(Ordering::Relaxed) != NOTHING {
                continue;
            }
            let ends = wait.last().saturating_add(after);
            if ends > now || told == at_most {
                next = next.min(ends);
                continue;
            }
            // It may have been told meanwhile that it is idle.
            let first = wait
                .told
                .compare_exchange(NOTHING, QUIET, Ordering::Release, Ordering::Relaxed);
            if first.is_ok() {
                wait.waker.wake();
                told += 1;
            }
        }
        (told, self.clocks.began + Duration::from_nanos(next))
    }

    /// In nanoseconds since [`Clocks::began`].
    fn ends(&self, last: u64, allowed: u64) -> u64 {
        let held_until = self.held_until.load(Ordering::Relaxed);
        last.max(held_until).saturating_add(allowed)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Weak<Wait>>> {
        // Nothing under the lock leaves the list half changed.
        self.waits.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Clocks {
    fn elapsed(&self) -> u64 {
        nanos(self.began.elapsed())
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

impl Wait {
    /// Bytes were handed to the one that they are for: that counts for both.
    pub fn passed(&self, direction: Direction) {
        match direction {
            Direction::Up => self.asked(),
            Direction::Down => self.answered(),
        }
        self.begin_anew();
    }

    /// As if something had been said now.
    pub fn begin_anew(&self) {
        self.last.store(self.clocks.elapsed(), Ordering::Relaxed);
        self.told.store(NOTHING, Ordering::Relaxed);
    }

    /// When something was said last, in nanoseconds of a clock of its instance's clients.
    #[must_use]
    pub fn last(&self) -> u64 {
        self.last.load(Ordering::Relaxed)
    }

    /// Ends when nothing was said for long. Only one at a time may wait for it.
    pub async fn told(&self) -> Told {
        poll_fn(|context| {
            self.waker.register(context.waker());
            match self.told.load(Ordering::Acquire) {
                IDLE => Poll::Ready(Told::Idle),
                QUIET => Poll::Ready(Told::Quiet),
                _ => Poll::Pending,
            }
        })
        .await
    }

    /// That it is quiet is not told again before something was said.
    pub fn stay_awake(&self) {
        let unless_idle = |told| (told != IDLE).then_some(STAYS_AWAKE);
        let _idle = self
            .told
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, unless_idle);
    }

    /// Bytes of the client were handed to the instance: it waits for an answer.
    pub fn asked(&self) {
        if self.since.load(Ordering::Relaxed) == 0 {
            let now = nanos(self.clocks.now.get());
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
