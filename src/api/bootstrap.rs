//! `spec.bootstrap`: a human's word on a state that tells nothing by itself.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

/// A human's word on how a cluster whose ledger is lost begins anew.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct BootstrapSpec {
    /// Which instance holds the data to go on with. Read only while the condition Stalled prints a `stateId`, and only
    /// if it is that very one: it may stay in the spec without being obeyed again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recover: Option<RecoverSpec>,
}

/// Which instance to go on with, in which state.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct RecoverSpec {
    /// The instance that becomes MAIN, such as `demo-0`. What other instances hold beyond its data is not used.
    #[schemars(length(min = 1, max = 63))]
    pub main: String,
    /// The `stateId` that the condition Stalled prints.
    #[schemars(length(min = 1, max = 63))]
    pub state_id: String,
}
