//! Waiting that ends early when the user asks for it (Ctrl-C, SIGTERM).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

/// How long [`Interrupt::wait_until`] pauses between two looks at its condition.
const PAUSE: Duration = Duration::from_millis(50);

/// Tells long work that it was asked to stop.
#[derive(Debug, Clone, Default)]
pub struct Interrupt {
    asked: Arc<AtomicBool>,
}

impl Interrupt {
    /// One that is never asked for: for callers that handle signals themselves.
    pub fn never() -> Self {
        Self::default()
    }

    /// One that Ctrl-C, SIGTERM and the end of the terminal ask for. From then on these signals do not end the process.
    ///
    /// # Errors
    /// When the signals cannot be caught.
    pub fn on_signals() -> Result<Self> {
        let interrupt = Self::default();
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            signal_hook::flag::register(signal, Arc::clone(&interrupt.asked))
                .context("cannot catch signals")?;
        }
        Ok(interrupt)
    }

    /// An error once a stop was asked for.
    ///
    /// # Errors
    /// Only then.
    pub fn check(&self) -> Result<()> {
        if self.asked.load(Ordering::Relaxed) {
            bail!("interrupted");
        }
        Ok(())
    }

    /// Waits until `condition` holds.
    ///
    /// # Errors
    /// When `condition` fails, when a stop is asked for, and when `limit` has passed: the error then says that `what`
    /// was waited for.
    pub fn wait_until(
        &self,
        what: &str,
        limit: Duration,
        mut condition: impl FnMut() -> Result<bool>,
    ) -> Result<()> {
        let start = Instant::now();
        while !condition()? {
            self.check()?;
            if start.elapsed() >= limit {
                bail!("{what}: not so after {} s", limit.as_secs());
            }
            thread::sleep(PAUSE);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waiting_ends_with_the_condition_the_limit_or_the_interrupt() {
        let interrupt = Interrupt::never();
        let mut looks = 0;
        let third = |looks: &mut u32| {
            *looks += 1;
            Ok(*looks == 3)
        };
        interrupt
            .wait_until("third look", Duration::from_secs(5), || third(&mut looks))
            .unwrap();
        assert_eq!(looks, 3);

        let error = interrupt
            .wait_until("the end", Duration::ZERO, || Ok(false))
            .unwrap_err();
        assert!(error.to_string().contains("the end"));

        interrupt.asked.store(true, Ordering::Relaxed);
        let error = interrupt
            .wait_until("the end", Duration::from_secs(5), || Ok(false))
            .unwrap_err();
        assert_eq!(error.to_string(), "interrupted");
    }
}
