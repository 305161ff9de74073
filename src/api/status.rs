//! What the operator reports, and the ledger it keeps.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    DurationString, MemgraphCluster,
    ledger::{Ledger, OperationKind, SwitchoverRecord},
};

/// What the operator reports about a cluster.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
// So that a cluster that no operator has seen yet does not look as if all of it were done (kstatus).
#[schemars(extend("default" = {"observedGeneration": -1}))]
pub struct MemgraphClusterStatus {
    /// The generation of the spec that this status is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,

    /// The conditions in one word, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<Phase>,

    /// The instance that is MAIN.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub main: Option<String>,

    /// The installation of the operator that looks after the cluster, by its Lease: `<namespace>/<name>`. Any other one leaves it alone,
    /// unless nobody has held that Lease for a while.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operator: Option<String>,

    /// The installation that is about to take the cluster over, since nobody holds that Lease. Whoever looks after it takes this away
    /// before anything else is done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_operator: Option<String>,

    /// Number of instance pods.
    #[serde(default)]
    pub replicas: i32,

    /// Number of instances that answer in the role they should have.
    #[serde(default)]
    pub ready_replicas: i32,

    /// Number of replicas that follow MAIN and hold every acknowledged write.
    #[serde(default)]
    pub in_sync_replicas: i32,

    /// Label selector of the instance pods, for the scale subresource.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<String>,

    /// The image that the instances run; where it is being changed, the one of MAIN.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,

    /// The Memgraph version that MAIN reports.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,

    /// The instances, by ordinal.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub instances: Vec<InstanceStatus>,

    /// Where clients connect to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway: Option<GatewayStatus>,

    /// How large the smallest volume of an instance is. `spec.storage.size` can be lowered to that, and no further. None: no
    /// instance has a volume, or the data lies in the pods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    pub volume_size: Option<String>,

    /// What has become of `spec.switchover`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub switchover: Option<SwitchoverRecord>,

    /// The newest change of MAIN that was not planned: it was lost, or had restarted. Also one that a human has decided on
    /// (`failover.mode: Manual`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_failover: Option<FailoverRecord>,

    /// The newest operations that closed the route for a while, newest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub history: Vec<OperationRecord>,

    /// The state in the Kubernetes convention.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,

    /// The operator's decisions. Nobody else writes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ledger: Option<Ledger>,
}

impl MemgraphCluster {
    /// The installation that looks after the cluster, if it is another one than this.
    #[must_use]
    pub fn looked_after_by_another(&self, installation: &str) -> Option<&str> {
        let operator = self.status.as_ref()?.operator.as_deref();
        operator.filter(|operator| *operator != installation)
    }
}

/// The conditions in one word. Code never reads it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Phase {
    /// Instances are starting: for the first time, or after the cluster was asleep.
    Pending,
    /// MAIN and its replicas are being set up for the first time.
    Bootstrapping,
    /// All is as the spec asks.
    Operational,
    /// MAIN serves, but something is missing; or only the operator does not hear it.
    Degraded,
    /// MAIN runs but acknowledges no write, because its in-sync replica is missing.
    WritesBlocked,
    /// MAIN is being replaced.
    FailingOver,
    /// MAIN is being moved, as was asked for.
    SwitchingOver,
    /// MAIN serves; instances get a changed configuration, one after the other.
    Updating,
    /// No MAIN serves.
    Unavailable,
    /// A human must decide; the condition Stalled says what.
    Unknown,
    /// `spec.paused` has the operator do nothing, and MAIN serves or was not set up yet.
    Paused,
    /// `spec.hibernated` has all pods end, or none is left.
    Hibernated,
    /// The cluster is being deleted.
    Terminating,
}

/// How far a request to move MAIN has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum SwitchoverState {
    /// It will be carried out once that is possible.
    Pending,
    /// It is being carried out.
    Running,
    /// MAIN is where it was to be.
    Succeeded,
    /// It was begun, and MAIN is elsewhere.
    Failed,
    /// It cannot be carried out. Ask again with another `requestId`.
    Refused,
}

/// One instance as the operator sees it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct InstanceStatus {
    /// Name of the instance (its pod).
    pub name: String,
    /// Address of its pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// What it does in the cluster.
    pub role: InstanceRole,
    /// How MAIN feeds it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<RegistrationMode>,
    /// Whether it answers.
    pub health: Health,
    /// It is known to hold every acknowledged write, as a replica, in the very life that it is in.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub in_sync: bool,
    /// What MAIN says of its data, or said last: `ready`, `recovery`, `invalid`, `diverged`, `ghost` (MAIN lists it, does not feed it).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data_status: Option<String>,
    /// Its Bolt port takes TLS only. Pods get what `spec.tls` asks for one after the other.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub tls: bool,
    /// What keeps its pod from running, as Kubernetes says it: its image, its node, its process. None: it runs, or Kubernetes says
    /// nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub obstacle: Option<String>,
    /// What its node lacks for Memgraph (`vm.max_map_count`), as it was when the pod started. None: nothing, or nobody tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warning: Option<String>,
}

/// What an instance does in the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum InstanceRole {
    /// It takes writes.
    Main,
    /// It follows MAIN.
    Replica,
    /// It is MAIN against the ledger's word; it gets no client and is demoted.
    Deposed,
    /// It does not answer.
    Unknown,
}

/// How MAIN feeds a replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum RegistrationMode {
    /// Before a write is acknowledged, by two-phase commit.
    StrictSync,
    /// Before a write is acknowledged.
    Sync,
    /// Afterwards.
    Async,
}

/// Whether an instance answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Health {
    /// It answers Bolt.
    Up,
    /// Its container runs, but it does not answer.
    Silent,
    /// It has no running container.
    Down,
}

/// Where clients connect to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct GatewayStatus {
    /// Address that always leads to MAIN, as `host:port` inside the Kubernetes cluster.
    pub read_write: String,
    /// Address that leads to replicas.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read: Option<String>,
}

/// A change of MAIN that was not planned.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct FailoverRecord {
    /// The term that it began.
    pub term: i64,
    /// What was done.
    pub kind: OperationKind,
    /// The former MAIN.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// The new MAIN.
    pub to: String,
    /// When the loss was acted on (RFC 3339).
    pub started_at: String,
    /// When clients were let in again (RFC 3339).
    pub finished_at: String,
}

/// An operation that is over. While it went on no client could write.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct OperationRecord {
    /// The term in which the route was opened again.
    pub term: i64,
    /// What was done.
    pub kind: OperationKind,
    /// The former MAIN.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// MAIN since then.
    pub to: String,
    /// What it was begun for.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub cause: String,
    /// When it was announced (RFC 3339).
    pub started_at: String,
    /// When clients were let in again (RFC 3339).
    pub finished_at: String,
    /// How long the operator process that ended it worked on each kind of step, in the order in which they were
    /// first taken. The rest of the time it waited, or another process was at work.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub steps: Vec<StepRecord>,
}

/// How long steps of one kind took, together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct StepRecord {
    /// Their kind, such as Fence or Promote.
    pub step: String,
    /// How long they took.
    pub took: DurationString,
}
