//! What time it is: for people, and for limits for which a clock that is wrong costs nothing but a wait.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

/// A clock that is set once and then runs on by itself.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wall {
    set: Timestamp,
    since: Instant,
}

impl Wall {
    /// A clock that shows `now`.
    pub(super) fn set(now: Timestamp) -> Self {
        Self {
            set: now,
            since: Instant::now(),
        }
    }

    pub(super) fn now(&self) -> Timestamp {
        let elapsed = SignedDuration::try_from(self.since.elapsed()).unwrap_or(SignedDuration::MAX);
        self.set.checked_add(elapsed).unwrap_or(Timestamp::MAX)
    }

    /// How long ago this was (RFC 3339); zero where it is no time or lies ahead.
    pub(super) fn age(&self, at: &str) -> Duration {
        let then = at.parse::<Timestamp>().ok();
        then.and_then(|then| Duration::try_from(self.now().duration_since(then)).ok())
            .unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn ages_grow_and_are_never_negative() {
        let wall = Wall::set("2026-11-21T10:00:00Z".parse().unwrap());
        assert_eq!(wall.age("2026-11-21T09:59:00Z"), Duration::from_secs(60));
        tokio::time::advance(Duration::from_secs(30)).await;
        assert_eq!(wall.age("2026-11-21T09:59:00Z"), Duration::from_secs(90));
        assert_eq!(wall.age("2026-11-21T11:00:00Z"), Duration::ZERO);
        assert_eq!(wall.age(""), Duration::ZERO);
    }
}
