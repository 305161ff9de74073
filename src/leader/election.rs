//! Who may hold the Lease: the decision, without a clock and without a request.

use std::time::Duration;

use jiff::Timestamp;

/// The longest that others may be told to wait: whoever looks on at a Lease that it has never seen counts on it.
pub(super) const LONGEST_LEASE: Duration = Duration::from_secs(60);

/// How leadership is timed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    lease: Duration,
    renew_deadline: Duration,
    retry_period: Duration,
}

/// Why times do not fit together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TimingError {
    /// A Lease counts in seconds.
    #[error("the lease duration must be a whole number of seconds, from 1 to 60")]
    NotSeconds,
    /// The holder would not stop before others begin.
    #[error("the renew deadline must be at most nine tenths of the lease duration")]
    DeadlineTooLate,
    /// There would be too few tries.
    #[error("the retry period must be above zero and at most half of the renew deadline")]
    TooFewTries,
}

impl Timing {
    /// `lease`: for how long others must have seen no change before they take over. `renew_deadline`: for how long the
    /// holder acts after its last successful renewal. `retry_period`: how often it renews, and others look.
    ///
    /// # Errors
    /// When a holder would not have stopped before another one begins, or would renew too seldom.
    pub fn new(
        lease: Duration,
        renew_deadline: Duration,
        retry_period: Duration,
    ) -> Result<Self, TimingError> {
        if lease.is_zero() || lease.subsec_nanos() != 0 || lease > LONGEST_LEASE {
            return Err(TimingError::NotSeconds);
        }
        // The tenth is for clocks that do not run equally fast.
        if renew_deadline > lease.mul_f64(0.9) {
            return Err(TimingError::DeadlineTooLate);
        }
        if retry_period.is_zero() || retry_period > renew_deadline / 2 {
            return Err(TimingError::TooFewTries);
        }
        Ok(Self {
            lease,
            renew_deadline,
            retry_period,
        })
    }

    pub(super) fn lease(&self) -> Duration {
        self.lease
    }

    pub(super) fn renew_deadline(&self) -> Duration {
        self.renew_deadline
    }

    pub(super) fn retry_period(&self) -> Duration {
        self.retry_period
    }
}

/// What stands in the Lease. Its times are for people.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// The process that holds it; none when it was given up.
    pub holder: Option<String>,
    /// For how long others wait after its last change.
    pub duration: Duration,
    /// Since when this holder has it.
    pub acquired: Option<Timestamp>,
    /// When it was renewed last.
    pub renewed: Option<Timestamp>,
    /// How often it has gone from one holder to another.
    pub transitions: i32,
}

/// The duration of a Lease that its holder has given up; client-go writes the same.
const GIVEN_UP: Duration = Duration::from_secs(1);

impl Record {
    /// Whether its holder has said that nobody need wait. One that somebody else has emptied says no such thing: its holder may not know
    /// it yet.
    pub(super) fn is_given_up(&self) -> bool {
        self.holder.is_none() && self.duration == GIVEN_UP
    }
}

/// One process's view of the Lease.
#[derive(Debug)]
pub(super) struct Observer {
    identity: String,
    duration: Duration,
    /// What was seen last, and since when it has not changed.
    seen: Option<(Record, Duration)>,
}

impl Observer {
    pub(super) fn new(identity: String, duration: Duration) -> Self {
        Self {
            identity,
            duration,
            seen: None,
        }
    }

    /// What to write over `found`, which was read just now, if the Lease may be taken, or is to be made. `now` is this process's own
    /// clock, `date` what stands in the Lease for people.
    pub(super) fn consider(
        &mut self,
        found: Option<&Record>,
        now: Duration,
        date: Timestamp,
    ) -> Option<Record> {
        let Some(record) = found else {
            return Some(self.unheld(date));
        };
        let unchanged_since = match &self.seen {
            Some((seen, since)) if seen == record => *since,
            _ => {
                self.seen = Some((record.clone(), now));
                now
            }
        };
        let patience = self.duration.max(record.duration);
        let free = record.is_given_up()
            || record.holder.as_deref() == Some(&self.identity)
            || now.saturating_sub(unchanged_since) > patience;
        free.then(|| self.taken(record, date))
    }

    /// A Lease that nobody holds, to be made where there is none. It is waited for like one that is held: whoever held one that somebody
    /// has deleted may not know it yet, and a process that has just started has never seen that one.
    fn unheld(&self, date: Timestamp) -> Record {
        let before = self.seen.as_ref().map(|(seen, _)| seen);
        let longest = before.map_or(self.duration, |seen| seen.duration.max(self.duration));
        Record {
            // It must not look like one that was given up.
            duration: longest.max(GIVEN_UP * 2),
            acquired: before.and_then(|seen| seen.acquired),
            renewed: Some(date),
            transitions: before.map_or(0, |seen| seen.transitions),
            ..Record::default()
        }
    }

    fn taken(&self, found: &Record, date: Timestamp) -> Record {
        let again = self.is_mine(found);
        let had_another = !again && found.acquired.is_some();
        Record {
            holder: Some(self.identity.clone()),
            duration: self.duration,
            acquired: if again { found.acquired } else { Some(date) },
            renewed: Some(date),
            transitions: found.transitions.saturating_add(i32::from(had_another)),
        }
    }

    /// What gives the Lease up: the next process need not wait.
    pub(super) fn released(record: &Record, date: Timestamp) -> Record {
        Record {
            holder: None,
            duration: GIVEN_UP,
            acquired: record.acquired,
            renewed: Some(date),
            transitions: record.transitions,
        }
    }

    pub(super) fn is_mine(&self, record: &Record) -> bool {
        record.holder.as_deref() == Some(&self.identity)
    }
}
