//! A bound on connections of whom nobody knows who they are.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio_util::sync::{CancellationToken, WaitForCancellationFuture};

/// Lets everybody in, and has the one leave that came first when there are more than may be. Whoever means it well is served in
/// a moment; were newcomers refused instead, those that stay and say nothing could keep probes and operators out.
#[derive(Debug)]
pub struct Newest {
    max: usize,
    places: Mutex<Places>,
}

#[derive(Debug, Default)]
struct Places {
    /// Who is there, from the one that came first to the one that came last, and what tells it to leave.
    taken: BTreeMap<u64, CancellationToken>,
    /// The number of the next one.
    next: u64,
}

/// One that was let in; dropping it makes room.
#[derive(Debug)]
pub struct Newcomer {
    among: Arc<Newest>,
    number: u64,
    leave: CancellationToken,
}

impl Newest {
    /// Room for `max` at a time, one at least.
    #[must_use]
    pub fn of(max: usize) -> Arc<Self> {
        Arc::new(Self {
            max: max.max(1),
            places: Mutex::default(),
        })
    }

    /// Lets one more in.
    #[must_use]
    pub fn admit(self: &Arc<Self>) -> Newcomer {
        let leave = CancellationToken::new();
        let mut places = self.places();
        if places.taken.len() >= self.max
            && let Some((_, first)) = places.taken.pop_first()
        {
            first.cancel();
        }
        let number = places.next;
        places.next += 1;
        places.taken.insert(number, leave.clone());
        Newcomer {
            among: Arc::clone(self),
            number,
            leave,
        }
    }

    fn places(&self) -> MutexGuard<'_, Places> {
        // No step under the lock leaves a place half taken.
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Newcomer {
    /// Ends when it is to leave.
    pub fn is_to_leave(&self) -> WaitForCancellationFuture<'_> {
        self.leave.cancelled()
    }
}

impl Drop for Newcomer {
    fn drop(&mut self) {
        self.among.places().taken.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_came_first_leaves_when_there_is_no_room() {
        let newest = Newest::of(2);
        let mut here: Vec<_> = (0..3).map(|_| newest.admit()).collect();
        let leave = |here: &[Newcomer]| {
            here.iter()
                .map(|one| one.leave.is_cancelled())
                .collect::<Vec<_>>()
        };
        assert_eq!(leave(&here), [true, false, false]);
        // Its end frees nothing that it does not have any more.
        drop(here.remove(0));
        here.push(newest.admit());
        assert_eq!(leave(&here), [true, false, false]);
        drop(here);
        assert!(newest.places().taken.is_empty());
    }
}
