//! `podTemplate`: what a user adds to the pods that the operator makes.
//!
//! A part of Kubernetes' PodTemplateSpec, without the descriptions that its own documentation has: with them the
//! CustomResourceDefinition would be too large for `kubectl apply`. What the operator itself gives its pods cannot be
//! replaced.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    Affinity, CSIVolumeSource, ConfigMapEnvSource, ConfigMapKeySelector, ConfigMapVolumeSource,
    EmptyDirVolumeSource, ImageVolumeSource, ObjectFieldSelector, PersistentVolumeClaimVolumeSource,
    SELinuxOptions, SecretEnvSource, SecretKeySelector, SecretVolumeSource, Sysctl, Toleration,
    TopologySpreadConstraint,
};
use kube::KubeSchema;
use schemars::Schema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::containers::TemplateContainer;

/// What the pods of instances get besides what the operator gives them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[x_kube(validation = (
    "!has(self.container) || !has(self.container.volumeMounts) || self.container.volumeMounts.all(m, has(self.spec) && has(self.spec.volumes) && self.spec.volumes.exists(v, v.name == m.name))",
    "podTemplate.container.volumeMounts: each must have the name of one of podTemplate.spec.volumes"
))]
#[serde(rename_all = "camelCase")]
pub struct PodTemplate {
    /// Labels and annotations of the pods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<PodTemplateMetadata>,

    /// Where the pods run, and with what.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spec: Option<PodTemplateSpec>,

    /// What Memgraph's container gets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container: Option<ContainerTemplate>,
}

/// What the pods of gateways get besides what the operator gives them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct GatewayPodTemplate {
    /// Labels and annotations of the pods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<PodTemplateMetadata>,

    /// Where the pods run, and with what.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spec: Option<PodPlacement>,

    /// What the gateway's container gets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container: Option<GatewayContainerTemplate>,
}

/// What the container of a gateway gets.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct GatewayContainerTemplate {
    /// Environment variables: `LOG_LEVEL` (`debug`), `RUST_BACKTRACE`, and `OTEL_EXPORTER_OTLP_HEADERS` and
    /// `OTEL_RESOURCE_ATTRIBUTES` for traces. All else has a field in `gateway`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    #[x_kube(validation = (
        "self.all(e, e.name in ['LOG_LEVEL', 'RUST_BACKTRACE', 'OTEL_EXPORTER_OTLP_HEADERS', 'OTEL_RESOURCE_ATTRIBUTES'])",
        "gateway.podTemplate.container.env: of a gateway only LOG_LEVEL, RUST_BACKTRACE, OTEL_EXPORTER_OTLP_HEADERS and OTEL_RESOURCE_ATTRIBUTES can be set"
    ))]
    pub env: Vec<TemplateVariable>,
}

/// The least that instances may be given to end, in seconds: for as long as they serve meanwhile, and for a commit that waits for a
/// replica.
pub(crate) const SHORTEST_GRACE: i64 = 35;

/// Labels and annotations of pods.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct PodTemplateMetadata {
    /// Further labels.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 64, "additionalProperties" = label_value()))]
    #[x_kube(validation = (
        "!self.exists(k, k.startsWith('memgraph.dev/') || k.startsWith('statefulset.kubernetes.io/') || k in ['app.kubernetes.io/name', 'app.kubernetes.io/instance', 'app.kubernetes.io/component', 'app.kubernetes.io/managed-by', 'apps.kubernetes.io/pod-index', 'controller-revision-hash', 'pod-template-hash'])",
        "podTemplate.metadata.labels: belong to the operator or to Kubernetes and cannot be set: memgraph.dev/*, statefulset.kubernetes.io/*, app.kubernetes.io/name, instance, component and managed-by, apps.kubernetes.io/pod-index, controller-revision-hash, pod-template-hash"
    ))]
    pub labels: BTreeMap<String, String>,

    /// Further annotations. A changed one, such as `kubectl.kubernetes.io/restartedAt`, replaces the pods as any other change.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 64))]
    #[x_kube(validation = (
        "!self.exists(k, k.startsWith('memgraph.dev/') || k == 'kubectl.kubernetes.io/default-container')",
        "podTemplate.metadata.annotations: belong to the operator and cannot be set: memgraph.dev/*, kubectl.kubernetes.io/default-container"
    ))]
    pub annotations: BTreeMap<String, String>,
}

