//! Who may use the database.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

/// Who may use the database.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct AuthSpec {
    /// The Secret with the user that the operator makes on every MAIN.
    pub secret_ref: SecretReference,
}

/// A Secret in the cluster's own namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct SecretReference {
    /// Its name. The Secret has the keys `username` and `password`.
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = (
        "self.matches('^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$')",
        "auth.secretRef.name: must be the name of a Secret: a-z, 0-9, '-' and '.', beginning and ending with a letter or digit"
    ))]
    pub name: String,
}
