//! A Memgraph Enterprise license.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

/// A Memgraph Enterprise license, for whoever has one: nothing that the operator does needs it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct LicenseSpec {
    /// The Secret with the license, in the cluster's own namespace.
    pub secret_ref: LicenseSecretReference,
}

/// A Secret with a license.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct LicenseSecretReference {
    /// Its name. The Secret has the keys `license` and `organization`, the name that the license was given out to.
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = (
        "self.matches('^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$')",
        "license.secretRef.name: must be the name of a Secret: a-z, 0-9, '-' and '.', beginning and ending with a letter or digit"
    ))]
    pub name: String,
}
