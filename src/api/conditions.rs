//! The conditions of a cluster's status, in the Kubernetes convention.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

/// What a condition is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ConditionType {
    /// The gateway leads to a MAIN of the current term that can acknowledge writes.
    Ready,
    /// The cluster is not yet as the spec asks.
    Reconciling,
    /// Something waits for a human: the cluster, or while it serves what the message names.
    Stalled,
    /// MAIN answers.
    MainAvailable,
    /// A further copy holds every acknowledged write.
    Durable,
    /// Every replica is registered, connected and follows.
    ReplicationHealthy,
    /// Gateway pods are ready to take sessions.
    GatewayAvailable,
    /// Every instance has a volume as large as the spec asks.
    StorageReady,
    /// Every instance was started with what the spec says now.
    UpToDate,
    /// Nothing is done, because `spec.paused` says so.
    Paused,
    /// No pod is left, because `spec.hibernated` says so.
    Hibernated,
}

impl ConditionType {
    /// Every type, in the order in which they are shown.
    pub const ALL: [Self; 11] = [
        Self::Ready,
        Self::Reconciling,
        Self::Stalled,
        Self::MainAvailable,
        Self::Durable,
        Self::ReplicationHealthy,
        Self::GatewayAvailable,
        Self::StorageReady,
        Self::UpToDate,
        Self::Paused,
        Self::Hibernated,
    ];

    /// The name in the API.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "Ready",
            Self::Reconciling => "Reconciling",
            Self::Stalled => "Stalled",
            Self::MainAvailable => "MainAvailable",
            Self::Durable => "Durable",
            Self::ReplicationHealthy => "ReplicationHealthy",
            Self::GatewayAvailable => "GatewayAvailable",
            Self::StorageReady => "StorageReady",
            Self::UpToDate => "UpToDate",
            Self::Paused => "Paused",
            Self::Hibernated => "Hibernated",
        }
    }
}

/// A condition's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Truth {
    /// It holds.
    True,
    /// It does not hold.
    False,
    /// It cannot be told now.
    Unknown,
}

impl Truth {
    /// The name in the Kubernetes API.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::True => "True",
            Self::False => "False",
            Self::Unknown => "Unknown",
        }
    }
}

impl From<bool> for Truth {
    fn from(value: bool) -> Self {
        if value { Self::True } else { Self::False }
    }
}

/// Why a condition has its value: one word for machines. New ones may come, present ones keep their meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// All is as the spec asks.
    AsExpected,
    /// Instances have not all started.
    WaitingForInstances,
    /// The first set-up is going on.
    Bootstrapping,
    /// MAIN is being replaced.
    FailingOver,
    /// MAIN is being moved, as was asked for.
    SwitchingOver,
    /// Replicas are registered anew on a MAIN that stays; clients wait, and keep their sessions if that takes less than a second.
    Repairing,
    /// MAIN does not answer.
    MainUnreachable,
    /// MAIN is lost, and no copy may be promoted.
    NoCandidate,
    /// MAIN is lost, and `failover.mode` leaves the change to a human.
    ManualFailover,
    /// MAIN is lost; `failover.delay` has not passed yet.
    FailoverDelayed,
    /// MAIN is silent, and there were more failovers on suspicion than `failover.maxPerHour` allows.
    TooManyFailovers,
    /// MAIN was lost several times in a few minutes: the next promotion waits for up to a minute.
    CrashLooping,
    /// An instance of `fencedInstances` is MAIN or would have to be, because no other one can; or nobody may be in sync because of it.
    FencedInstance,
    /// An instance holds writes that MAIN does not, and `replication.divergedInstances` is Keep, or it has not followed MAIN since
    /// `bootstrap.recover` was obeyed.
    DivergedInstance,
    /// An instance hangs, or its process ends again and again.
    InstanceFailing,
    /// What the instances hold allows no safe conclusion, or the ledger was put back to an older state.
    AmbiguousState,
    /// No in-sync copy: one failure could lose acknowledged writes, or writes are blocked.
    NoInSyncReplica,
    /// MAIN is in a storage mode in which Memgraph replicates nothing.
    UnreplicatedMode,
    /// Some replica is not registered, not connected or behind.
    ReplicasLagging,
    /// No gateway pod is ready.
    GatewayNotReady,
    /// The spec asks for no gateway.
    GatewayDisabled,
    /// The spec asks for no in-sync copy.
    NotRequired,
    /// The volume claim of an instance has no volume yet.
    WaitingForVolumes,
    /// Volumes are being made as large as `storage.size` asks.
    Expanding,
    /// A volume cannot be made as large as `storage.size` asks; the message says who has refused it.
    ExpansionRefused,
    /// Pods are being replaced, one after the other, because the spec has changed.
    Updating,
    /// Only MAIN's pod is left to be replaced, and `updateStrategy.mainUpdate` leaves that to a human.
    WaitingForSwitchover,
    /// `image` is an older release than the one that runs.
    Downgrade,
    /// Instances run several releases of Memgraph, and none is being changed.
    MixedReleases,
    /// `spec.paused` keeps the operator from changing anything.
    Paused,
    /// The cluster is asleep, as `spec.hibernated` asks.
    Hibernated,
    /// The cluster is being put to sleep: gateways and instances end.
    Hibernating,
    /// The cluster was asleep, or on its way there: pods are still to be made anew, or MAIN does not serve yet.
    Waking,
    /// The spec has a value that cannot be used; the message names the field.
    InvalidSpec,
    /// The CustomResourceDefinition is another release's than the operator, and does not take its ledger.
    UnfitDefinition,
    /// The Secret of `auth.secretRef` is missing, or cannot be used; the message names the key and the remedy.
    InvalidCredentials,
    /// The Secret of `tls.secretRef` or `gateway.tls.secretRef` is missing, or cannot be used; the message names the key and the remedy.
    InvalidCertificate,
    /// The Secret of `license.secretRef` is missing, or cannot be used; the message names the key and the remedy.
    InvalidLicense,
    /// An object of the same name belongs to something else.
    ForeignObject,
    /// The API server does not take an object of the cluster; the message names it and says why.
    ObjectRefused,
    /// The cluster is being deleted.
    Terminating,
}

