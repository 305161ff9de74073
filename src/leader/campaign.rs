//! Getting the Lease, keeping it, giving it up.

use std::{sync::Arc, time::Duration};

use fastrand::Rng;
use jiff::Timestamp;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::{
    clock::Clock,
    election::{Observer, Record, Timing},
    leadership::{Deadline, Leadership, NotLeading},
    lease::{Held, Lock, LockError},
};

/// A process that wants to lead.
pub struct Campaign<L, C> {
    lock: L,
    clock: C,
    timing: Timing,
    observer: Observer,
    chance: Rng,
}

/// Pauses are lengthened by up to this part, so that processes do not fall into step.
const JITTER: f64 = 0.2;

impl<L: Lock, C: Clock> Campaign<L, C> {
    /// `identity` must be this process's alone: not even the same pod's earlier process had it.
    pub fn new(lock: L, clock: C, timing: Timing, identity: String) -> Self {
        let observer = Observer::new(identity, timing.lease());
        Self {
            lock,
            clock,
            timing,
            observer,
            chance: Rng::new(),
        }
    }

    /// With pauses that are the same for the same seed.
    #[must_use]
    pub fn seeded(mut self, seed: u64) -> Self {
        self.chance = Rng::with_seed(seed);
        self
    }

    /// `spent`: what has passed of it.
    async fn pause(&mut self, spent: Duration) {
        let longer = 1.0 + JITTER * self.chance.f64();
        let pause = self.timing.retry_period().mul_f64(longer);
        sleep(pause.saturating_sub(spent)).await;
    }

    /// Waits until this process leads, for as long as that takes.
    pub async fn win(mut self) -> Leader<L, C> {
        let mut failures = 0_u32;
        loop {
            match self.attempt(None).await {
                Ok(Some((held, sent))) => {
                    let deadline = Arc::new(Deadline::default());
                    deadline.set(sent.saturating_add(self.timing.renew_deadline()));
                    return Leader {
                        campaign: self,
                        held,
                        deadline,
                    };
                }
                Ok(None) => failures = 0,
                Err(error) => {
                    failures = failures.saturating_add(1);
                    if failures.is_power_of_two() {
                        let error = crate::controller::chain(&error);
                        tracing::warn!(
                            error,
                            failures,
                            "this process cannot ask for leadership; it tries again"
                        );
                    }
                }
            }
            self.pause(Duration::ZERO).await;
        }
    }

    /// One try to get the Lease, or to keep the one that is held. None: it is another one's. With the time right before it
    /// was written.
    async fn attempt(&mut self, held: Option<&Held>) -> Result<Option<(Held, Duration)>, LockError> {
        let found = match held {
            Some(held) => Some(held.clone()),
            None => self.in_time("read", self.lock.read()).await?,
        };
        let record = found.as_ref().map(|found| &found.record);
        let Some(taken) = self.observer.consider(record, self.clock.now(), Timestamp::now()) else {
            return Ok(None);
        };
        let over = found.as_ref().map(|found| found.version.as_str());
        let sent = self.clock.now();
        match self.in_time("write", self.lock.write(&taken, over)).await {
            // One that was only made is nobody's yet.
            Ok(written) => Ok(self.observer.is_mine(&written.record).then_some((written, sent))),
            Err(LockError::Conflict { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Each request gets half of the time in which a renewal must succeed, so that one more can be tried.
    async fn in_time<T>(
        &self,
        action: &'static str,
        request: impl Future<Output = Result<T, LockError>>,
    ) -> Result<T, LockError> {
        let patience = self.timing.renew_deadline() / 2;
        timeout(patience, request).await.unwrap_or_else(|elapsed| {
            Err(LockError::Unavailable {
                action,
                name: "of the operator".to_owned(),
                source: Box::new(elapsed),
            })
        })
    }
}

/// A process that leads.
pub struct Leader<L, C> {
    campaign: Campaign<L, C>,
    held: Held,
    deadline: Arc<Deadline>,
}

impl<L: Lock, C: Clock> Leader<L, C> {
    /// The right to act, for as long as it holds.
    #[must_use]
    pub fn leadership(&self) -> Leadership {
        Leadership::new(self.campaign.clock.clone(), Arc::clone(&self.deadline))
    }

    /// What stands in the Lease.
    #[must_use]
    pub fn record(&self) -> &Record {
        &self.held.record
    }

    /// Renews the Lease until `stop`, and gives it up then.
    ///
    /// # Errors
    /// When it could not be renewed in time, or is another process's: whoever acts must have stopped by now.
    pub async fn hold(mut self, stop: CancellationToken) -> Result<(), NotLeading> {
        let leadership = self.leadership();
        let mut known = true;
        // One that was not answered has taken its time: the next one is tried at once, while there is time for it.
        let mut spent = Duration::ZERO;
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => {
                    self.release().await;
                    return Ok(());
                }
                () = self.campaign.pause(spent) => {}
            }
            let begun = self.campaign.clock.now();
            let remaining = leadership.remaining();
            let renewed = timeout(remaining, self.renewed(known)).await;
            match renewed {
                Ok(Ok((held, sent))) => {
                    known = true;
                    self.held = held;
                    self.deadline
                        .set(sent.saturating_add(self.campaign.timing.renew_deadline()));
                }
                Ok(Err(Unrenewed::Taken)) => {
                    self.deadline.end();
                    return Err(NotLeading);
                }
                Ok(Err(Unrenewed::Failed(error))) => {
                    known = false;
                    tracing::warn!(
                        error = crate::controller::chain(&error),
                        "the lease was not renewed"
                    );
                }
                Err(_) => known = false,
            }
            spent = match known {
                true => Duration::ZERO,
                false => self.campaign.clock.now().saturating_sub(begun),
            };
            if leadership.check().is_err() {
                return Err(NotLeading);
            }
        }
    }

    /// Renews once. Where the last answer is not known, the Lease is read first.
    async fn renewed(&mut self, known: bool) -> Result<(Held, Duration), Unrenewed> {
        if known && let Some(held) = self.campaign.attempt(Some(&self.held)).await? {
            return Ok(held);
        }
        let found = self.campaign.in_time("read", self.campaign.lock.read()).await?;
        // One that is gone was deleted by somebody who wants another leader.
        let found = found.filter(|found| self.campaign.observer.is_mine(&found.record));
        let found = found.ok_or(Unrenewed::Taken)?;
        let written = self.campaign.attempt(Some(&found)).await?;
        written.ok_or_else(|| {
            Unrenewed::Failed(LockError::Conflict {
                name: "of the operator".to_owned(),
            })
        })
    }

    /// Stops leading, and says so, that another process need not wait.
    async fn release(&mut self) {
        self.deadline.end();
        let record = Observer::released(&self.held.record, Timestamp::now());
        let write = self.campaign.lock.write(&record, Some(&self.held.version));
        if let Err(error) = self.campaign.in_time("give up", write).await {
            let error = crate::controller::chain(&error);
            tracing::info!(error, "the lease was not given up; it runs out by itself");
        }
    }
}

enum Unrenewed {
    /// It is another process's, or nobody's.
    Taken,
    /// It was not possible to find out or to write.
    Failed(LockError),
}

impl From<LockError> for Unrenewed {
    fn from(error: LockError) -> Self {
        Self::Failed(error)
    }
}
