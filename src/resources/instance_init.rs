//! The init container of an instance's pod: it waits until the instance may start at the pod's address, and sets the data
//! aside where the ledger orders that.

use k8s_openapi::api::core::v1::{
    ConfigMapProjection, Container, DownwardAPIProjection, DownwardAPIVolumeFile, EnvVar, EnvVarSource,
    KeyToPath, ObjectFieldSelector, ProjectedVolumeSource, ResourceRequirements,
    ServiceAccountTokenProjection, Volume, VolumeMount, VolumeProjection,
};

use super::{OperatorImage, credentials, parent::Parent, pod, statefulset::mount, tls};
use crate::api::names;

/// The volume with what a pod needs to reach the API server. Only the init container mounts it.
const API_ACCESS: &str = "api-access";
/// Where clients look for it.
const API_ACCESS_FOLDER: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
/// For how long the token is valid, in seconds: the least that the API server grants.
const TOKEN_SECONDS: i64 = 600;

/// The container. It runs the operator's own image, as Memgraph's user, with Memgraph's resources: it is gone before
/// Memgraph starts, so that the pod needs no more with it, and its quality of service stays what it is.
pub(super) fn container(
    parent: &Parent<'_>,
    image: &OperatorImage,
    resources: Option<ResourceRequirements>,
) -> Container {
    let args = [
        "instance-init",
        "--cluster",
        &parent.name,
        "--namespace",
        &parent.namespace,
    ];
    let args = args.map(str::to_owned).into_iter();
    let args = args.chain(tls::arguments(parent).into_iter().flatten());
    let in_pod = parent.spec.storage.empty_dir.is_some();
    let args = args.chain(in_pod.then(|| "--name-volume".to_owned()));
    let mounts = [
        mount(names::DATA_VOLUME, names::DATA_MOUNT),
        VolumeMount {
            read_only: Some(true),
            ..mount(API_ACCESS, API_ACCESS_FOLDER)
        },
    ];
    let mut variables = vec![
        variable("INSTANCE", "metadata.name"),
        // The network is there before this container starts.
        variable("POD_IPS", "status.podIPs"),
    ];
    // It asks MAIN.
    variables.extend(credentials::environment(parent).into_iter().flatten());
    Container {
        name: names::INIT_CONTAINER.to_owned(),
        image: Some(image.name.clone()),
        image_pull_policy: image.pull_policy.clone(),
        args: Some(args.collect()),
        env: Some(variables),
        resources,
        security_context: Some(pod::container_security()),
        volume_mounts: Some(
            mounts
                .into_iter()
                .chain(tls::mounted_authorities(parent))
                .collect(),
        ),
        ..Container::default()
    }
}

/// What Kubernetes itself would mount into every container, had the pod not declined it.
pub(super) fn api_access() -> Volume {
    let token = ServiceAccountTokenProjection {
        path: "token".to_owned(),
        expiration_seconds: Some(TOKEN_SECONDS),
        ..ServiceAccountTokenProjection::default()
    };
    let authority = ConfigMapProjection {
        name: "kube-root-ca.crt".to_owned(),
        items: Some(vec![KeyToPath {
            key: "ca.crt".to_owned(),
            path: "ca.crt".to_owned(),
            ..KeyToPath::default()
        }]),
        ..ConfigMapProjection::default()
    };
    let namespace = DownwardAPIProjection {
        items: Some(vec![DownwardAPIVolumeFile {
            path: "namespace".to_owned(),
            field_ref: Some(field("metadata.namespace")),
            ..DownwardAPIVolumeFile::default()
        }]),
    };
    Volume {
        name: API_ACCESS.to_owned(),
        projected: Some(ProjectedVolumeSource {
            sources: Some(vec![
                VolumeProjection {
                    service_account_token: Some(token),
                    ..VolumeProjection::default()
                },
                VolumeProjection {
                    config_map: Some(authority),
                    ..VolumeProjection::default()
                },
                VolumeProjection {
                    downward_api: Some(namespace),
                    ..VolumeProjection::default()
                },
            ]),
            ..ProjectedVolumeSource::default()
        }),
        ..Volume::default()
    }
}

fn variable(name: &str, path: &str) -> EnvVar {
    EnvVar {
        name: name.to_owned(),
        value_from: Some(EnvVarSource {
            field_ref: Some(field(path)),
            ..EnvVarSource::default()
        }),
        ..EnvVar::default()
    }
}

fn field(path: &str) -> ObjectFieldSelector {
    ObjectFieldSelector {
        field_path: path.to_owned(),
        // The API server's default, in its own spelling.
        api_version: Some("v1".to_owned()),
    }
}
