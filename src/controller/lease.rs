//! The Lease, with an eye on who holds it: processes that do not lead can say who does.

use std::sync::Arc;

use crate::{
    fleet::Vitals,
    leader::{Held, Lock, LockError, Record},
};

/// A Lease whose holder is told to people.
pub(super) struct Watched<L> {
    lock: L,
    vitals: Arc<Vitals>,
}

impl<L> Watched<L> {
    pub(super) fn new(lock: L, vitals: Arc<Vitals>) -> Self {
        Self { lock, vitals }
    }

    fn note(&self, held: Option<&Held>) {
        let holder = held.and_then(|held| held.record.holder.as_deref());
        self.vitals.note_holder(holder);
    }
}

impl<L: Lock> Lock for Watched<L> {
    async fn read(&self) -> Result<Option<Held>, LockError> {
        let held = self.lock.read().await?;
        self.note(held.as_ref());
        Ok(held)
    }

    async fn write(&self, record: &Record, over: Option<&str>) -> Result<Held, LockError> {
        let held = self.lock.write(record, over).await?;
        self.note(Some(&held));
        Ok(held)
    }
}
