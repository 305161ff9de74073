//! Labels and annotations that everything has which belongs to a cluster.

use std::collections::BTreeMap;

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use super::pod_template::label_value;

/// Labels and annotations of the objects that the operator makes for a cluster.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct InheritedMetadata {
    /// Further labels. One of `gateway.readWrite.service` or `gateway.read.service` of the same name counts for that Service.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 64, "additionalProperties" = label_value()))]
    #[x_kube(validation = (
        "!self.exists(k, k.startsWith('memgraph.dev/') || k in ['app.kubernetes.io/name', 'app.kubernetes.io/instance', 'app.kubernetes.io/component', 'app.kubernetes.io/managed-by'])",
        "inheritedMetadata.labels: belong to the operator and cannot be set: memgraph.dev/*, app.kubernetes.io/name, instance, component and managed-by"
    ))]
    pub labels: BTreeMap<String, String>,

    /// Further annotations. One of `gateway.readWrite.service` or `gateway.read.service` of the same name counts for that Service.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 64))]
    #[x_kube(validation = (
        "!self.exists(k, k.startsWith('memgraph.dev/') || k.startsWith('deployment.kubernetes.io/') || k.startsWith('pv.kubernetes.io/') || k.startsWith('volume.kubernetes.io/') || k.startsWith('volume.beta.kubernetes.io/') || k == 'kubectl.kubernetes.io/last-applied-configuration')",
        "inheritedMetadata.annotations: belong to the operator or to Kubernetes and cannot be set: memgraph.dev/*, deployment.kubernetes.io/*, pv.kubernetes.io/*, volume.kubernetes.io/*, volume.beta.kubernetes.io/*, kubectl.kubernetes.io/last-applied-configuration"
    ))]
    pub annotations: BTreeMap<String, String>,
}
