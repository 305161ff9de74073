//! The StatefulSet: the instances and their volumes.

use std::collections::BTreeMap;

use k8s_openapi::{
    api::{
        apps::v1::{
            StatefulSet, StatefulSetPersistentVolumeClaimRetentionPolicy, StatefulSetSpec,
            StatefulSetUpdateStrategy,
        },
        core::v1::{
            ConfigMapVolumeSource, Container, EmptyDirVolumeSource, Lifecycle, LifecycleHandler,
            PersistentVolumeClaim, PersistentVolumeClaimSpec, PodSecurityContext, PodSpec, PodTemplateSpec,
            Probe, SleepAction, TCPSocketAction, Volume, VolumeMount, VolumeResourceRequirements,
        },
    },
    apimachinery::pkg::{api::resource::Quantity, apis::meta::v1::ObjectMeta, util::intstr::IntOrString},
};

use serde_json::json;

use super::{
    Error, Fingerprints, OperatorImage, credentials, flags, instance_init, license, object::content_hash,
    parent::Parent, pod, pod_template, quantity::Amount, start_gate, tls,
};
use crate::{
    api::{MemgraphClusterSpec, ReplicationMode, SHORTEST_GRACE, StorageSpec, names},
    plan::LAST_CALL,
};

/// User and group of the official image.
const USER: i64 = 101;
const GROUP: i64 = 103;

/// For how long an instance whose pod is deleted goes on as if nothing were, in seconds: meanwhile MAIN moves elsewhere, and
/// another replica takes the place of a strict one.
const FAREWELL_SECONDS: i64 = 5;
// MAIN moves in any case before that, and that takes a moment.
const _: () = assert!(LAST_CALL.as_secs() + 2 <= FAREWELL_SECONDS as u64);

/// How long an instance may take to end, in seconds: [`FAREWELL_SECONDS`], and a minute after SIGTERM. It takes no snapshot
/// then, but a snapshot under way or a commit that waits for a replica (30 s at most) is finished first.
const GRACE_SECONDS: i64 = FAREWELL_SECONDS + 60;
// What a user may ask for instead leaves room for such a commit.
const _: () = assert!(SHORTEST_GRACE >= FAREWELL_SECONDS + 30 && SHORTEST_GRACE <= GRACE_SECONDS);

/// For how long an instance may recover before its start counts as failed: a day. Bolt opens only when all
/// data is loaded, which takes hours for the largest graphs, and a kill would start that afresh.
const START_SECONDS: i32 = 24 * 60 * 60;

const START_GATE_VOLUME: &str = "start-gate";
const TEMPORARY_VOLUME: &str = "tmp";
const LOG_VOLUME: &str = "log";

/// The StatefulSet of a cluster.
///
/// All pods start at once, since none needs another one to start. The operator alone decides when which pod
/// is replaced (`OnDelete`), so that a new template, also one of a newer operator, restarts nothing.
pub(super) fn build(
    parent: &Parent<'_>,
    operator: &OperatorImage,
    image: &str,
    secrets: &Fingerprints,
) -> Result<StatefulSet, Error> {
    let spec = parent.spec;
    let storage = &spec.storage;
    let claims = storage.empty_dir.is_none().then(|| claim(parent)).transpose()?;
    let selector = pod::selector(parent, names::INSTANCE);
    let template = PodTemplateSpec {
        metadata: Some(ObjectMeta {
            labels: Some(names::labels(&parent.name, names::INSTANCE)),
            annotations: Some(BTreeMap::from([
                // What `kubectl exec` and `kubectl logs` mean, without a word about the init container.
                (
                    "kubectl.kubernetes.io/default-container".to_owned(),
                    names::INSTANCE_CONTAINER.to_owned(),
                ),
                (
                    names::CONFIGURATION_ANNOTATION.to_owned(),
                    configuration(parent.spec, secrets)?,
                ),
            ])),
            ..ObjectMeta::default()
        }),
        spec: Some(pod_spec(parent, operator, image)?),
    };
    let given = spec.pod_template.as_ref();
    let given = given
        .map(pod_template::Additions::to_instances)
        .unwrap_or_default();
    let template = pod_template::extended(template, &given, "podTemplate", &selector)?;
    Ok(StatefulSet {
        metadata: parent.metadata(names::statefulset(&parent.name), names::INSTANCE),
        spec: Some(StatefulSetSpec {
            replicas: Some(spec.replicas),
            service_name: Some(names::headless_service(&parent.name)),
            pod_management_policy: Some("Parallel".to_owned()),
            update_strategy: Some(StatefulSetUpdateStrategy {
                type_: Some("OnDelete".to_owned()),
                ..StatefulSetUpdateStrategy::default()
            }),
            persistent_volume_claim_retention_policy: claims.is_some().then(|| retention(storage)),
            selector,
            template,
            volume_claim_templates: claims.map(|claim| vec![claim]),
            ..StatefulSetSpec::default()
        }),
        ..StatefulSet::default()
    })
}

