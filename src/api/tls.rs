//! By which certificate the instances are known.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

/// By which certificate the instances are known.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct TlsSpec {
    /// The Secret with the certificate, in the cluster's own namespace.
    pub secret_ref: TlsSecretReference,
}

/// A Secret with a certificate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct TlsSecretReference {
    /// Its name. The Secret has the keys `tls.crt`, `tls.key` and `ca.crt`, as cert-manager writes them. The certificate is
    /// valid for every instance's name in the headless Service: `*.<cluster>-instances.<namespace>.svc`.
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = (
        "self.matches('^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$')",
        "tls.secretRef.name: must be the name of a Secret: a-z, 0-9, '-' and '.', beginning and ending with a letter or digit"
    ))]
    pub name: String,
}
