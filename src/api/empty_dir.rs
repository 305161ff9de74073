//! Data that lies in its pod instead of a volume claim.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

/// An `emptyDir` on the disk of the node (memory is not offered: Memgraph's memory limit is that of the container, which would hold
/// the files as well).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct EmptyDirSpec {
    /// How large it may get. Kubernetes evicts a pod that takes more, and its data is gone: plan for four times the data set.
    /// Unset: as large as the node's disk allows. A change replaces one instance after the other, MAIN's last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 1, max = 32),
        regex(pattern = r"^[0-9]+(\.[0-9]+)?(k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei)?$")
    )]
    #[x_kube(validation = (
        "quantity(self).isGreaterThan(quantity('0'))",
        "sizeLimit: must be greater than 0"
    ))]
    pub size_limit: Option<String>,
}
