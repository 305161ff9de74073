//! What an instance's volume claim says of the cluster, as an annotation. It outlives the `MemgraphCluster`, and can only
//! forbid a conclusion, never lead to one: a claim may be restored from an old backup, the annotation with it.

use serde::{Deserialize, Serialize};

use super::ledger::Ledger;

/// The note.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct VolumeNote {
    /// Name of the cluster's history.
    pub lineage: String,
    /// The term; 0: clients were never let in, and nothing else is said but [`Self::begun`].
    pub term: i64,
    /// The last term in which a set-up has begun, if that is newer; 0: none.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub begun: i64,
    /// The instance that was MAIN in it.
    pub main: String,
    /// The instances that were in sync.
    #[serde(default)]
    pub in_sync: Vec<String>,
}

impl VolumeNote {
    /// What is to be noted of this ledger.
    #[must_use]
    pub fn of(ledger: &Ledger) -> Self {
        Self {
            lineage: ledger.lineage.clone(),
            term: ledger.term,
            begun: 0,
            main: ledger.main.instance.clone(),
            in_sync: ledger
                .in_sync
                .iter()
                .map(|member| member.instance.clone())
                .collect(),
        }
    }

    /// The newest term that it knows of.
    #[must_use]
    pub fn newest_term(&self) -> i64 {
        self.term.max(self.begun)
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(term: &i64) -> bool {
    *term == 0
}
