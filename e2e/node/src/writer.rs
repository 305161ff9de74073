//! Somebody who writes without a pause, and remembers what was acknowledged.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use jiff::Timestamp;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::database::{Database, SETTLE_LIMIT, run};

/// A task that writes one token after the other through a gateway, each on a connection of its own. A token whose write was
/// not acknowledged is written again, as a driver does.
pub struct Writer {
    stop: Arc<AtomicBool>,
    tries: watch::Receiver<Tries>,
    task: JoinHandle<Result<Written>>,
}

/// How many tries there were so far.
#[derive(Clone, Copy, Default)]
struct Tries {
    acknowledged: usize,
    failed: usize,
}

/// What a [`Writer`] has done.
#[derive(Debug, Default)]
pub struct Written {
    /// The tokens whose write was acknowledged.
    pub acknowledged: Vec<String>,
    /// How many tries were not, after the first one that was.
    pub failed: usize,
    /// Why they were not, and how often.
    pub reasons: BTreeMap<String, usize>,
    /// The longest time between two acknowledgements.
    pub longest: Duration,
    /// When it ended, by the wall clock of this machine's logs.
    pub longest_until: Option<Timestamp>,
}

impl Writer {
    /// Begins to write tokens whose names begin with `prefix`, and returns when the first one was acknowledged.
    ///
    /// # Errors
    /// When there is no gateway, or no write is acknowledged in time.
    pub async fn start(database: &Database, prefix: &str) -> Result<Self> {
        let gateway = database.gateway().await?;
        let stop = Arc::new(AtomicBool::new(false));
        let (told, tries) = watch::channel(Tries::default());
        let task = write(gateway, prefix.to_owned(), Arc::clone(&stop), told);
        let mut writer = Self {
            stop,
            tries,
            task: tokio::spawn(task),
        };
        writer.goes_on(1).await?;
        Ok(writer)
    }

    /// Waits until this many further tokens were acknowledged.
    ///
    /// # Errors
    /// When they are not in time.
    pub async fn goes_on(&mut self, further: usize) -> Result<()> {
        let wanted = self.tries.borrow().acknowledged + further;
        let reached = self.tries.wait_for(|tries| tries.acknowledged >= wanted);
        tokio::time::timeout(SETTLE_LIMIT, reached)
            .await
            .with_context(|| format!("{further} further writes: not acknowledged after {SETTLE_LIMIT:?}"))?
            .context("the writer has given up")?;
        Ok(())
    }

    /// How many tries have failed so far.
    pub fn failed(&self) -> usize {
        self.tries.borrow().failed
    }

    /// Ends it and returns what it has done.
    ///
    /// # Errors
    /// When it has given up.
    pub async fn stop(self) -> Result<Written> {
        self.stop.store(true, Ordering::Relaxed);
        self.task.await?
    }
}

impl fmt::Display for Written {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (acknowledged, failed) = (self.acknowledged.len(), self.failed);
        let longest = self.longest.as_secs_f64();
        write!(
            f,
            "{acknowledged} writes acknowledged, {failed} tries failed, longest pause {longest:.2} s"
        )?;
        if let Some(until) = self.longest_until {
            write!(f, " until {until:.3}")?;
        }
        for (reason, times) in &self.reasons {
            write!(f, "\n          {times} x {reason}")?;
        }
        Ok(())
    }
}

impl Written {
    /// The tokens as [`Database::expect_everywhere`] takes them.
    pub fn tokens(&self) -> Vec<&str> {
        self.acknowledged.iter().map(String::as_str).collect()
    }
}

async fn write(
    gateway: SocketAddr,
    prefix: String,
    stop: Arc<AtomicBool>,
    told: watch::Sender<Tries>,
) -> Result<Written> {
    let mut written = Written::default();
    let mut last = Instant::now();
    for number in 0.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let token = format!("{prefix}-{number}");
        let statement = format!("MERGE (t:Token {{id: '{token}'}}) RETURN t.id AS id");
        // Before the first acknowledgement the Service may not lead anywhere yet: kube-proxy hears of gateways later than
        // the operator, and a client whose first packet is lost sends the next one after a second.
        let begun = number > 0;
        while let Err(error) = run(gateway, &statement).await {
            ensure!(last.elapsed() < SETTLE_LIMIT, "no write is acknowledged: {error}");
            if !begun {
                continue;
            }
            written.failed += 1;
            told.send_modify(|tries| tries.failed += 1);
            *written.reasons.entry(error.to_string()).or_default() += 1;
        }
        let pause = last.elapsed();
        if begun && pause > written.longest {
            written.longest = pause;
            written.longest_until = Some(Timestamp::now());
        }
        last = Instant::now();
        written.acknowledged.push(token);
        told.send_modify(|tries| tries.acknowledged += 1);
    }
    Ok(written)
}