fn retention(storage: &StorageSpec) -> StatefulSetPersistentVolumeClaimRetentionPolicy {
    let policy = storage.retention_policy;
    StatefulSetPersistentVolumeClaimRetentionPolicy {
        when_deleted: Some(policy.when_deleted.as_str().to_owned()),
        when_scaled: Some(policy.when_scaled.as_str().to_owned()),
    }
}

/// A hash of what the spec says about an instance's process. A pod with another one is to be replaced.
///
/// Only what the user has written counts, and in a form that stays: a newer operator that makes other pods of the same spec,
/// or has another image for one without, restarts nothing.
///
/// # Errors
/// When `resources` has something that is no quantity.
pub fn configuration(spec: &MemgraphClusterSpec, secrets: &Fingerprints) -> Result<String, Error> {
    let resources = spec.resources.as_ref();
    let resources = resources
        .map(|given| pod::resources("resources", given))
        .transpose()?;
    let mut written = json!({
        "image": spec.image,
        "resources": resources.flatten(),
        "config": spec.config,
        "flushesAll": spec.replication.mode != ReplicationMode::Async,
    });
    // Which Secret it is does not matter: instances read the operator's own one.
    if spec.auth.is_some() {
        written["auth"] = json!(true);
    }
    if let Some(template) = pod_template::written(spec.pod_template.as_ref())? {
        written["podTemplate"] = template;
    }
    // Memgraph reads it when it starts, and not again by itself.
    if let Some(tls) = &spec.tls {
        written["tls"] = json!({"secret": tls.secret_ref.name, "certificate": secrets.certificate});
    }
    if let Some(limit) = size_limit(spec)? {
        written["sizeLimit"] = json!(limit);
    }
    if let Some(license) = &spec.license {
        written["license"] = json!({"secret": license.secret_ref.name, "license": secrets.license});
    }
    Ok(content_hash(&written))
}

fn pod_spec(parent: &Parent<'_>, operator: &OperatorImage, image: &str) -> Result<PodSpec, Error> {
    let database = container(parent, image)?;
    let volumes = [
        Volume {
            name: START_GATE_VOLUME.to_owned(),
            config_map: Some(ConfigMapVolumeSource {
                name: names::start_gate(&parent.name),
                ..ConfigMapVolumeSource::default()
            }),
            ..Volume::default()
        },
        scratch(TEMPORARY_VOLUME),
        scratch(LOG_VOLUME),
        instance_init::api_access(),
    ];
    Ok(PodSpec {
        init_containers: Some(vec![instance_init::container(
            parent,
            operator,
            database.resources.clone(),
        )]),
        service_account_name: Some(names::instance_account(&parent.name)),
        automount_service_account_token: Some(false),
        enable_service_links: Some(false),
        security_context: Some(PodSecurityContext {
            fs_group: Some(GROUP),
            // Without it the kubelet walks through the whole volume at every start.
            fs_group_change_policy: Some("OnRootMismatch".to_owned()),
            ..pod::security(USER, GROUP)
        }),
        affinity: Some(pod::spread(parent, names::INSTANCE)),
        termination_grace_period_seconds: Some(GRACE_SECONDS),
        containers: vec![database],
        volumes: Some(
            volumes
                .into_iter()
                .chain(data_in_pod(parent.spec)?)
                .chain(tls::volume(parent))
                .collect(),
        ),
        ..PodSpec::default()
    })
}