impl Reason {
    /// The name in the API.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::AsExpected => "AsExpected",
            Self::WaitingForInstances => "WaitingForInstances",
            Self::Bootstrapping => "Bootstrapping",
            Self::FailingOver => "FailingOver",
            Self::SwitchingOver => "SwitchingOver",
            Self::Repairing => "Repairing",
            Self::MainUnreachable => "MainUnreachable",
            Self::NoCandidate => "NoCandidate",
            Self::ManualFailover => "ManualFailover",
            Self::FailoverDelayed => "FailoverDelayed",
            Self::TooManyFailovers => "TooManyFailovers",
            Self::CrashLooping => "CrashLooping",
            Self::FencedInstance => "FencedInstance",
            Self::DivergedInstance => "DivergedInstance",
            Self::InstanceFailing => "InstanceFailing",
            Self::AmbiguousState => "AmbiguousState",
            Self::NoInSyncReplica => "NoInSyncReplica",
            Self::UnreplicatedMode => "UnreplicatedMode",
            Self::ReplicasLagging => "ReplicasLagging",
            Self::GatewayNotReady => "GatewayNotReady",
            Self::GatewayDisabled => "GatewayDisabled",
            Self::NotRequired => "NotRequired",
            Self::WaitingForVolumes => "WaitingForVolumes",
            Self::Expanding => "Expanding",
            Self::ExpansionRefused => "ExpansionRefused",
            Self::Updating => "Updating",
            Self::WaitingForSwitchover => "WaitingForSwitchover",
            Self::Downgrade => "Downgrade",
            Self::MixedReleases => "MixedReleases",
            Self::Paused => "Paused",
            Self::Hibernated => "Hibernated",
            Self::Hibernating => "Hibernating",
            Self::Waking => "Waking",
            Self::InvalidSpec => "InvalidSpec",
            Self::UnfitDefinition => "UnfitDefinition",
            Self::InvalidCredentials => "InvalidCredentials",
            Self::InvalidCertificate => "InvalidCertificate",
            Self::InvalidLicense => "InvalidLicense",
            Self::ForeignObject => "ForeignObject",
            Self::ObjectRefused => "ObjectRefused",
            Self::Terminating => "Terminating",
        }
    }
}

/// A condition before it has times: what a report says of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// What it is about.
    pub condition: ConditionType,
    /// Its value.
    pub status: Truth,
    /// One word that says why.
    pub reason: Reason,
    /// A sentence for people: what is missing, and the remedy where there is one.
    pub message: String,
}

/// The conditions that say `verdicts`; one whose value did not change keeps its transition time.
#[must_use]
pub fn merge(
    before: &[Condition],
    verdicts: &[Verdict],
    generation: Option<i64>,
    now: &Time,
) -> Vec<Condition> {
    verdicts
        .iter()
        .map(|verdict| {
            let old = before.iter().find(|c| c.type_ == verdict.condition.as_str());
            let unchanged = old.filter(|c| c.status == verdict.status.as_str());
            Condition {
                type_: verdict.condition.as_str().to_owned(),
                status: verdict.status.as_str().to_owned(),
                reason: verdict.reason.as_str().to_owned(),
                message: verdict.message.clone(),
                observed_generation: generation,
                last_transition_time: unchanged
                    .map_or_else(|| now.clone(), |c| c.last_transition_time.clone()),
            }
        })
        .collect()
}
