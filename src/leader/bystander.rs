//! A look at a Lease for which others contend.

use std::time::Duration;

use tokio::time::Instant;

use super::election::{LONGEST_LEASE, Record, Timing};

/// For how long a Lease must have had no holder, as far as can be told, until somebody goes on in its holders' place who does not contend
/// for it. It is more than safety asks for: their next process, in a rolling update for example, is to find everything as it was.
const VACANT: Duration = Duration::from_secs(15);
/// A Lease that is made has no holder for longer than this: two seconds, if not more. One that did not exist in two looks that were
/// closer together than this had no holder in between.
const UNSEEN_FOR: Duration = Duration::from_millis(1_900);

/// What a look at a Lease has shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stands {
    /// Somebody holds it: it was changed between two looks.
    Held,
    /// It is not known to have changed, but not for long enough. It is to be looked at again within a second.
    Still,
    /// Whoever has held it acts no more, and nobody else does who goes by it.
    Vacant,
}

/// Looks on at a Lease that it never takes.
///
/// It judges as those do who contend for it: by how long the record has not changed between its own looks, by its own clock. What it does
/// not have is their write at the version that was read, by which only one of them gets it. When it says [`Stands::Vacant`], nobody held
/// the Lease at the moment in which the API server answered the last look; somebody may since.
#[derive(Debug)]
pub struct Bystander {
    /// For how long they wait at least.
    least: Duration,
    seen: Option<Seen>,
}

#[derive(Debug)]
struct Seen {
    record: Option<Record>,
    /// Since when it has been so.
    since: Instant,
    /// When the last look began.
    looked: Instant,
    /// For how long its holders wait, by all records that were seen.
    waits: Option<Duration>,
}

impl Bystander {
    /// One who takes it that they wait for as long as those do who go by `timing`, if their Lease does not say that it is longer.
    #[must_use]
    pub fn new(timing: Timing) -> Self {
        Self {
            least: timing.lease(),
            seen: None,
        }
    }

    /// What this look shows: it began at `asked`, has found this, and was answered just now.
    pub fn looks(&mut self, found: Option<&Record>, asked: Instant) -> Stands {
        let known = self.seen.take();
        let was_seen = known.is_some();
        let waits = known.as_ref().and_then(|seen| seen.waits);
        let waits = waits.max(found.map(|record| record.duration));
        let answered = Instant::now();
        let same = known.filter(|seen| {
            let unbroken = found.is_some() || answered.duration_since(seen.looked) < UNSEEN_FOR;
            seen.record.as_ref() == found && unbroken
        });
        let has_changed = was_seen && same.is_none();
        // When between the question and the answer it was so is not known: it counts as late as it can be, and the next look as early.
        let since = same.map_or(answered, |seen| seen.since);
        self.seen = Some(Seen {
            record: found.cloned(),
            since,
            looked: asked,
            waits,
        });
        let patience = waits.unwrap_or(LONGEST_LEASE).max(self.least).max(VACANT);
        let claimed = found.is_some_and(|record| !record.is_given_up());
        match asked.saturating_duration_since(since) > patience {
            true => Stands::Vacant,
            false if has_changed && claimed => Stands::Held,
            false => Stands::Still,
        }
    }
}
