//! `podTemplate.spec.containers` and `initContainers`: what runs beside Memgraph, or before it.
//!
//! Some of the fields of Kubernetes' Container, and not a list without a schema: so the API server refuses what is misspelled or
//! has the wrong type when the cluster is applied, and not the StatefulSet later; rules can look at names, mounts and ports; and
//! of each field it is known what the API server makes of it, so that nothing is applied again and again. What is left out
//! nobody needs beside a database (`stdin`, `tty`, `volumeDevices`, ..), or an API server drops it where a feature is
//! switched off (`stopSignal`).

use k8s_openapi::api::core::v1::{
    ContainerPort, EnvFromSource, LifecycleHandler, Probe, ResourceRequirements, SecurityContext,
};
use kube::KubeSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::pod_template::{TemplateMount, TemplateVariable, ports_in_range, undescribed};

/// A container of the user's. Each field is Kubernetes' field of that name.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[x_kube(validation = (
    "!has(self.volumeMounts) || self.volumeMounts.all(m, m.name != 'data' || (has(m.readOnly) && m.readOnly && !has(m.subPath)))",
    "volumeMounts: data, the volume of Memgraph's data, can be mounted only with readOnly: true and without subPath, because nobody but Memgraph may write or make folders there"
))]
#[x_kube(validation = (
    "!has(self.ports) || !self.ports.exists(p, p.containerPort in [7687, 10000])",
    "ports: 7687 and 10000 belong to Memgraph, with which the container shares its network; take other ones"
))]
#[serde(rename_all = "camelCase")]
pub struct TemplateContainer {
    /// Its name, which no container of the operator's own has.
    #[schemars(
        length(min = 1, max = 63),
        regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")
    )]
    #[x_kube(validation = (
        "!(self in ['memgraph', 'instance-init'])",
        "name: the names of the operator's own containers cannot be used: memgraph, instance-init"
    ))]
    pub name: String,

    /// Its image.
    #[schemars(length(min = 1, max = 512))]
    pub image: String,

    /// When the image is pulled: `Always`, `IfNotPresent` or `Never`. Unset: `Always` for the tag `latest`, else `IfNotPresent`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = json!(["Always", "IfNotPresent", "Never"])))]
    pub image_pull_policy: Option<String>,

    /// What is run instead of the image's entrypoint.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub command: Vec<String>,

    /// The arguments, instead of the image's.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub args: Vec<String>,

    /// The folder in which it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    pub working_dir: Option<String>,

    /// Its environment variables.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub env: Vec<TemplateVariable>,

    /// ConfigMaps and Secrets whose keys become environment variables.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), transform = undescribed)]
    pub env_from: Vec<EnvFromSource>,

    /// The ports on which it listens. The operator's NetworkPolicy lets nobody reach them: one of your own can.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), transform = undescribed)]
    pub ports: Vec<ContainerPort>,

    /// Its compute resources, which the pod needs besides Memgraph's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(transform = undescribed)]
    pub resources: Option<ResourceRequirements>,

    /// Where it sees volumes: those of `podTemplate.spec.volumes`, and `data`, to read only.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["mountPath".into()]))]
    pub volume_mounts: Vec<TemplateMount>,

    /// Whether it is ready. One that is not makes its pod unready, and says nothing of Memgraph: MAIN and replicas stay what they
    /// are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(transform = undescribed, transform = ports_in_range)]
    pub readiness_probe: Option<Probe>,

    /// Whether it is to be started again. Memgraph goes on meanwhile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(transform = undescribed, transform = ports_in_range)]
    pub liveness_probe: Option<Probe>,

    /// Whether it has started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(transform = undescribed, transform = ports_in_range)]
    pub startup_probe: Option<Probe>,

    /// What is done when it starts and ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lifecycle: Option<TemplateLifecycle>,

    /// Of an init container: `Always`, and nothing else, has it go on beside Memgraph (a native sidecar).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = json!(["Always"])))]
    pub restart_policy: Option<String>,

    /// With which rights it runs. What it does not say is the pod's (user 101, group 103, not root), and of two things as for
    /// Memgraph: no escalation of privileges and no capability, unless it is `privileged`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(transform = undescribed)]
    pub security_context: Option<SecurityContext>,
}

/// What is done when a container starts and ends.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct TemplateLifecycle {
    /// Right after its start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(transform = undescribed, transform = ports_in_range)]
    pub post_start: Option<LifecycleHandler>,
    /// Before it is told to end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(transform = undescribed, transform = ports_in_range)]
    pub pre_stop: Option<LifecycleHandler>,
}
