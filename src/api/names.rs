//! Names and labels of everything that belongs to a cluster.

use std::collections::BTreeMap;

/// The API group of [`MemgraphCluster`](super::MemgraphCluster).
pub const GROUP: &str = "memgraph.dev";
/// The field manager of every server-side apply that this operator makes.
pub const FIELD_MANAGER: &str = "memgraph-operator";
/// The image of an instance where the spec names none.
pub const DEFAULT_IMAGE: &str = "memgraph/memgraph:3.12.0";

/// Where clients speak Bolt to an instance, and the port of the read-write gateway.
pub const BOLT_PORT: u16 = 7687;
/// Where the gateway takes sessions that only read (its Service has [`BOLT_PORT`] too).
pub const GATEWAY_READ_PORT: u16 = 7688;
/// Where a replica takes the replication stream.
pub const REPLICATION_PORT: u16 = 10000;
/// Where a gateway answers the operator, over mutual TLS.
pub const CONTROL_PORT: u16 = 8443;
/// Where operator and gateway answer HTTP (health, status).
pub const HTTP_PORT: u16 = 8080;

/// Label whose value is the cluster's name, on every object of the cluster.
pub const CLUSTER_LABEL: &str = "memgraph.dev/cluster";
/// Label that tells an instance pod (`instance`) from a gateway pod (`gateway`).
pub const COMPONENT_LABEL: &str = "app.kubernetes.io/component";
/// [`COMPONENT_LABEL`] of the database pods.
pub const INSTANCE: &str = "instance";
/// [`COMPONENT_LABEL`] of the gateway pods.
pub const GATEWAY: &str = "gateway";
/// The container that runs Memgraph, in a pod of an instance.
pub const INSTANCE_CONTAINER: &str = "memgraph";
/// The volume (and volume claim template) that holds an instance's data.
pub const DATA_VOLUME: &str = "data";

/// Where an instance's volume is mounted.
pub const DATA_MOUNT: &str = "/var/lib/memgraph";
/// Memgraph's data directory. Its owner must be Memgraph's own user; it makes the folder itself, whoever owns the volume.
pub const DATA_DIRECTORY: &str = "/var/lib/memgraph/mg_data";
/// The flag by which Memgraph flushes its log at each transaction, before it is acknowledged.
pub const FLUSH_ALWAYS: &str = "--storage-wal-file-flush-every-n-tx=1";
/// The flag by which Memgraph gets its certificate. Where it has one, its Bolt port takes TLS only.
pub const CERTIFICATE_FLAG: &str = "--bolt-cert-file=";
/// Below [`DATA_MOUNT`]: the data that was set aside, a folder for each time.
pub const SET_ASIDE: &str = "set-aside";
/// The init container in a pod of an instance.
pub const INIT_CONTAINER: &str = "instance-init";
/// Annotation of an instance's pod that asks for its data to be set aside.
pub const RESET_ANNOTATION: &str = "memgraph.dev/reset";

/// Annotation of an instance's pod that asks for another pod in its place.
pub const RESTART_ANNOTATION: &str = "memgraph.dev/restart";

/// Annotation of an instance's pod with a hash of what the spec says about its process.
pub const CONFIGURATION_ANNOTATION: &str = "memgraph.dev/configuration";

/// Annotation of an instance's volume claim with a [`VolumeNote`](super::VolumeNote).
pub const NOTE_ANNOTATION: &str = "memgraph.dev/volume-note";

/// The StatefulSet of a cluster, which has the cluster's own name.
#[must_use]
pub fn statefulset(cluster: &str) -> String {
    cluster.to_owned()
}

/// The headless Service that gives each instance its DNS name.
#[must_use]
pub fn headless_service(cluster: &str) -> String {
    format!("{cluster}-instances")
}

/// The PodDisruptionBudget of the instances.
#[must_use]
pub fn instances_budget(cluster: &str) -> String {
    format!("{cluster}-instances")
}

/// The NetworkPolicy of the instances.
#[must_use]
pub fn instances_policy(cluster: &str) -> String {
    format!("{cluster}-instances")
}

/// The gateway's Deployment, PodDisruptionBudget, NetworkPolicy, ServiceAccount, Role and RoleBinding, and the Service that
/// leads to MAIN where the spec names it no [other way](super::GatewaySpec::read_write_service).
#[must_use]
pub fn gateway(cluster: &str) -> String {
    format!("{cluster}-gateway")
}

