//! The clock by which leadership is counted.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// Tells how much time has passed since some moment in the past.
pub trait Clock: Clone + Send + Sync + 'static {
    /// The time since that moment. It never goes back.
    fn now(&self) -> Duration;
}

/// The time since the machine was started, with the time that it was suspended: `CLOCK_BOOTTIME`, where
/// `std::time::Instant` stands still during a suspension.
#[derive(Clone, Copy, Debug, Default)]
pub struct BootClock;

impl Clock for BootClock {
    fn now(&self) -> Duration {
        let time = clock_gettime(ClockId::Boottime);
        Duration::new(
            u64::try_from(time.tv_sec).unwrap_or_default(),
            u32::try_from(time.tv_nsec).unwrap_or_default(),
        )
    }
}
