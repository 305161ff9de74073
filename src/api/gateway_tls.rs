//! TLS between clients and the gateway.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

/// TLS between clients and the gateway, which ends there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct GatewayTlsSpec {
    /// The Secret with the certificate by which clients know the gateway.
    pub secret_ref: GatewayTlsSecret,
}

/// A Secret of type `kubernetes.io/tls` in the cluster's own namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct GatewayTlsSecret {
    /// Its name. The Secret has the keys `tls.crt`, the certificate followed by those between it and the one that clients trust,
    /// and `tls.key`. The certificate must be for the names by which clients reach the Services of the gateway.
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = (
        "self.matches('^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$')",
        "gateway.tls.secretRef.name: must be the name of a Secret: a-z, 0-9, '-' and '.', beginning and ending with a letter or digit"
    ))]
    pub name: String,
}
