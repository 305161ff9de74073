//! What a user may ask for of the cluster's NetworkPolicies.

use k8s_openapi::api::networking::v1::NetworkPolicyPeer;
use kube::KubeSchema;
use serde::{Deserialize, Serialize};

/// Who may connect to the cluster's pods, where the network plugin enforces NetworkPolicies.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct NetworkPolicySpec {
    /// Whether instances take connections only from their cluster's gateways, from each other and from the operator, so that no
    /// client gets past the gateways. Whoever else must reach an instance is let in by a NetworkPolicy of your own: they add up.
    #[serde(default = "yes")]
    pub enabled: bool,

    /// Who may connect to the gateways to read and write, as in the `from` of a NetworkPolicy. Where there is no gateway, who
    /// may connect to the instances. Empty: everybody.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    #[x_kube(validation = (
        "self.all(peer, has(peer.ipBlock) != (has(peer.podSelector) || has(peer.namespaceSelector)))",
        "clients: each is either an ipBlock, or a podSelector, a namespaceSelector or both"
    ))]
    pub clients: Vec<NetworkPolicyPeer>,

    /// Who may read the gateways' metrics and health, at their port 8080, in the same form. The kubelet of a pod's own node always
    /// may. Empty: everybody.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    #[x_kube(validation = (
        "self.all(peer, has(peer.ipBlock) != (has(peer.podSelector) || has(peer.namespaceSelector)))",
        "metrics: each is either an ipBlock, or a podSelector, a namespaceSelector or both"
    ))]
    pub metrics: Vec<NetworkPolicyPeer>,
}

impl Default for NetworkPolicySpec {
    fn default() -> Self {
        Self {
            enabled: yes(),
            clients: Vec::new(),
            metrics: Vec::new(),
        }
    }
}

/// The value that the schema fills in.
fn yes() -> bool {
    true
}
