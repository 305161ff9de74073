//! Connections to a cluster's instances that one look leaves to the next.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use super::sightings::Target;
use crate::{api::ledger::Incarnation, memgraph::Kept};

/// At most one connection to each instance, in its present life.
pub(super) struct Connections<S> {
    /// By the instance's name.
    kept: Mutex<BTreeMap<String, (Incarnation, Kept<S>)>>,
}

impl<S> Default for Connections<S> {
    fn default() -> Self {
        Self {
            kept: Mutex::default(),
        }
    }
}

impl<S> Connections<S> {
    fn kept(&self) -> MutexGuard<'_, BTreeMap<String, (Incarnation, Kept<S>)>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The connection to this instance: another life is asked on another connection.
    pub(super) fn take(&self, target: &Target) -> Option<Kept<S>> {
        let (life, kept) = self.kept().remove(&target.name)?;
        (target.incarnation.as_ref() == Some(&life)).then_some(kept)
    }

    /// Keeps the connection on which this instance has answered.
    pub(super) fn put(&self, target: &Target, kept: Option<Kept<S>>) {
        if let Some((life, kept)) = target.incarnation.clone().zip(kept) {
            self.kept().insert(target.name.clone(), (life, kept));
        }
    }

    /// Ends those to instances that are gone.
    pub(super) fn retain(&self, targets: &[Target]) {
        self.kept()
            .retain(|name, _| targets.iter().any(|target| target.name == *name));
    }
}
