//! Which of the events about the own `MemgraphCluster` count. Pure: no clock, no I/O.
//!
//! A list or a watch can show a past state after a newer one. Such a state must neither reopen what a later
//! ledger closed nor cut sessions that it does not know yet.

use kube::ResourceExt;

use super::{
    routes::{Routes, Standing},
    unheard,
};
use crate::api::MemgraphCluster;

/// The newest state seen, and what follows from it.
#[derive(Debug, Default)]
pub struct View {
    routes: Routes,
    /// The resourceVersion of that state, where it is a number.
    version: Option<u64>,
}

/// What an event was good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is the newest state.
    Taken,
    /// It is older than what was seen before, and changes nothing.
    Stale,
    /// It is newer, but its ledger has a lower term than was seen before: everything is closed until the term
    /// is at least as high again.
    WentBack {
        /// The highest term seen.
        from: i64,
        /// The term shown now.
        to: i64,
    },
}

impl View {
    /// What clients may reach.
    #[must_use]
    pub fn routes(&self) -> &Routes {
        &self.routes
    }

    /// The cluster was shown.
    ///
    /// Versions of one kind of object grow with each change of any of them and are compared as numbers
    /// (Kubernetes: API concepts, resource versions; KEP-5504). Where one is no number, the term alone decides.
    pub fn observe(&mut self, cluster: &MemgraphCluster) -> Verdict {
        let version = version_of(cluster);
        if self.is_before(version) {
            return Verdict::Stale;
        }
        let mut next = Routes::derive(cluster);
        if next.cluster == self.routes.cluster {
            if self.routes.standing == Standing::Absent {
                // A UID is never used twice, so this is from before the deletion.
                return Verdict::Stale;
            }
            if next.standing == Standing::WithoutLedger {
                // Known once is known: the gateway stays ready while a lost ledger is made anew.
                next.standing = self.routes.standing;
                next.term = self.routes.term;
            } else if next.term < self.routes.term {
                if version.is_none() || self.version.is_none() {
                    return Verdict::Stale;
                }
                let verdict = Verdict::WentBack {
                    from: self.routes.term,
                    to: next.term,
                };
                next.term = self.routes.term;
                self.routes = next.closed();
                self.version = version;
                return verdict;
            }
        }
        unheard::keep(&mut next, cluster, &self.routes);
        self.routes = next;
        self.version = version;
        Verdict::Taken
    }

    /// The cluster was deleted in this state.
    pub fn observe_deletion(&mut self, cluster: &MemgraphCluster) -> Verdict {
        let version = version_of(cluster);
        if cluster.uid() != self.routes.cluster || self.is_before(version) {
            return Verdict::Stale;
        }
        self.version = version.or(self.version);
        self.observe_absence()
    }

    /// A complete list did not have the cluster.
    pub fn observe_absence(&mut self) -> Verdict {
        self.routes = Routes {
            standing: Standing::Absent,
            ..self.routes.closed()
        };
        Verdict::Taken
    }

    fn is_before(&self, version: Option<u64>) -> bool {
        matches!((version, self.version), (Some(new), Some(seen)) if new < seen)
    }
}

fn version_of(cluster: &MemgraphCluster) -> Option<u64> {
    cluster.resource_version()?.parse().ok()
}
