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
    /// The term.
    pub term: i64,
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
            main: ledger.main.instance.clone(),
            in_sync: ledger
                .in_sync
                .iter()
                .map(|member| member.instance.clone())
                .collect(),
        }
    }
}