/// Where the pods of instances run, and with what. Each field is Kubernetes' field of that name.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[x_kube(validation = (
    "!has(self.containers) || self.containers.all(c, !has(c.volumeMounts) || c.volumeMounts.all(m, m.name == 'data' || (has(self.volumes) && self.volumes.exists(v, v.name == m.name))))",
    "podTemplate.spec.containers: volumeMounts: each must have the name of one of podTemplate.spec.volumes, or data; the operator's other volumes are not for them"
))]
#[x_kube(validation = (
    "!has(self.initContainers) || self.initContainers.all(c, !has(c.volumeMounts) || c.volumeMounts.all(m, m.name == 'data' || (has(self.volumes) && self.volumes.exists(v, v.name == m.name))))",
    "podTemplate.spec.initContainers: volumeMounts: each must have the name of one of podTemplate.spec.volumes, or data; the operator's other volumes are not for them"
))]
#[x_kube(validation = (
    "!has(self.initContainers) || !has(self.containers) || self.initContainers.all(i, !self.containers.exists(c, c.name == i.name))",
    "podTemplate.spec.containers: one of initContainers has the same name; take another one"
))]
#[serde(rename_all = "camelCase")]
pub struct PodTemplateSpec {
    /// What gateways can have too.
    #[serde(flatten)]
    pub placement: PodPlacement,

    /// How long an instance may take to end, in seconds, before its process is killed. Unset: 65. It serves for the first 5 of
    /// them while MAIN moves. More gives a snapshot under way the time to be finished; one that is broken off costs no data,
    /// and a longer start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = SHORTEST_GRACE, max = 86_400))]
    pub termination_grace_period_seconds: Option<i64>,

    /// Further volumes, the same ones in each pod.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub volumes: Vec<TemplateVolume>,

    /// Containers that run and end before Memgraph starts, one after the other and after the operator's own: `data` is this
    /// instance's by then.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    #[x_kube(validation = (
        "self.all(c, has(c.restartPolicy) || !(has(c.readinessProbe) || has(c.livenessProbe) || has(c.startupProbe) || has(c.lifecycle)))",
        "podTemplate.spec.initContainers: probes and lifecycle are of containers that go on; set restartPolicy: Always, or take them away"
    ))]
    pub init_containers: Vec<TemplateContainer>,

    /// Containers that run beside Memgraph: sidecars. They follow the operator's own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    #[x_kube(validation = (
        "self.all(c, !has(c.restartPolicy))",
        "podTemplate.spec.containers: restartPolicy is of initContainers; take it away, since all containers are started again when they end"
    ))]
    pub containers: Vec<TemplateContainer>,
}

/// Where pods run, and with what. Each field is Kubernetes' field of that name.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct PodPlacement {
    /// Labels that a node must have.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 64, "additionalProperties" = label_value()))]
    pub node_selector: BTreeMap<String, String>,

    /// Taints of nodes that are put up with.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), transform = undescribed)]
    pub tolerations: Vec<Toleration>,

    /// Where the pods go, seen from nodes and other pods. Without a `podAntiAffinity` of your own they prefer different
    /// nodes; `podAntiAffinity: {}` takes that away.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(transform = undescribed)]
    pub affinity: Option<Affinity>,

    /// How the pods are spread over zones, for example. A constraint without `labelSelector` is about these pods.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), transform = undescribed)]
    pub topology_spread_constraints: Vec<TopologySpreadConstraint>,

    /// The PriorityClass of the pods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub priority_class_name: Option<String>,

    /// The RuntimeClass of the pods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub runtime_class_name: Option<String>,

    /// The scheduler of the pods. Unset: Kubernetes' own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub scheduler_name: Option<String>,

    /// Secrets with which the pods' images are pulled.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub image_pull_secrets: Vec<PullSecret>,

    /// The part of the pods' security context that is open to you. User, groups and seccomp profile belong to the operator:
    /// the pods keep to the `restricted` Pod Security Standard.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub security_context: Option<PodTemplateSecurity>,
}

