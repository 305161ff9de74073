//! The Deployment of the gateway.

use std::collections::BTreeMap;

use k8s_openapi::{
    api::{
        apps::v1::{Deployment, DeploymentSpec, DeploymentStrategy, RollingUpdateDeployment},
        core::v1::{
            Container, EnvVar, EnvVarSource, HTTPGetAction, KeyToPath, ObjectFieldSelector, PodSpec,
            PodTemplateSpec, Probe, ResourceRequirements, SecretVolumeSource, Volume, VolumeMount,
        },
    },
    apimachinery::pkg::{api::resource::Quantity, apis::meta::v1::ObjectMeta, util::intstr::IntOrString},
};

use super::{Error, Installation, parent::Parent, pod, pod_template, tls::AUTHORITIES};
use crate::{api::names, traces::ENDPOINT_VARIABLE};

/// User and group of the operator's image.
const USER: i64 = 65532;

/// How long a gateway may take to end after SIGTERM, in seconds: it lets its sessions go on for 20 s, and answers for 4 s more at
/// most.
const GRACE_SECONDS: i64 = 30;

const CONTAINER: &str = "gateway";

/// The port on which the operator is answered, and the volume with the certificates for that.
const CONTROL: &str = "control";

/// Where the gateway looks for them by itself.
const CERTIFICATES: &str = "/etc/memgraph-gateway/control";

/// The volume with the certificate by which clients know the gateway, where TLS ends there.
const TLS: &str = "tls";

/// Where that is mounted.
const TLS_CERTIFICATE: &str = "/etc/memgraph-gateway/tls";

/// The volume with the authorities of the instances' certificates, where TLS with clients ends here and instances have one.
const INSTANCES: &str = "instances-ca";

/// Where that is mounted.
const INSTANCES_FOLDER: &str = "/etc/memgraph-gateway/instances";
const INSTANCES_CA: &str = "/etc/memgraph-gateway/instances/ca.crt";

/// The Deployment of a cluster's gateways. It runs the operator's own image.
///
/// A rollout takes no gateway away before its successor is ready, so that a bad image never stops traffic. `former`: the Secret whose
/// certificate an instance still shows although the spec names none any more. MAIN is the last one to be without.
pub(super) fn build(
    parent: &Parent<'_>,
    installation: &Installation,
    former: Option<&str>,
) -> Result<Deployment, Error> {
    let of_instances = parent.spec.tls.as_ref().map(|tls| tls.secret_ref.name.as_str());
    let of_instances = of_instances.or(former);
    let selector = pod::selector(parent, names::GATEWAY);
    let template = PodTemplateSpec {
        metadata: Some(ObjectMeta {
            labels: Some(names::labels(&parent.name, names::GATEWAY)),
            ..ObjectMeta::default()
        }),
        spec: Some(PodSpec {
            service_account_name: Some(names::gateway(&parent.name)),
            // It reads its cluster's ledger.
            automount_service_account_token: Some(true),
            enable_service_links: Some(false),
            security_context: Some(pod::security(USER, USER)),
            affinity: Some(pod::spread(parent, names::GATEWAY)),
            termination_grace_period_seconds: Some(GRACE_SECONDS),
            containers: vec![container(parent, installation, of_instances.is_some())?],
            volumes: Some(volumes(parent, of_instances)),
            ..PodSpec::default()
        }),
    };
    let given = parent.spec.gateway.pod_template.as_ref();
    let given = given
        .map(pod_template::Additions::to_gateways)
        .unwrap_or_default();
    let template = pod_template::extended(template, &given, "gateway.podTemplate", &selector)?;
    Ok(Deployment {
        metadata: parent.metadata(names::gateway(&parent.name), names::GATEWAY),
        spec: Some(DeploymentSpec {
            // The first ones to go to sleep, and none of them before the operator has decided so (`crate::plan::Stage`).
            replicas: Some(if parent.spec.hibernated {
                0
            } else {
                parent.spec.gateway.replicas
            }),
            selector,
            strategy: Some(DeploymentStrategy {
                type_: Some("RollingUpdate".to_owned()),
                rolling_update: Some(RollingUpdateDeployment {
                    max_surge: Some(IntOrString::Int(1)),
                    max_unavailable: Some(IntOrString::Int(0)),
                }),
            }),
            template,
            ..DeploymentSpec::default()
        }),
        ..Deployment::default()
    })
}

