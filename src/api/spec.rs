//! What a user may ask for.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ResourceRequirements;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    AuthSpec, BootstrapSpec, EmptyDirSpec, FailoverSpec, GatewaySpec, InheritedMetadata, LicenseSpec,
    NetworkPolicySpec, PodTemplate, ReplicationSpec, TlsSpec, UpdateStrategySpec,
    status::MemgraphClusterStatus,
};

/// A highly available Memgraph cluster: one MAIN, replicas of it, and a gateway that always leads to MAIN.
/// `spec: {}` asks for three instances.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "memgraph.dev",
    version = "v1alpha1",
    kind = "MemgraphCluster",
    shortname = "mgc",
    category = "all",
    namespaced,
    doc = "A highly available Memgraph cluster: one MAIN, replicas of it, and a gateway that always leads to MAIN.",
    derive = "Default",
    derive = "PartialEq",
    status = "MemgraphClusterStatus",
    scale(
        spec_replicas_path = ".spec.replicas",
        status_replicas_path = ".status.replicas",
        label_selector_path = ".status.selector"
    ),
    printcolumn(json_path = ".status.phase", name = "Phase", type_ = "string"),
    printcolumn(json_path = ".status.main", name = "Main", type_ = "string"),
    printcolumn(json_path = ".spec.replicas", name = "Replicas", type_ = "integer"),
    printcolumn(json_path = ".status.readyReplicas", name = "Ready", type_ = "integer"),
    printcolumn(json_path = ".status.inSyncReplicas", name = "In-Sync", type_ = "integer"),
    printcolumn(json_path = ".status.ledger.term", name = "Term", type_ = "integer"),
    printcolumn(json_path = ".metadata.creationTimestamp", name = "Age", type_ = "date"),
    printcolumn(json_path = ".spec.replication.mode", name = "Mode", type_ = "string", priority = 1),
    printcolumn(json_path = ".status.version", name = "Version", type_ = "string", priority = 1),
    validation = (
        "self.metadata.name.size() <= 40 && self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')",
        "metadata.name: at most 40 characters of a-z, 0-9 and '-', beginning with a letter and ending with a letter or digit, because pods, Services and DNS names are made from it"
    ),
    validation = (
        "!has(self.spec.switchover) || !has(self.spec.switchover.target) || (self.spec.switchover.target.matches('-(0|[1-9][0-9]?)$') && self.spec.switchover.target.substring(0, self.spec.switchover.target.lastIndexOf('-')) == self.metadata.name)",
        "spec.switchover.target: must be the name of an instance, which is the cluster's name, '-' and a number, such as demo-1"
    ),
    validation = (
        "!has(self.spec.bootstrap) || !has(self.spec.bootstrap.recover) || (self.spec.bootstrap.recover.main.matches('-(0|[1-9][0-9]?)$') && self.spec.bootstrap.recover.main.substring(0, self.spec.bootstrap.recover.main.lastIndexOf('-')) == self.metadata.name)",
        "spec.bootstrap.recover.main: must be the name of an instance, which is the cluster's name, '-' and a number, such as demo-1"
    ),
    validation = (
        "!has(self.spec.fencedInstances) || self.spec.fencedInstances.all(i, i.matches('-(0|[1-9][0-9]?)$') && i.substring(0, i.lastIndexOf('-')) == self.metadata.name)",
        "spec.fencedInstances: each must be the name of an instance, which is the cluster's name, '-' and a number, such as demo-1"
    ),
    validation = (
        "!has(self.spec.replication) || !has(self.spec.replication.preferredMain) || (self.spec.replication.preferredMain.matches('-(0|[1-9][0-9]?)$') && self.spec.replication.preferredMain.substring(0, self.spec.replication.preferredMain.lastIndexOf('-')) == self.metadata.name)",
        "spec.replication.preferredMain: must be the name of an instance, which is the cluster's name, '-' and a number, such as demo-1"
    ),
    validation = (
        "!has(self.spec.gateway.readWrite.service.name) || self.spec.gateway.readWrite.service.name != self.metadata.name + '-instances'",
        "spec.gateway.readWrite.service.name: must not be the cluster's name and -instances, which is the Service of the instances; take another name"
    ),
    validation = (
        "!has(self.spec.gateway.read.service.name) || self.spec.gateway.read.service.name != self.metadata.name + '-instances'",
        "spec.gateway.read.service.name: must not be the cluster's name and -instances, which is the Service of the instances; take another name"
    ),
    validation = (
        "(has(self.spec.gateway.readWrite.service.name) ? self.spec.gateway.readWrite.service.name : self.metadata.name + '-gateway') != (has(self.spec.gateway.read.service.name) ? self.spec.gateway.read.service.name : self.metadata.name + '-gateway-read')",
        "spec.gateway: readWrite.service.name and read.service.name must differ, also from what the other one is called where it is unset: the cluster's name and -gateway or -gateway-read"
    ),
    validation = (
        "quantity(self.spec.storage.size).compareTo(quantity(oldSelf.spec.storage.size)) >= 0 || !has(self.status) || !has(self.status.volumeSize) || quantity(self.spec.storage.size).compareTo(quantity(self.status.volumeSize)) >= 0",
        "spec.storage.size: cannot be lowered below what the volumes have (status.volumeSize), because volumes do not shrink; take that or more, or make a new cluster with the size you want"
    )
)]
#[x_kube(validation = (
    "!has(self.replication.syncReplicas) || self.replication.syncReplicas < self.replicas",
    "replication.syncReplicas: must be less than replicas, because MAIN is no replica of itself"
))]
#[x_kube(validation = (
    "!has(self.replication.electableInstances) || self.replication.electableInstances <= self.replicas",
    "replication.electableInstances: must not be greater than replicas"
))]
#[x_kube(validation = (
    "!has(self.replication.electableInstances) || self.replication.electableInstances > (has(self.replication.syncReplicas) ? self.replication.syncReplicas : (self.replication.mode == 'Async' || self.replicas == 1 ? 0 : 1))",
    "replication.electableInstances: must be greater than syncReplicas, because MAIN and its in-sync replicas are taken from the electable instances"
))]
#[x_kube(validation = (
    "!has(self.replication.syncReplicas) || self.replication.syncReplicas > 0 || self.replicas == 1 || self.replication.mode == 'Async'",
    "replication.syncReplicas: 0 is allowed only with replication.mode Async or with replicas 1"
))]
#[x_kube(validation = (
    "self.gateway.enabled || self.replication.mode == 'StrictSync' || self.failover.mode == 'Manual'",
    "gateway.enabled: false needs replication.mode StrictSync or failover.mode Manual, because without the gateway only StrictSync keeps a deposed MAIN from acknowledging writes"
))]
#[x_kube(validation = (
    "!has(self.license) || !has(self.podTemplate) || !has(self.podTemplate.container) || !has(self.podTemplate.container.env) || !self.podTemplate.container.env.exists(e, e.name in ['MEMGRAPH_ENTERPRISE_LICENSE', 'MEMGRAPH_ORGANIZATION_NAME'])",
    "podTemplate.container.env: MEMGRAPH_ENTERPRISE_LICENSE and MEMGRAPH_ORGANIZATION_NAME belong to license; take these variables away, or license"
))]
#[x_kube(validation = (
    "!has(self.storage.emptyDir) || self.replicas > 1",
    "storage.emptyDir: needs replicas 2 or more, because each change of the configuration makes the pod anew, and its data goes with it; add instances, or take emptyDir away"
))]
#[x_kube(validation = (
    "!has(self.storage.emptyDir) || !has(self.replication.electableInstances) || self.replication.electableInstances > 1",
    "replication.electableInstances: must be 2 or more with storage.emptyDir, because MAIN's data goes with its pod, and moves to another instance before it"
))]
#[x_kube(validation = (
    "!self.hibernated || !has(self.storage.emptyDir)",
    "hibernated: cannot be true with storage.emptyDir, because the data would be gone with the pods; restore it into a cluster with volume claims, which can be put to sleep"
))]
#[x_kube(validation = (
    "has(self.auth) || !has(oldSelf.auth)",
    "auth: cannot be removed, because instances that have users let nobody in without a password; make a new cluster without it"
))]
#[serde(rename_all = "camelCase")]
pub struct MemgraphClusterSpec {
    /// Number of Memgraph instances, MAIN included.
    #[serde(default = "defaults::replicas")]
    #[schemars(range(min = 1, max = 20))]
    pub replicas: i32,