/// A Secret with which images are pulled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct PullSecret {
    /// Its name.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}

/// The part of a pod's security context that is open to the user.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct PodTemplateSecurity {
    /// SELinux labels of the containers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(transform = undescribed)]
    pub se_linux_options: Option<SELinuxOptions>,

    /// Further groups of the processes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub supplemental_groups: Vec<i64>,

    /// Settings of the pods' kernel name spaces. What Kubernetes does not call safe, the kubelet must allow.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), transform = undescribed)]
    pub sysctls: Vec<Sysctl>,
}

/// A further volume.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[x_kube(validation = (
    "[has(self.configMap), has(self.secret), has(self.persistentVolumeClaim), has(self.emptyDir), has(self.image), has(self.csi)].filter(x, x).size() == 1",
    "podTemplate.spec.volumes: each has exactly one of configMap, secret, persistentVolumeClaim, emptyDir, image and csi"
))]
#[serde(rename_all = "camelCase")]
pub struct TemplateVolume {
    /// Its name, which no volume of the operator's own has.
    #[schemars(
        length(min = 1, max = 63),
        regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")
    )]
    #[x_kube(validation = (
        "!(self in ['data', 'start-gate', 'tmp', 'log', 'api-access', 'tls', 'bolt-tls'])",
        "podTemplate.spec.volumes: the names of the operator's own volumes cannot be used: data, start-gate, tmp, log, api-access, tls, bolt-tls"
    ))]
    pub name: String,
    /// A ConfigMap.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(transform = undescribed)]
    pub config_map: Option<ConfigMapVolumeSource>,
    /// A Secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(transform = undescribed)]
    pub secret: Option<SecretVolumeSource>,
    /// A claim that is there already. All pods share it: its volume must be one that several nodes can mount.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(transform = undescribed)]
    pub persistent_volume_claim: Option<PersistentVolumeClaimVolumeSource>,
    /// An empty folder that goes with the pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(transform = undescribed)]
    pub empty_dir: Option<EmptyDirVolumeSource>,
    /// The files of an image, to read only, where nodes support image volumes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(transform = undescribed)]
    pub image: Option<ImageVolumeSource>,
    /// What a CSI driver makes for the pod, such as secrets of a vault.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(transform = undescribed)]
    pub csi: Option<CSIVolumeSource>,
}

/// What the container gets.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ContainerTemplate {
    /// Further environment variables.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub env: Vec<TemplateVariable>,

    /// ConfigMaps and Secrets whose keys become environment variables.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub env_from: Vec<TemplateVariables>,

    /// Where the further volumes are mounted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["mountPath".into()]))]
    pub volume_mounts: Vec<TemplateMount>,
}

/// An environment variable.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[x_kube(validation = (
    "has(self.value) != has(self.valueFrom)",
    "env: each has either a value or valueFrom"
))]
#[serde(rename_all = "camelCase")]
pub struct TemplateVariable {
    /// Its name.
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[A-Za-z_][A-Za-z0-9_]*$"))]
    pub name: String,
    /// Its value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32_768))]
    pub value: Option<String>,
    /// Where its value is from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value_from: Option<TemplateVariableSource>,
}

/// Where the value of an environment variable is from.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[x_kube(validation = (
    "[has(self.configMapKeyRef), has(self.secretKeyRef), has(self.fieldRef)].filter(x, x).size() == 1",
    "env: valueFrom has exactly one of configMapKeyRef, secretKeyRef and fieldRef"
))]
#[serde(rename_all = "camelCase")]
pub struct TemplateVariableSource {
    /// A key of a ConfigMap.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(transform = undescribed)]
    pub config_map_key_ref: Option<ConfigMapKeySelector>,
    /// A key of a Secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(transform = undescribed)]
    pub secret_key_ref: Option<SecretKeySelector>,
    /// A field of the pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(transform = undescribed)]
    pub field_ref: Option<ObjectFieldSelector>,
}