fn container(parent: &Parent<'_>, image: &str) -> Result<Container, Error> {
    let spec = parent.spec;
    let resources = spec.resources.as_ref();
    let resources = resources
        .map(|given| pod::resources("resources", given))
        .transpose()?
        .flatten();
    let memory_limit = resources
        .as_ref()
        .and_then(|resources| resources.limits.as_ref()?.get("memory"))
        .map(|limit| Amount::parse(&limit.0))
        .transpose()
        .map_err(|source| Error::Quantity {
            field: "resources.limits.memory".to_owned(),
            source,
        })?;
    let mounts = [
        mount(names::DATA_VOLUME, names::DATA_MOUNT),
        VolumeMount {
            read_only: Some(true),
            ..mount(START_GATE_VOLUME, start_gate::FOLDER)
        },
        // LOAD PARQUET and LOAD JSONL keep what they download here.
        mount(TEMPORARY_VOLUME, "/tmp"),
        // The image declares it a volume, which some runtimes would put on the node's disk.
        mount(LOG_VOLUME, "/var/log/memgraph"),
    ];
    let environment = credentials::environment(parent).into_iter();
    let environment: Vec<_> = environment
        .chain(license::environment(parent))
        .flatten()
        .collect();
    let mebibytes = memory_limit.map(|limit| limit.whole() / (1024 * 1024));
    Ok(Container {
        name: names::INSTANCE_CONTAINER.to_owned(),
        image: Some(image.to_owned()),
        image_pull_policy: spec.image_pull_policy.clone(),
        args: Some(flags::args(spec, mebibytes)?),
        env: (!environment.is_empty()).then_some(environment),
        ports: Some(vec![
            pod::port(pod::BOLT, names::BOLT_PORT),
            pod::port(pod::REPLICATION, names::REPLICATION_PORT),
        ]),
        resources,
        security_context: Some(pod::container_security()),
        // Bolt opens last, after recovery: a connection means that the instance is up. Asking every second
        // costs nothing while the port is closed, and makes the pod ready as soon as it is.
        startup_probe: Some(Probe {
            period_seconds: Some(1),
            failure_threshold: Some(START_SECONDS),
            ..bolt_probe()
        }),
        readiness_probe: Some(Probe {
            period_seconds: Some(5),
            failure_threshold: Some(3),
            ..bolt_probe()
        }),
        // No liveness probe. A MAIN whose commits wait for a replica must not be killed for it, an ended
        // process is restarted anyway, and the kernel accepts connections for one that hangs, so that a
        // connection proves no life. The operator knows better: it asks over Bolt and acts on the answer.
        liveness_probe: None,
        lifecycle: Some(Lifecycle {
            pre_stop: Some(LifecycleHandler {
                sleep: Some(SleepAction {
                    seconds: FAREWELL_SECONDS,
                }),
                ..LifecycleHandler::default()
            }),
            ..Lifecycle::default()
        }),
        volume_mounts: Some(mounts.into_iter().chain(tls::mounted(parent)).collect()),
        ..Container::default()
    })
}

/// How large an instance's volume is to be.
///
/// # Errors
/// When `storage.size` is no quantity.
pub fn volume_size(spec: &MemgraphClusterSpec) -> Result<Amount, Error> {
    Amount::parse(&spec.storage.size).map_err(|source| Error::Quantity {
        field: "storage.size".to_owned(),
        source,
    })
}

/// How large data that lies in its pod may get.
fn size_limit(spec: &MemgraphClusterSpec) -> Result<Option<Quantity>, Error> {
    let limit = spec.storage.empty_dir.as_ref();
    let limit = limit
        .and_then(|volume| volume.size_limit.as_deref())
        .map(Amount::parse);
    let limit = limit.transpose().map_err(|source| Error::Quantity {
        field: "storage.emptyDir.sizeLimit".to_owned(),
        source,
    })?;
    Ok(limit.map(Amount::canonical))
}

/// The volume of data that lies in its pod. Where it lies in a claim, the StatefulSet's controller adds it.
fn data_in_pod(spec: &MemgraphClusterSpec) -> Result<Option<Volume>, Error> {
    let size_limit = size_limit(spec)?;
    Ok(spec.storage.empty_dir.is_some().then(|| Volume {
        name: names::DATA_VOLUME.to_owned(),
        empty_dir: Some(EmptyDirVolumeSource {
            size_limit,
            ..EmptyDirVolumeSource::default()
        }),
        ..Volume::default()
    }))
}

/// Labels and spec of a claim template can never be changed, so that it has only what it needs.
fn claim(parent: &Parent<'_>) -> Result<PersistentVolumeClaim, Error> {
    let storage = &parent.spec.storage;
    let size = volume_size(parent.spec)?;
    Ok(PersistentVolumeClaim {
        metadata: ObjectMeta {
            name: Some(names::DATA_VOLUME.to_owned()),
            labels: Some(names::selector(&parent.name, names::INSTANCE)),
            ..ObjectMeta::default()
        },
        spec: Some(PersistentVolumeClaimSpec {
            access_modes: Some(vec!["ReadWriteOnce".to_owned()]),
            storage_class_name: storage.storage_class_name.clone(),
            resources: Some(VolumeResourceRequirements {
                requests: Some(BTreeMap::from([("storage".to_owned(), size.canonical())])),
                ..VolumeResourceRequirements::default()
            }),
            ..PersistentVolumeClaimSpec::default()
        }),
        ..PersistentVolumeClaim::default()
    })
}

fn bolt_probe() -> Probe {
    Probe {
        tcp_socket: Some(TCPSocketAction {
            port: IntOrString::String(pod::BOLT.to_owned()),
            ..TCPSocketAction::default()
        }),
        timeout_seconds: Some(3),
        ..Probe::default()
    }
}

pub(super) fn mount(volume: &str, path: &str) -> VolumeMount {
    VolumeMount {
        name: volume.to_owned(),
        mount_path: path.to_owned(),
        ..VolumeMount::default()
    }
}

fn scratch(name: &str) -> Volume {
    Volume {
        name: name.to_owned(),
        empty_dir: Some(EmptyDirVolumeSource::default()),
        ..Volume::default()
    }
}