    /// Image of the instances: Memgraph 3.5 or newer; 3.4 with replication.mode Sync or Async only. Unset: the release that the operator
    /// was tested with which made the cluster; it stays what it is, also with a newer operator, until an image is named here.
    /// `status.image` shows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    pub image: Option<String>,

    /// When the image is pulled: `Always`, `IfNotPresent` or `Never`. Unset: `Always` for the tag `latest` or none, else `IfNotPresent`. It
    /// holds for pods that are made from then on; a change restarts none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = serde_json::json!(["Always", "IfNotPresent", "Never"])))]
    pub image_pull_policy: Option<String>,

    /// Compute resources of each instance. Memgraph's own memory limit follows the container's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<ResourceRequirements>,

    /// What the instances' pods get besides what the operator gives them: labels, where they run, environment, volumes. A
    /// change replaces one instance after the other, MAIN's last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = (
        "!has(self.container) || !has(self.container.env) || self.container.env.all(e, !e.name.startsWith('MEMGRAPH_') || e.name in ['MEMGRAPH_ENTERPRISE_LICENSE', 'MEMGRAPH_ORGANIZATION_NAME'])",
        "podTemplate.container.env: variables that begin with MEMGRAPH_ belong to the operator and cannot be set; use config, auth or podTemplate.spec.volumes"
    ))]
    #[x_kube(validation = (
        "!has(self.container) || !has(self.container.envFrom) || self.container.envFrom.all(e, !e.prefix.startsWith('MEMGRAPH_') && !'MEMGRAPH_'.startsWith(e.prefix))",
        "podTemplate.container.envFrom: prefix must be no beginning of MEMGRAPH_ and not begin with it, because such variables belong to the operator"
    ))]
    #[x_kube(validation = (
        "!has(self.container) || !has(self.container.volumeMounts) || !self.container.volumeMounts.exists(m, ['/var/lib/memgraph', '/var/log/memgraph', '/var/run/secrets', '/run/secrets', '/etc/memgraph', '/etc/memgraph-operator', '/usr/lib/memgraph/memgraph', '/tmp'].exists(p, m.mountPath == p || m.mountPath.startsWith(p + '/') || p.startsWith(m.mountPath + '/')))",
        "podTemplate.container.volumeMounts: a mountPath must not be, contain or lie in /var/lib/memgraph, /var/log/memgraph, /var/run/secrets, /run/secrets, /etc/memgraph, /etc/memgraph-operator, /usr/lib/memgraph/memgraph or /tmp; take another folder, such as /modules"
    ))]
    pub pod_template: Option<PodTemplate>,

    /// Labels and annotations of all objects that the operator makes for this cluster, Secrets and volume claims among them, but for
    /// pods: those have `podTemplate.metadata` and `gateway.podTemplate.metadata`. No pod is replaced for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inherited_metadata: Option<InheritedMetadata>,

    /// How data is copied between the instances.
    #[serde(default)]
    pub replication: ReplicationSpec,

    /// What happens when MAIN is lost.
    #[serde(default)]
    pub failover: FailoverSpec,

    /// Asks for MAIN to be moved. Carried out once for each new `requestId`, when that is possible;
    /// `status.switchover` says what has become of it. With `failover.mode: Manual`, it is also the go-ahead for one
    /// failover, to an instance that holds every acknowledged write.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub switchover: Option<SwitchoverSpec>,

    /// A human's word, where the operator cannot tell which instance holds the newest data.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bootstrap: Option<BootstrapSpec>,

    /// Instances, such as `demo-1`, that get no client and are never promoted. MAIN moves away from one of them as
    /// soon as another instance can take over; until then it goes on, and the condition Stalled says why.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 20), inner(length(max = 63)))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub fenced_instances: Vec<String>,

    /// Stops what the operator does to the cluster: no object is applied, no instance changes its role, and a MAIN that is lost
    /// is not replaced. What has begun is finished first. Clients are led to MAIN as before, and the status is kept up to date.
    #[serde(default)]
    pub paused: bool,

    /// Puts the cluster to sleep, which gives its memory and CPUs back: the gateways end, then all instances; their volumes stay,
    /// whatever `storage.retentionPolicy` says. With `false` it comes back as it was. What else is changed meanwhile takes effect after that.
    #[serde(default)]
    pub hibernated: bool,

    /// Who may use the database. Unset: whoever reaches it, without a password. It can be added to a cluster, and not be
    /// removed again. With it, `gateway.read` is off unless it is switched on: Memgraph Community has no users on replicas.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth: Option<AuthSpec>,

    /// TLS of the instances: with it their Bolt port takes nothing else, and clients of the gateway shake hands with the
    /// instance that they are led to. Unset: plain text. A change, also of what is in the Secret, reaches one instance after the
    /// other, as a change of `config` does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<TlsSpec>,

    /// A Memgraph Enterprise license for the instances. Unset: none, as for all that the operator does. A change, also of what is
    /// in the Secret, reaches one instance after the other, as a change of `config` does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub license: Option<LicenseSpec>,

    /// The TCP gateway in front of the instances.
    #[serde(default)]
    pub gateway: GatewaySpec,

    /// Who may connect to the cluster's pods, where the network plugin enforces NetworkPolicies.
    #[serde(default)]
    pub network_policy: NetworkPolicySpec,

    /// How instances get a changed configuration.
    #[serde(default)]
    pub update_strategy: UpdateStrategySpec,

    /// Where the data lies.
    #[serde(default)]
    pub storage: StorageSpec,

    /// Further Memgraph flags, without the leading dashes, each with its value as text:
    /// `{"log-level": "INFO"}`. Flags on which replication and recovery rest belong to the operator.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 64))]
    #[x_kube(validation = (
        "self.all(flag, flag.matches('^[a-z][a-z0-9-]{0,62}$'))",
        "config: a flag is written without leading dashes, in lower case and with '-' between words, such as log-level"
    ))]
    #[x_kube(validation = (
        "!self.exists(flag, flag in ['bolt-address', 'bolt-port', 'bolt-cert-file', 'bolt-key-file', 'data-directory', 'data-recovery-on-startup', 'also-log-to-stderr', 'log-file', 'flag-file', 'flagfile', 'fromenv', 'tryfromenv', 'undefok', 'help', 'version', 'init-file', 'init-data-file', 'storage-mode', 'storage-wal-enabled', 'storage-wal-file-flush-every-n-tx', 'storage-snapshot-on-exit', 'storage-snapshot-interval', 'replication-restore-state-on-startup', 'replication-replica-check-frequency-sec', 'telemetry-enabled', 'management-port', 'coordinator-id', 'coordinator-port', 'coordinator-hostname', 'storage-allow-recovery-failure', 'cluster-cert-file', 'cluster-key-file', 'cluster-ca-file', 'license-key', 'organization-name'])",
        "config: belongs to the operator and cannot be set: bolt-address, bolt-port, bolt-cert-file, bolt-key-file, data-directory, data-recovery-on-startup, also-log-to-stderr, log-file, flag-file, flagfile, fromenv, tryfromenv, undefok, help, version, init-file, init-data-file, storage-mode, storage-wal-enabled, storage-wal-file-flush-every-n-tx, storage-snapshot-on-exit, storage-snapshot-interval, replication-restore-state-on-startup, replication-replica-check-frequency-sec, telemetry-enabled, management-port, coordinator-id, coordinator-port, coordinator-hostname, storage-allow-recovery-failure, cluster-cert-file, cluster-key-file, cluster-ca-file, license-key, organization-name"
    ))]
    #[x_kube(validation = (
        "!self.exists(flag, flag.startsWith('no'))",
        "config: a flag is switched off by its value: write storage-gc-aggressive: \"false\", not nostorage-gc-aggressive"
    ))]
    #[x_kube(validation = (
        "!('storage-snapshot-interval-sec' in self) || self['storage-snapshot-interval-sec'].matches('^[1-9][0-9]{0,6}$')",
        "config: storage-snapshot-interval-sec must be a number of seconds greater than 0, because Memgraph does not start with a write-ahead log but without snapshots"
    ))]
    pub config: BTreeMap<String, FlagValue>,
}

