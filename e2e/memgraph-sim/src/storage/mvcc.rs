//! Versions of one object, for snapshot isolation.
//!
//! Only one transaction at a time can have an uncommitted version, and it is always the newest: a second
//! writer gets a serialization error at once, as in Memgraph.

use thin_vec::ThinVec;

use crate::config::Isolation;

/// Who wrote a version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stamp {
    /// Visible to transactions that started after this (local) commit timestamp.
    Committed(u64),
    /// Written by a transaction that is still open.
    Pending(TransactionId),
}

/// Names an open transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct TransactionId(pub(crate) u64);

/// What a transaction sees: its own writes and, unless it is less isolated, what was committed before it started.
#[derive(Debug, Clone, Copy)]
pub(crate) struct View {
    pub(crate) start: u64,
    pub(crate) transaction: TransactionId,
    pub(crate) isolation: Isolation,
}

impl View {
    fn sees(self, stamp: Stamp) -> bool {
        match stamp {
            Stamp::Committed(at) => at < self.start || self.isolation != Isolation::Snapshot,
            Stamp::Pending(by) => by == self.transaction || self.isolation == Isolation::ReadUncommitted,
        }
    }
}

/// Another transaction wrote the object first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Conflict;

#[derive(Debug)]
struct Version<T> {
    stamp: Stamp,
    /// `None`: the object is deleted in this version.
    data: Option<T>,
}

/// All versions of one object that somebody may still see.
#[derive(Debug)]
pub(crate) struct Versions<T> {
    newest: Version<T>,
    /// Newest last. Almost always empty, so it costs no allocation.
    older: ThinVec<Version<T>>,
}

impl<T: Clone> Versions<T> {
    /// An object that a transaction is creating.
    pub(crate) fn pending(by: TransactionId, data: T) -> Self {
        Self {
            newest: Version {
                stamp: Stamp::Pending(by),
                data: Some(data),
            },
            older: ThinVec::new(),
        }
    }

    /// An object that everybody sees.
    pub(crate) fn committed(data: T) -> Self {
        Self {
            newest: Version {
                stamp: Stamp::Committed(0),
                data: Some(data),
            },
            older: ThinVec::new(),
        }
    }

    /// The version that `view` sees, if the object exists there.
    pub(crate) fn get(&self, view: View) -> Option<&T> {
        if view.sees(self.newest.stamp) {
            return self.newest.data.as_ref();
        }
        self.older
            .iter()
            .rev()
            .find(|version| view.sees(version.stamp))?
            .data
            .as_ref()
    }

    /// The newest committed version.
    pub(crate) fn latest_committed(&self) -> Option<&T> {
        match self.newest.stamp {
            Stamp::Committed(_) => self.newest.data.as_ref(),
            Stamp::Pending(_) => self.older.last()?.data.as_ref(),
        }
    }

    /// The version that `view` may change, made on its first write. `true` when it was made just now.
    pub(crate) fn write(&mut self, view: View) -> Result<(&mut Option<T>, bool), Conflict> {
        let fresh = match self.newest.stamp {
            Stamp::Pending(by) if by == view.transaction => false,
            Stamp::Committed(at) if at < view.start => {
                let stamp = Stamp::Pending(view.transaction);
                let data = self.newest.data.clone();
                self.older
                    .push(std::mem::replace(&mut self.newest, Version { stamp, data }));
                true
            }
            _ => return Err(Conflict),
        };
        Ok((&mut self.newest.data, fresh))
    }

    /// Makes the pending version of `by` visible to transactions that start after `at`.
    pub(crate) fn commit(&mut self, by: TransactionId, at: u64) {
        if self.newest.stamp == Stamp::Pending(by) {
            self.newest.stamp = Stamp::Committed(at);
        }
    }

