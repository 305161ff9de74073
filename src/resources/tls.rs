//! The certificate of the instances, in their pods.

use k8s_openapi::api::core::v1::{SecretVolumeSource, Volume, VolumeMount};

use serde_json::Value;

use super::{object::content_hash, parent::Parent, statefulset::mount};

/// The key of the certificate, and of those between it and the authority.
pub const CERTIFICATE: &str = "tls.crt";
/// The key of its private key.
pub const KEY: &str = "tls.key";
/// The key of the authorities' certificates.
pub const AUTHORITIES: &str = "ca.crt";

/// Where Memgraph finds it.
pub(super) const FOLDER: &str = "/etc/memgraph/tls";

/// Where the init container finds the authorities' certificates.
const AUTHORITIES_FILE: &str = "/etc/memgraph/ca.crt";

/// The volume with the Secret of `spec.tls`.
pub const VOLUME: &str = "bolt-tls";

/// Its owner and its group may read it: Memgraph is in the group.
const MODE: i32 = 0o440;

/// What tells a certificate (PEM) from others. The key need not be known for that: it is in there, as far as it is public.
#[must_use]
pub fn fingerprint(certificate: &[u8]) -> String {
    content_hash(&Value::from(String::from_utf8_lossy(certificate)))
}

pub(super) fn volume(parent: &Parent<'_>) -> Option<Volume> {
    let tls = parent.spec.tls.as_ref()?;
    Some(Volume {
        name: VOLUME.to_owned(),
        secret: Some(SecretVolumeSource {
            secret_name: Some(tls.secret_ref.name.clone()),
            default_mode: Some(MODE),
            ..SecretVolumeSource::default()
        }),
        ..Volume::default()
    })
}

/// For Memgraph.
pub(super) fn mounted(parent: &Parent<'_>) -> Option<VolumeMount> {
    parent.spec.tls.as_ref()?;
    Some(VolumeMount {
        read_only: Some(true),
        ..mount(VOLUME, FOLDER)
    })
}

/// For the init container, which asks MAIN: it has no use for the key.
pub(super) fn mounted_authorities(parent: &Parent<'_>) -> Option<VolumeMount> {
    parent.spec.tls.as_ref()?;
    Some(VolumeMount {
        read_only: Some(true),
        sub_path: Some(AUTHORITIES.to_owned()),
        ..mount(VOLUME, AUTHORITIES_FILE)
    })
}

/// The arguments by which the init container finds the authorities' certificates.
pub(super) fn arguments(parent: &Parent<'_>) -> Option<[String; 2]> {
    parent.spec.tls.as_ref()?;
    Some(["--instances-ca".to_owned(), AUTHORITIES_FILE.to_owned()])
}
