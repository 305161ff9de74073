//! How a running cluster takes over a changed spec.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How instances get a changed `image`, `config`, `resources`, `podTemplate` or `replication.mode`: one pod after the other is replaced, while all
/// the others follow MAIN; MAIN's last.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct UpdateStrategySpec {
    /// What happens once only MAIN is left.
    #[serde(default)]
    pub main_update: MainUpdate,
}

/// What happens once only MAIN is left to be updated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum MainUpdate {
    /// MAIN moves to an instance that is updated, as by a switchover; then its pod is replaced. The only instance of a
    /// cluster is replaced where it is.
    #[default]
    Automatic,
    /// MAIN stays until somebody asks for a switchover, or deletes its pod; the condition UpToDate says so.
    Supervised,
}
