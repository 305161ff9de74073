//! The clock of one machine.

use std::time::Duration;

use memgraph_operator::leader::Clock;
use tokio::time::Instant;

/// Counts from an own beginning, a little faster or slower than others do.
#[derive(Clone, Copy, Debug)]
pub struct DriftingClock {
    began: Instant,
    ahead: Duration,
    rate: f64,
}

impl DriftingClock {
    /// `ahead`: what it shows now. `rate`: how many of its seconds pass in one second.
    #[must_use]
    pub fn new(ahead: Duration, rate: f64) -> Self {
        Self {
            began: Instant::now(),
            ahead,
            rate,
        }
    }
}

impl Clock for DriftingClock {
    fn now(&self) -> Duration {
        self.ahead + self.began.elapsed().mul_f64(self.rate)
    }
}
