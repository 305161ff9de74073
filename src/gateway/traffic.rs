//! What one session has passed on, and whether that is long ago.

use std::{
    future::pending,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};

use super::{
    patience::Wait,
    statistics::{Direction, Statistics},
};

/// Takes note of what one session passes on.
#[derive(Debug)]
pub struct Traffic<'a> {
    statistics: &'a Statistics,
    wait: &'a Wait,
    began: Instant,
    /// When bytes were passed on last, in nanoseconds since the session began.
    last: AtomicU64,
}

impl<'a> Traffic<'a> {
    /// That of a session which begins now, at the port of these statistics.
    #[must_use]
    pub fn new(statistics: &'a Statistics, wait: &'a Wait) -> Self {
        Self {
            statistics,
            wait,
            began: Instant::now(),
            last: AtomicU64::new(0),
        }
    }

    /// So many bytes, at least one, were handed to the peer of the one who sent them.
    pub fn passed(&self, direction: Direction, bytes: usize) {
        self.statistics.pass(direction, bytes);
        match direction {
            Direction::Up => self.wait.asked(),
            Direction::Down => self.wait.answered(),
        }
        self.begin_anew();
    }

    /// The session is as if something had been passed on now.
    pub fn begin_anew(&self) {
        let nanos = u64::try_from(self.began.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.last.store(nanos, Ordering::Relaxed);
    }

    /// Ends when nothing was passed on, in either direction, for as long as `timeout` says, which may change meanwhile; zero
    /// is for ever.
    pub async fn idle(&self, mut timeout: watch::Receiver<Duration>) {
        loop {
            let allowed = *timeout.borrow_and_update();
            tokio::select! {
                biased;
                changed = timeout.changed() => if changed.is_err() {
                    return pending().await;
                },
                () = self.idle_for(allowed) => return,
            }
        }
    }

    /// The same with this timeout.
    async fn idle_for(&self, allowed: Duration) {
        if allowed.is_zero() {
            return pending().await;
        }
        while self.last() + allowed > Instant::now() {
            // Apart, since most sessions may say nothing for as long as they like.
            Box::pin(sleep_until(self.last() + allowed)).await;
        }
    }

    fn last(&self) -> Instant {
        self.began + Duration::from_nanos(self.last.load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::sleep;

    use super::*;
    use crate::gateway::{clearance::Now, gate::Port, patience::Patience, tests::TestClock};

    const MINUTE: Duration = Duration::from_secs(60);

    #[tokio::test(start_paused = true)]
    async fn a_session_is_idle_when_its_last_byte_in_either_direction_is_as_long_ago_as_is_allowed() {
        let statistics = Statistics::new(Port::ReadWrite);
        let wait = Patience::new(Now::of(TestClock::default())).client();
        let traffic = Traffic::new(&statistics, &wait);
        let (_set, timeout) = watch::channel(MINUTE);
        let begin = Instant::now();
        let talk = async {
            sleep(MINUTE * 9 / 10).await;
            traffic.passed(Direction::Up, 1);
            sleep(MINUTE * 9 / 10).await;
            traffic.passed(Direction::Down, 2);
        };
        tokio::join!(talk, traffic.idle(timeout));
        assert_eq!(begin.elapsed().as_secs(), 54 + 54 + 60);
        assert_eq!(
            (statistics.bytes(Direction::Up), statistics.bytes(Direction::Down)),
            (1, 2)
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_changed_timeout_counts_from_the_last_byte() {
        let statistics = Statistics::new(Port::ReadWrite);
        let wait = Patience::new(Now::of(TestClock::default())).client();
        let traffic = Traffic::new(&statistics, &wait);
        let (set, timeout) = watch::channel(Duration::ZERO);
        let begin = Instant::now();
        let change = async {
            sleep(MINUTE * 60).await;
            set.send_replace(MINUTE * 61);
            sleep(MINUTE / 2).await;
            set.send_replace(MINUTE * 62);
        };
        tokio::join!(change, traffic.idle(timeout));
        assert_eq!(begin.elapsed().as_secs(), 62 * 60);
    }
}