/// The Service that leads to replicas, for reading, where the spec names it no
/// [other way](super::GatewaySpec::read_service).
#[must_use]
pub fn read_gateway(cluster: &str) -> String {
    format!("{cluster}-gateway-read")
}

/// The Secret with the authority of the control channel, which only the operator reads.
#[must_use]
pub fn control_authority(cluster: &str) -> String {
    format!("{cluster}-control-authority")
}

/// The Secret with the gateways' certificate of the control channel, which is mounted into their pods.
#[must_use]
pub fn control_certificates(cluster: &str) -> String {
    format!("{cluster}-gateway-control")
}

/// The Secret with the credentials that hold now, and those that held before: instances and the operator read it.
#[must_use]
pub fn credentials(cluster: &str) -> String {
    format!("{cluster}-credentials")
}

/// The Secret for applications: where the database is, and how to sign in.
#[must_use]
pub fn application(cluster: &str) -> String {
    format!("{cluster}-app")
}

/// The ServiceAccount of the instances.
#[must_use]
pub fn instance_account(cluster: &str) -> String {
    format!("{cluster}-instance")
}

/// The ConfigMap with the start gate, the file that makes every instance start as a replica.
#[must_use]
pub fn start_gate(cluster: &str) -> String {
    format!("{cluster}-start-gate")
}

/// The pod (and so the instance) with this ordinal.
#[must_use]
pub fn instance(cluster: &str, ordinal: i32) -> String {
    format!("{cluster}-{ordinal}")
}

/// The volume claim of an instance's data.
#[must_use]
pub fn data_claim(instance: &str) -> String {
    format!("{DATA_VOLUME}-{instance}")
}

/// The ordinal at the end of an instance's name, if it is an instance of this cluster.
#[must_use]
pub fn ordinal(cluster: &str, instance: &str) -> Option<i32> {
    let digits = instance.strip_prefix(cluster)?.strip_prefix('-')?;
    let canonical = digits == "0" || (!digits.starts_with('0') && digits.bytes().all(|b| b.is_ascii_digit()));
    if canonical { digits.parse().ok() } else { None }
}

/// The DNS name under which an instance is registered for replication.
///
/// It stays the same when the pod moves, and the headless Service publishes it before the pod is ready.
#[must_use]
pub fn instance_host(cluster: &str, namespace: &str, instance: &str, cluster_domain: &str) -> String {
    format!(
        "{instance}.{}.{namespace}.svc.{cluster_domain}",
        headless_service(cluster)
    )
}

/// The name for which an instance must have a certificate where it speaks TLS.
///
/// It has no cluster domain, which gateways do not know: a certificate for `*.<cluster>-instances.<namespace>.svc` is enough.
#[must_use]
pub fn instance_tls_name(cluster: &str, namespace: &str, instance: &str) -> String {
    format!("{instance}.{}.{namespace}.svc", headless_service(cluster))
}

/// The labels that select a component's pods; they never change during a cluster's life.
#[must_use]
pub fn selector(cluster: &str, component: &str) -> BTreeMap<String, String> {
    BTreeMap::from([
        (CLUSTER_LABEL.to_owned(), cluster.to_owned()),
        (COMPONENT_LABEL.to_owned(), component.to_owned()),
    ])
}

/// All labels of an object of this component.
#[must_use]
pub fn labels(cluster: &str, component: &str) -> BTreeMap<String, String> {
    let mut labels = selector(cluster, component);
    for (key, value) in [
        ("app.kubernetes.io/name", "memgraph"),
        ("app.kubernetes.io/instance", cluster),
        ("app.kubernetes.io/managed-by", FIELD_MANAGER),
    ] {
        labels.insert(key.to_owned(), value.to_owned());
    }
    labels
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ordinal_is_read_only_from_this_clusters_instances() {
        assert_eq!(ordinal("demo", "demo-0"), Some(0));
        assert_eq!(ordinal("demo", "demo-12"), Some(12));
        for other in [
            "demo",
            "demo-",
            "demo-01",
            "demo-x",
            "demo-gateway-0",
            "other-0",
            "demo--1",
        ] {
            assert_eq!(ordinal("demo", other), None, "{other}");
        }
    }
}