fn container(
    parent: &Parent<'_>,
    installation: &Installation,
    knows_instances: bool,
) -> Result<Container, Error> {
    let resources = match &parent.spec.gateway.resources {
        Some(given) => pod::resources("gateway.resources", given)?,
        None => Some(default_resources()),
    };
    let mut args = vec![
        "gateway",
        "--cluster",
        &parent.name,
        "--namespace",
        &parent.namespace,
    ];
    let mut mounts = vec![mount(CONTROL, CERTIFICATES)];
    if parent.spec.gateway.tls.is_some() {
        args.extend(["--tls-certificate", TLS_CERTIFICATE]);
        mounts.push(mount(TLS, TLS_CERTIFICATE));
        if knows_instances {
            args.extend(["--instances-ca", INSTANCES_CA]);
            mounts.push(mount(INSTANCES, INSTANCES_FOLDER));
        }
    }
    Ok(Container {
        name: CONTAINER.to_owned(),
        image: Some(installation.image.name.clone()),
        image_pull_policy: installation.image.pull_policy.clone(),
        args: Some(args.into_iter().map(str::to_owned).collect()),
        // Both ports are always named, so that switching reading on or off replaces no gateway.
        ports: Some(vec![
            pod::port(pod::BOLT, names::BOLT_PORT),
            pod::port(pod::BOLT_READ, names::GATEWAY_READ_PORT),
            pod::port(pod::HTTP, names::HTTP_PORT),
            pod::port(CONTROL, names::CONTROL_PORT),
        ]),
        env: Some(environment(installation)),
        volume_mounts: Some(mounts),
        resources,
        security_context: Some(pod::container_security()),
        readiness_probe: Some(Probe {
            period_seconds: Some(2),
            failure_threshold: Some(2),
            ..http_probe("/readyz")
        }),
        // Generous: a restart cuts every session.
        liveness_probe: Some(Probe {
            period_seconds: Some(10),
            failure_threshold: Some(6),
            ..http_probe("/livez")
        }),
        ..Container::default()
    })
}

fn environment(installation: &Installation) -> Vec<EnvVar> {
    // Grants are made out to it.
    let pod_uid = EnvVar {
        name: "POD_UID".to_owned(),
        value_from: Some(EnvVarSource {
            field_ref: Some(ObjectFieldSelector {
                // The API server's default.
                api_version: Some("v1".to_owned()),
                field_path: "metadata.uid".to_owned(),
            }),
            ..EnvVarSource::default()
        }),
        ..EnvVar::default()
    };
    let collector = installation.collector.as_ref().map(|endpoint| EnvVar {
        name: ENDPOINT_VARIABLE.to_owned(),
        value: Some(endpoint.clone()),
        ..EnvVar::default()
    });
    std::iter::once(pod_uid).chain(collector).collect()
}

/// Secrets, whose contents the kubelet brings into running pods: a changed certificate replaces no gateway.
fn volumes(parent: &Parent<'_>, of_instances: Option<&str>) -> Vec<Volume> {
    let of_secret = |volume: &str, secret: &str, items: Option<Vec<KeyToPath>>| Volume {
        name: volume.to_owned(),
        secret: Some(SecretVolumeSource {
            secret_name: Some(secret.to_owned()),
            items,
            ..SecretVolumeSource::default()
        }),
        ..Volume::default()
    };
    let mut volumes = vec![of_secret(
        CONTROL,
        &names::control_certificates(&parent.name),
        None,
    )];
    if let Some(tls) = &parent.spec.gateway.tls {
        volumes.push(of_secret(TLS, &tls.secret_ref.name, None));
        // Without the instances' key, which is none of the gateway's business.
        let authorities = KeyToPath {
            key: AUTHORITIES.to_owned(),
            path: AUTHORITIES.to_owned(),
            ..KeyToPath::default()
        };
        volumes.extend(of_instances.map(|secret| of_secret(INSTANCES, secret, Some(vec![authorities]))));
    }
    volumes
}

fn mount(volume: &str, path: &str) -> VolumeMount {
    VolumeMount {
        name: volume.to_owned(),
        mount_path: path.to_owned(),
        read_only: Some(true),
        ..VolumeMount::default()
    }
}

/// Requests only: a CPU limit would add latency to every query, and a memory limit would kill all sessions at
/// once. `maxConnections` bounds the memory instead, and the ports that are not for clients take few connections at a time.
fn default_resources() -> ResourceRequirements {
    ResourceRequirements {
        requests: Some(BTreeMap::from([
            ("cpu".to_owned(), Quantity("50m".to_owned())),
            ("memory".to_owned(), Quantity("64Mi".to_owned())),
        ])),
        ..ResourceRequirements::default()
    }
}

fn http_probe(path: &str) -> Probe {
    Probe {
        http_get: Some(HTTPGetAction {
            path: Some(path.to_owned()),
            port: IntOrString::String(pod::HTTP.to_owned()),
            ..HTTPGetAction::default()
        }),
        timeout_seconds: Some(3),
        ..Probe::default()
    }
}
