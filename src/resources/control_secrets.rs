//! The Secrets of the control channel between operator and gateways.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::{ByteString, api::core::v1::Secret};
use kube::ResourceExt;

use super::{Error, parent::Parent};
use crate::{
    api::{MemgraphCluster, names},
    control_channel::{Authorities, Leaf, is_of_use},
};

/// Where the authorities stand in their Secret.
const AUTHORITIES: &str = "authorities.json";
/// Annotation: when the certificate is to be replaced.
const RENEW: &str = "memgraph.dev/renew";

const CERTIFICATE: &str = "tls.crt";
const KEY: &str = "tls.key";
const BUNDLE: &str = "ca.crt";

/// The Secret with the authorities and their keys. No pod mounts it: only the operator reads it.
///
/// # Errors
/// When the cluster was not read from the API server.
pub fn control_authority(cluster: &MemgraphCluster, authorities: &Authorities) -> Result<Secret, Error> {
    let parent = Parent::of(cluster)?;
    let name = names::control_authority(&parent.name);
    let text = serde_json::to_vec(authorities).map_err(|source| Error::EncodeSecret {
        name: name.clone(),
        source,
    })?;
    Ok(Secret {
        metadata: parent.noted_metadata(name, names::GATEWAY),
        type_: Some("memgraph.dev/control-authority".to_owned()),
        data: Some(BTreeMap::from([(AUTHORITIES.to_owned(), ByteString(text))])),
        ..Secret::default()
    })
}

/// The authorities in their Secret; none if they cannot be read.
#[must_use]
pub fn read_authorities(secret: &Secret) -> Option<Authorities> {
    serde_json::from_slice(&secret.data.as_ref()?.get(AUTHORITIES)?.0).ok()
}

/// The Secret that the gateways mount: who they are, and whom they trust.
///
/// # Errors
/// When the cluster was not read from the API server.
pub fn control_certificates(cluster: &MemgraphCluster, leaf: &Leaf, bundle: &str) -> Result<Secret, Error> {
    let parent = Parent::of(cluster)?;
    let mut metadata = parent.noted_metadata(names::control_certificates(&parent.name), names::GATEWAY);
    let annotations = metadata.annotations.get_or_insert_default();
    annotations.insert(RENEW.to_owned(), leaf.renew.to_string());
    let data = [
        (CERTIFICATE, &leaf.certificate),
        (KEY, &leaf.key),
        (BUNDLE, &bundle.to_owned()),
    ];
    Ok(Secret {
        metadata,
        type_: Some("kubernetes.io/tls".to_owned()),
        data: Some(
            data.map(|(name, text)| (name.to_owned(), ByteString(text.clone().into_bytes())))
                .into(),
        ),
        ..Secret::default()
    })
}

/// Whether the gateways' Secret needs no other certificate at this time, and has them trust exactly these authorities.
#[must_use]
pub fn is_good_for_gateways(secret: &Secret, bundle: &str, now: Timestamp) -> bool {
    let renew = secret
        .annotations()
        .get(RENEW)
        .and_then(|at| at.parse::<Timestamp>().ok());
    let text = |name: &str| {
        secret
            .data
            .as_ref()
            .and_then(|data| data.get(name))
            .map(|text| &text.0[..])
    };
    renew.is_some_and(|renew| is_of_use(renew, now))
        && text(BUNDLE) == Some(bundle.as_bytes())
        && text(CERTIFICATE).is_some()
        && text(KEY).is_some()
}
