//! The process that leads, as far as leadership ends it.

use std::io;

use tokio_util::sync::CancellationToken;

use super::{
    clock::{BootClock, Clock},
    leadership::Leadership,
    watchdog::{Watchdog, start_over},
};

/// What a process that wants to lead needs of the machine: the seam at which tests put machines of their own.
pub trait Process: Send + Sync + 'static {
    /// By which leadership is counted.
    type Clock: Clock;

    /// The machine's clock.
    fn clock(&self) -> Self::Clock;

    /// Ends the process as [`Process::lost`] does as soon as `leadership` does not hold any more, whatever its tasks
    /// are doing. To call what is returned ends the watch: to be done before leadership is let go.
    ///
    /// # Errors
    /// When the machine cannot do it.
    fn watch(&self, leadership: Leadership, stop: CancellationToken) -> io::Result<Dismiss>;

    /// Another process may be leading: nothing of this one may go on. `stopping`: it was about to end.
    fn lost(&self, stopping: bool);
}

/// Ends a watch.
pub type Dismiss = Box<dyn FnOnce() + Send>;

/// The process that this program runs in.
#[derive(Clone, Copy, Debug, Default)]
pub struct OwnProcess;

impl Process for OwnProcess {
    type Clock = BootClock;

    fn clock(&self) -> BootClock {
        BootClock
    }

    fn watch(&self, leadership: Leadership, stop: CancellationToken) -> io::Result<Dismiss> {
        let watchdog = Watchdog::start(leadership, move || Self.lost(stop.is_cancelled()))?;
        Ok(Box::new(move || watchdog.dismiss()))
    }

    /// Does not come back.
    fn lost(&self, stopping: bool) {
        if stopping {
            std::process::exit(0);
        }
        start_over()
    }
}
