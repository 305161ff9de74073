//! Stops the process when its leadership runs out, whatever its tasks are doing.

use std::{
    io,
    os::unix::process::CommandExt,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use super::leadership::Leadership;

/// A thread of its own, which no stuck task can hold up.
pub struct Watchdog {
    dismissed: Arc<AtomicBool>,
}

impl Watchdog {
    /// Calls `lost` as soon as `leadership` does not hold any more, unless the watchdog was dismissed before.
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub fn start(leadership: Leadership, lost: impl FnOnce() + Send + 'static) -> io::Result<Self> {
        let dismissed = Arc::new(AtomicBool::new(false));
        let quiet = Arc::clone(&dismissed);
        thread::Builder::new()
            .name("leadership".to_owned())
            .spawn(move || {
                loop {
                    let remaining = leadership.remaining();
                    if quiet.load(Ordering::Acquire) {
                        return;
                    }
                    if remaining.is_zero() {
                        return lost();
                    }
                    thread::sleep(remaining);
                }
            })?;
        Ok(Self { dismissed })
    }

    /// Has it let leadership end: nothing acts any more.
    pub fn dismiss(&self) {
        self.dismissed.store(true, Ordering::Release);
    }
}

/// The variable that tells a process that it has taken the place of one which did not lead any more.
pub const STARTED_OVER: &str = "MEMGRAPH_OPERATOR_STARTED_OVER";

/// Puts a new process in the place of this one, under the same process id: nothing of the old one goes on, not even a
/// request that is half sent. Kubernetes, which makes a container wait ever longer after each end, is not involved.
///
/// The new process finds [`STARTED_OVER`] in its environment. Nothing is logged here: that could block.
pub fn start_over() -> ! {
    let error = Command::new("/proc/self/exe")
        .args(std::env::args_os().skip(1))
        .env(STARTED_OVER, "1")
        .exec();
    eprintln!("memgraph-operator: cannot start over: {error}");
    std::process::abort()
}
