//! `spec.replication`: how data is copied between the instances.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How data is copied between the instances.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[x_kube(validation = (
    "self.mode != 'Async' || !has(self.syncReplicas) || self.syncReplicas == 0",
    "syncReplicas: must be 0 or unset with mode Async"
))]
#[serde(rename_all = "camelCase")]
pub struct ReplicationSpec {
    /// What an acknowledged write means.
    #[serde(default)]
    pub mode: ReplicationMode,

    /// Number of replicas that must hold a write before it is acknowledged. Unset: 1, or 0 where there is no
    /// other instance or the mode is Async. After a change of MAIN one of them is enough to let clients in; the
    /// others join as soon as they hold everything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 19))]
    pub sync_replicas: Option<i32>,

    /// Only so many instances, those with the lowest ordinals, may be MAIN or in-sync replica; the others
    /// are always ASYNC. 2 gives a two-pod authority. Unset: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 20))]
    pub electable_instances: Option<i32>,

    /// The instance, such as `demo-0`, that is taken where several are equally fit to be MAIN: in a failover among the in-sync
    /// replicas, and in a switchover that names none. It is never a reason to move MAIN.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub preferred_main: Option<String>,

    /// What happens to writes while no in-sync replica is there.
    #[serde(default)]
    pub data_durability: DataDurability,

    /// What happens to an instance whose data has branched off from MAIN's. The pod annotation `memgraph.dev/reset`
    /// (any value) asks for the same for one instance that is neither MAIN nor in sync.
    #[serde(default)]
    pub diverged_instances: DivergedInstances,
}

/// What an acknowledged write means.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ReplicationMode {
    /// MAIN and every in-sync replica hold it; without an in-sync replica nothing is acknowledged
    /// (Memgraph's STRICT_SYNC, two-phase commit).
    #[default]
    StrictSync,
    /// MAIN holds it and, unless an error was reported, every in-sync replica too (Memgraph's SYNC).
    Sync,
    /// MAIN holds it; replicas follow. A failover may lose acknowledged writes, so there is none unless
    /// `failover.candidates` is MostRecent.
    Async,
}

/// What happens to writes while no in-sync replica is there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum DataDurability {
    /// They fail until one is there again.
    #[default]
    Required,
    /// They go on, on MAIN alone, after a wait of `failover.detectionTimeout`. If MAIN is lost then, they wait for
    /// it to return. The condition Durable and an Event say so.
    Preferred,
}

/// What happens to an instance whose data has branched off from MAIN's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum DivergedInstances {
    /// Its data is moved into a folder on its own volume, and it is filled anew from MAIN. An Event names the folder;
    /// what it holds of the cluster's own history is never deleted by the operator.
    #[default]
    Reset,
    /// It is left as it is until a human decides.
    Keep,
}