/// A ConfigMap or Secret whose keys become environment variables.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[x_kube(validation = (
    "has(self.configMapRef) != has(self.secretRef)",
    "podTemplate.container.envFrom: each has either configMapRef or secretRef"
))]
#[serde(rename_all = "camelCase")]
pub struct TemplateVariables {
    /// What stands before each key: the operator's own variables are thus out of reach.
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[A-Za-z_][A-Za-z0-9_]*$"))]
    pub prefix: String,
    /// The ConfigMap.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(transform = undescribed)]
    pub config_map_ref: Option<ConfigMapEnvSource>,
    /// The Secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(transform = undescribed)]
    pub secret_ref: Option<SecretEnvSource>,
}

/// Where a further volume is mounted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct TemplateMount {
    /// The volume.
    #[schemars(length(min = 1, max = 63))]
    pub name: String,
    /// The folder or file in the container.
    #[schemars(
        length(min = 2, max = 512),
        regex(pattern = r"^(/[A-Za-z0-9_@+-][A-Za-z0-9_.@+-]*)+$")
    )]
    pub mount_path: String,
    /// Whether the container may only read it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read_only: Option<bool>,
    /// The folder or file in the volume. Unset: all of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    pub sub_path: Option<String>,
}

/// What the API server takes as the value of a label.
pub(super) fn label_value() -> Value {
    json!({"type": "string", "maxLength": 63, "pattern": "^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$"})
}

/// Takes the descriptions of what lies below a field away; that of the field stays.
pub(super) fn undescribed(schema: &mut Schema) {
    if let Some(fields) = schema.as_object_mut() {
        // It goes at the first level too, where a field has none of its own and would get the type's.
        let own = fields.get("description").cloned();
        let mut below = Value::Object(std::mem::take(fields));
        strip(&mut below);
        if let Value::Object(stripped) = below {
            *fields = stripped;
        }
        if let Some(own) = own {
            fields.insert("description".to_owned(), own);
        }
    }
}

/// Refuses numbers of ports that are none, wherever a port may also be named. Without a bound the API server takes any number there, also one
/// that nobody can read.
pub(super) fn ports_in_range(schema: &mut Schema) {
    if let Some(fields) = schema.as_object_mut() {
        fields.values_mut().for_each(bound_ports);
    }
}

fn bound_ports(schema: &mut Value) {
    match schema {
        Value::Object(fields) => {
            if fields.get("x-kubernetes-int-or-string") == Some(&Value::Bool(true)) {
                fields.insert("minimum".to_owned(), 1.into());
                fields.insert("maximum".to_owned(), 65_535.into());
            }
            fields.values_mut().for_each(bound_ports);
        }
        Value::Array(items) => items.iter_mut().for_each(bound_ports),
        _ => {}
    }
}

/// Takes each description away, and leaves properties that have that name.
fn strip(schema: &mut Value) {
    match schema {
        Value::Object(fields) => {
            if fields.get("description").is_some_and(Value::is_string) {
                fields.remove("description");
            }
            fields.values_mut().for_each(strip);
        }
        Value::Array(items) => items.iter_mut().for_each(strip),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use kube::CustomResourceExt;

    use crate::api::MemgraphCluster;

    /// What `kubectl apply` writes into an annotation, of which there may be 256 KiB in all, is the definition as JSON.
    #[test]
    fn the_definition_is_small_enough_to_be_applied_by_the_client() {
        let definition = serde_json::to_string(&MemgraphCluster::crd()).unwrap();
        assert!(definition.len() < 150 * 1024, "{} bytes", definition.len());
    }

    #[test]
    fn kubernetes_own_fields_have_no_description_and_ours_do() {
        let definition = serde_json::to_value(MemgraphCluster::crd()).unwrap();
        let spec = &definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"];
        let template = &spec["properties"]["podTemplate"]["properties"];
        let affinity = &template["spec"]["properties"]["affinity"];
        assert!(affinity["description"].is_string());
        assert!(affinity["properties"]["nodeAffinity"].is_object());
        assert!(
            !affinity["properties"].to_string().contains("\"description\""),
            "{affinity}"
        );
        assert!(
            template["container"]["properties"]["env"]["items"]["properties"]["name"]["description"]
                .is_string()
        );
    }
}
