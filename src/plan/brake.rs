//! Holds back changes of MAIN that come too often. Each is kept in the ledger with its time; the observation
//! tells how long ago that is. Clocks of different leaders may differ: that costs a wait, never a write.

use std::time::Duration;

use super::observation::Observation;
use crate::api::ledger::{Change, Ledger};

/// The window of `failover.maxPerHour`, and for how long a change is remembered.
const HOUR: Duration = Duration::from_secs(60 * 60);
/// Of changes older than this the next one knows nothing any more.
const LATELY: Duration = Duration::from_secs(10 * 60);
/// So many changes lately are no pattern yet.
const FREE: u32 = 3;
/// The longest pause between two changes.
const LONGEST: Duration = Duration::from_secs(60);
/// More are not remembered: the ledger stays small.
const REMEMBERED: usize = 100;

/// How much longer the next change of MAIN is to wait; zero where it may come now.
///
/// A query that kills one MAIN after the other would burn a term, and an entry of Memgraph's history of epochs
/// (1000 of them: `storage/v2/replication/replication_storage_state.hpp`), with each.
pub(super) fn pause(seen: &Observation, ledger: &Ledger) -> Duration {
    let lately = ages(seen, ledger).filter(|age| *age < LATELY).count();
    let Some(beyond) = u32::try_from(lately).unwrap_or(u32::MAX).checked_sub(FREE) else {
        return Duration::ZERO;
    };
    let spacing = Duration::from_secs(1 << beyond.min(6)).min(LONGEST);
    let newest = ages(seen, ledger).min().unwrap_or(LATELY);
    spacing.saturating_sub(newest)
}

/// How often MAIN has changed, or was to change, in the last ten minutes.
pub(super) fn lately(seen: &Observation, ledger: &Ledger) -> usize {
    ages(seen, ledger).filter(|age| *age < LATELY).count()
}

/// How many changes of the last hour rested on suspicion.
pub(super) fn suspected(seen: &Observation, ledger: &Ledger) -> usize {
    let pairs = ledger.changes.iter().zip(ages(seen, ledger));
    pairs
        .filter(|(change, age)| change.suspected && *age < HOUR)
        .count()
}

/// The ledger's changes with one more, without those that are of no interest any more.
pub(super) fn with_change(seen: &Observation, ledger: &Ledger, term: i64, suspected: bool) -> Vec<Change> {
    let pairs = ledger.changes.iter().zip(ages(seen, ledger));
    let mut changes: Vec<_> = pairs
        .filter(|(_, age)| *age < HOUR)
        .map(|(change, _)| change.clone())
        .collect();
    changes.push(Change {
        term,
        at: String::new(),
        suspected,
    });
    let surplus = changes.len().saturating_sub(REMEMBERED);
    changes.split_off(surplus)
}

fn ages<'a>(seen: &'a Observation, ledger: &'a Ledger) -> impl Iterator<Item = Duration> + 'a {
    // One whose age could not be told counts as new.
    (0..ledger.changes.len()).map(|index| seen.change_ages.get(index).copied().unwrap_or_default())
}