    /// Takes the pending version of `by` back. Returns it, if there was one.
    pub(crate) fn abort(&mut self, by: TransactionId) -> Option<Option<T>> {
        if self.newest.stamp != Stamp::Pending(by) {
            return None;
        }
        let before = self
            .older
            .pop()
            // It was created by this very transaction, so that nothing is left of it.
            .unwrap_or(Version {
                stamp: Stamp::Committed(0),
                data: None,
            });
        Some(std::mem::replace(&mut self.newest, before).data)
    }

    /// Drops what no transaction that starts at `oldest` or later can see, and returns it.
    pub(crate) fn trim(&mut self, oldest: u64) -> Vec<T> {
        let settled = |version: &Version<T>| matches!(version.stamp, Stamp::Committed(at) if at < oldest);
        let keep_from = if settled(&self.newest) {
            self.older.len()
        } else {
            self.older.iter().rposition(settled).unwrap_or(0)
        };
        self.older
            .drain(..keep_from)
            .filter_map(|version| version.data)
            .collect()
    }

    /// Whether nothing but a committed deletion is left.
    pub(crate) fn is_gone(&self) -> bool {
        self.older.is_empty()
            && self.newest.data.is_none()
            && matches!(self.newest.stamp, Stamp::Committed(_))
    }

    /// Every version that exists.
    pub(crate) fn all(&self) -> impl Iterator<Item = &T> {
        self.older
            .iter()
            .chain(std::iter::once(&self.newest))
            .filter_map(|version| version.data.as_ref())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(transaction: u64, start: u64) -> View {
        View {
            start,
            transaction: TransactionId(transaction),
            isolation: Isolation::Snapshot,
        }
    }

    #[test]
    fn a_reader_keeps_seeing_what_was_there_when_it_started() {
        let mut object = Versions::pending(TransactionId(1), 'a');
        object.commit(TransactionId(1), 2);
        let reader = view(2, 3);
        let writer = view(3, 4);
        *object.write(writer).unwrap().0 = Some('b');
        assert_eq!(object.get(reader), Some(&'a'));
        assert_eq!(object.get(writer), Some(&'b'));
        object.commit(TransactionId(3), 5);
        assert_eq!(object.get(reader), Some(&'a'));
        assert_eq!(object.get(view(4, 6)), Some(&'b'));
        assert_eq!(object.trim(3), []);
        assert_eq!(object.trim(6), ['a']);
    }

    #[test]
    fn less_isolated_readers_see_more() {
        let isolated = |isolation| View {
            isolation,
            ..view(2, 3)
        };
        let mut object = Versions::committed('a');
        *object.write(view(3, 4)).unwrap().0 = Some('b');
        assert_eq!(object.get(isolated(Isolation::ReadCommitted)), Some(&'a'));
        assert_eq!(object.get(isolated(Isolation::ReadUncommitted)), Some(&'b'));
        object.commit(TransactionId(3), 5);
        assert_eq!(object.get(isolated(Isolation::Snapshot)), Some(&'a'));
        assert_eq!(object.get(isolated(Isolation::ReadCommitted)), Some(&'b'));
        // The isolation level does not count for writes.
        assert!(object.write(isolated(Isolation::ReadCommitted)).is_err());
    }

    #[test]
    fn the_second_writer_gets_a_conflict() {
        let mut object = Versions::committed('a');
        *object.write(view(1, 1)).unwrap().0 = Some('b');
        assert!(object.write(view(2, 2)).is_err());
        object.commit(TransactionId(1), 3);
        assert!(
            object.write(view(2, 2)).is_err(),
            "it was committed after the transaction had started"
        );
        assert!(object.write(view(4, 4)).is_ok());
    }

    #[test]
    fn an_aborted_write_leaves_no_trace() {
        let mut object = Versions::committed('a');
        *object.write(view(1, 1)).unwrap().0 = None;
        assert_eq!(object.abort(TransactionId(1)), Some(None));
        assert_eq!(object.latest_committed(), Some(&'a'));
        let mut created = Versions::pending(TransactionId(2), 'x');
        created.abort(TransactionId(2));
        assert!(created.is_gone());
    }
}
