//! The license of the instances, in their pods.

use k8s_openapi::api::core::v1::{EnvVar, EnvVarSource, SecretKeySelector};
use serde_json::json;

use super::{object::content_hash, parent::Parent};

/// Key of a Secret with the license itself.
pub const LICENSE: &str = "license";
/// Key of a Secret with the name that the license was given out to.
pub const ORGANIZATION: &str = "organization";

/// Environment of Memgraph: the license. (One that is valid is kept on the volume, too.)
const LICENSE_VARIABLE: &str = "MEMGRAPH_ENTERPRISE_LICENSE";
/// Environment of Memgraph: the name that it was given out to.
const ORGANIZATION_VARIABLE: &str = "MEMGRAPH_ORGANIZATION_NAME";

/// What tells a license from others. It is no way back to the license, which is longer and random.
#[must_use]
pub fn fingerprint(license: &str, organization: &str) -> String {
    content_hash(&json!([license, organization]))
}

/// The license as Memgraph takes it.
///
/// A pod starts also while the Secret is away: a database that is there is worth more than one with all its features.
pub(super) fn environment(parent: &Parent<'_>) -> Option<Vec<EnvVar>> {
    let secret = &parent.spec.license.as_ref()?.secret_ref.name;
    let variable = |name: &str, key: &str| EnvVar {
        name: name.to_owned(),
        value_from: Some(EnvVarSource {
            secret_key_ref: Some(SecretKeySelector {
                name: secret.clone(),
                key: key.to_owned(),
                optional: Some(true),
            }),
            ..EnvVarSource::default()
        }),
        ..EnvVar::default()
    };
    Some(vec![
        variable(LICENSE_VARIABLE, LICENSE),
        variable(ORGANIZATION_VARIABLE, ORGANIZATION),
    ])
}
