//! Tells on standard error what is being done and since when.

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

/// How often a long step is mentioned again where lines cannot be overwritten, as in a log.
const LOG_INTERVAL: Duration = Duration::from_secs(30);

/// How often a line on a terminal is brought up to date.
const TERMINAL_INTERVAL: Duration = Duration::from_millis(500);

/// Progress of one command.
#[derive(Debug)]
pub struct Progress {
    start: Instant,
    enabled: bool,
    terminal: bool,
    last: Option<Instant>,
}

impl Progress {
    /// Speaks on standard error.
    pub fn on_stderr() -> Self {
        Self {
            start: Instant::now(),
            enabled: true,
            terminal: io::stderr().is_terminal(),
            last: None,
        }
    }

    /// Says nothing.
    pub fn silent() -> Self {
        Self {
            start: Instant::now(),
            enabled: false,
            terminal: false,
            last: None,
        }
    }

    /// A step that is done, with the time since the command began.
    pub fn done(&mut self, what: &str) {
        let erase = self.erase();
        let line = format!("{erase}{:7.1} s  {what}\n", self.start.elapsed().as_secs_f64());
        self.write(&line);
        self.last = None;
    }

    /// A step that goes on, with the time since `since`: overwritten on a terminal, repeated from time to time in a log.
    pub fn working(&mut self, since: Instant, what: impl FnOnce() -> String) {
        let interval = if self.terminal {
            TERMINAL_INTERVAL
        } else {
            LOG_INTERVAL
        };
        if self.last.is_some_and(|last| last.elapsed() < interval) {
            return;
        }
        let (erase, end) = (self.erase(), if self.terminal { "" } else { "\n" });
        let line = format!("{erase}          {} .. {}{end}", what(), minutes(since.elapsed()));
        self.write(&line);
        self.last = Some(Instant::now());
    }

    /// Returns to the beginning of the line and clears it.
    fn erase(&self) -> &'static str {
        if self.terminal { "\r\x1b[K" } else { "" }
    }

    fn write(&self, text: &str) {
        if self.enabled {
            // Nobody reads it any more: no reason to stop the work.
            let _ = io::stderr().write_all(text.as_bytes());
        }
    }
}

/// `95 s` as `1m35s`.
pub fn minutes(duration: Duration) -> String {
    let seconds = duration.as_secs();
    format!("{}m{:02}s", seconds / 60, seconds % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_well() {
        assert_eq!(minutes(Duration::from_secs(5)), "0m05s");
        assert_eq!(minutes(Duration::from_secs(755)), "12m35s");
    }
}