impl MemgraphClusterSpec {
    /// Whether there is an address that leads to replicas. With `auth` only where that is asked for: a replica that was
    /// registered has no users, and lets everybody in (`replication_handler/auth_replication_handlers.cpp` of Memgraph).
    #[must_use]
    pub fn has_read_gateway(&self) -> bool {
        let wanted = self.gateway.read.enabled.unwrap_or(self.auth.is_none());
        self.gateway.enabled && wanted
    }
}

/// The value of a Memgraph flag.
pub type FlagValue = String;

/// A request to move MAIN.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct SwitchoverSpec {
    /// Any text that was not used before, such as the date and time.
    #[schemars(length(min = 1, max = 63))]
    pub request_id: String,
    /// The instance that is to be MAIN, such as `demo-1`. Unset: the replica that is best fit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub target: Option<String>,
}

/// Where the data lies.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[x_kube(validation = (
    "has(self.storageClassName) == has(oldSelf.storageClassName)",
    "storageClassName: cannot be changed; make a new cluster with the class you want"
))]
#[x_kube(validation = (
    "has(self.emptyDir) == has(oldSelf.emptyDir)",
    "emptyDir: cannot be added or taken away, because the data would stay behind; make a new cluster with it, or without"
))]
#[x_kube(validation = (
    "!has(self.emptyDir) || !has(self.storageClassName)",
    "storageClassName: is of volume claims, and with emptyDir there are none; take one of the two away"
))]
#[x_kube(validation = (
    "!has(self.emptyDir) || self.size == '10Gi'",
    "size: is of volume claims, and with emptyDir there are none; take it away, and set emptyDir.sizeLimit"
))]
#[x_kube(validation = (
    "!has(self.emptyDir) || (self.retentionPolicy.whenDeleted == 'Retain' && self.retentionPolicy.whenScaled == 'Retain')",
    "retentionPolicy: is of volume claims; with emptyDir the data always goes with its pod; take one of the two away"
))]
#[serde(rename_all = "camelCase")]
pub struct StorageSpec {
    /// Size of each instance's volume. Plan for four times the data set: snapshots are full copies. It can be raised where the
    /// storage class allows volumes to grow: they do while they are used, and no instance restarts. Lowered it can be as far as
    /// the smallest volume (`status.volumeSize`), which takes back a size that could not be had: no volume shrinks.
    #[serde(default = "defaults::storage_size")]
    #[schemars(
        length(min = 1, max = 32),
        regex(pattern = r"^[0-9]+(\.[0-9]+)?(k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei)?$")
    )]
    #[x_kube(validation = (
        "quantity(self).isGreaterThan(quantity('0'))",
        "size: must be greater than 0"
    ))]
    pub size: String,

    /// Storage class of the volumes. Unset: the default class.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = (
        "self == oldSelf",
        "storageClassName: cannot be changed; make a new cluster with the class you want"
    ))]
    pub storage_class_name: Option<String>,

    /// What becomes of the volumes.
    #[serde(default)]
    pub retention_policy: RetentionPolicy,

    /// Unset: each instance has a volume claim. Set: the data lies in an `emptyDir` of each instance's pod, and **is gone with the
    /// pod**: a deletion of all pods, or of the cluster, loses everything. It outlives restarts of processes and nodes. An instance
    /// whose pod is made anew is filled from MAIN.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub empty_dir: Option<EmptyDirSpec>,
}

impl Default for StorageSpec {
    fn default() -> Self {
        Self {
            size: defaults::storage_size(),
            storage_class_name: None,
            retention_policy: RetentionPolicy::default(),
            empty_dir: None,
        }
    }
}

/// What becomes of the volumes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct RetentionPolicy {
    /// When the cluster is deleted.
    #[serde(default)]
    pub when_deleted: Retention,
    /// When `replicas` is lowered.
    #[serde(default)]
    pub when_scaled: Retention,
}

/// What becomes of a volume.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Retention {
    /// It is kept.
    #[default]
    Retain,
    /// It is deleted, and the data with it.
    Delete,
}

impl Retention {
    /// The name in the Kubernetes API.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Retain => "Retain",
            Self::Delete => "Delete",
        }
    }
}

/// The values that the schema fills in.
mod defaults {
    pub(super) fn replicas() -> i32 {
        3
    }
    pub(super) fn storage_size() -> String {
        "10Gi".to_owned()
    }
}
