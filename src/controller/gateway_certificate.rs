//! Looks at the Secret with the certificate by which clients know the gateways, so that the status tells what is wrong with it:
//! pods that lack it only wait.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use k8s_openapi::api::core::v1::Secret;
use kube::{Api, Client, ResourceExt};
use tokio::time::Instant;

use crate::{
    api::MemgraphCluster,
    gateway::certificate::{CertificateError, Pair},
    resources,
};

/// How soon the Secret is read again that was good.
const READ_AGAIN: Duration = Duration::from_secs(10);

/// Why gateways cannot use the Secret.
#[derive(Debug, thiserror::Error)]
pub enum GatewayCertificateError {
    /// There is no such Secret.
    #[error("Secret {0} of gateway.tls.secretRef does not exist; make it, with the keys tls.crt and tls.key")]
    Missing(String),
    /// A key is missing in it.
    #[error("Secret {secret} of gateway.tls.secretRef has no key {key}; add it")]
    MissingKey {
        /// The Secret.
        secret: String,
        /// The key.
        key: &'static str,
    },
    /// It cannot be used.
    #[error(
        "Secret {secret} of gateway.tls.secretRef cannot be used; gateways go on with the one before, if there was one"
    )]
    Unusable {
        /// The Secret.
        secret: String,
        /// Why not.
        source: CertificateError,
    },
    /// The API server refused.
    #[error("cannot read Secret {name}")]
    Request {
        /// The Secret.
        name: String,
        /// Why not.
        source: kube::Error,
    },
}

/// What is known of the Secret.
#[derive(Default)]
pub(super) struct GatewayCertificate {
    /// When it was found good last, and which it was.
    good: Mutex<Option<(Instant, String)>>,
}

impl GatewayCertificate {
    /// Reads the Secret, if there is to be one and it is time.
    pub(super) async fn look(
        &self,
        client: &Client,
        cluster: &MemgraphCluster,
    ) -> Result<(), GatewayCertificateError> {
        let gateway = &cluster.spec.gateway;
        let Some(tls) = gateway.tls.as_ref().filter(|_| gateway.enabled) else {
            return Ok(());
        };
        let name = &tls.secret_ref.name;
        if self.was_good(name) {
            return Ok(());
        }
        let api: Api<Secret> = Api::namespaced(client.clone(), &cluster.namespace().unwrap_or_default());
        let found = api
            .get_opt(name)
            .await
            .map_err(|source| GatewayCertificateError::Request {
                name: name.clone(),
                source,
            })?;
        let secret = found.ok_or_else(|| GatewayCertificateError::Missing(name.clone()))?;
        examine(name, &secret)?;
        *self.good.lock().unwrap_or_else(PoisonError::into_inner) = Some((Instant::now(), name.clone()));
        Ok(())
    }

    fn was_good(&self, name: &str) -> bool {
        let good = self.good.lock().unwrap_or_else(PoisonError::into_inner);
        good.as_ref()
            .is_some_and(|(at, of)| of == name && at.elapsed() < READ_AGAIN)
    }
}

fn examine(name: &str, secret: &Secret) -> Result<(), GatewayCertificateError> {
    let value = |key: &'static str| {
        let text = resources::text(secret, key).map(str::to_owned);
        text.ok_or_else(|| GatewayCertificateError::MissingKey {
            secret: name.to_owned(),
            key,
        })
    };
    let pair = Pair {
        certificate: value("tls.crt")?,
        key: value("tls.key")?,
    };
    pair.examine()
        .map_err(|source| GatewayCertificateError::Unusable {
            secret: name.to_owned(),
            source,
        })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use k8s_openapi::ByteString;
    use rcgen::CertifiedKey;

    use super::*;

    #[test]
    fn a_secret_is_good_when_gateways_can_use_it() {
        let CertifiedKey { cert, signing_key } =
            rcgen::generate_simple_self_signed(["demo-gateway.graphs".to_owned()]).unwrap();
        let with = |certificate: Option<&str>, key: Option<&str>| {
            let data = [("tls.crt", certificate), ("tls.key", key)];
            let data = data
                .into_iter()
                .filter_map(|(key, text)| Some((key.to_owned(), ByteString(text?.as_bytes().to_vec()))));
            let secret = Secret {
                data: Some(data.collect::<BTreeMap<_, _>>()),
                ..Secret::default()
            };
            examine("for-clients", &secret).map_err(|error| crate::controller::chain(&error))
        };
        let (certificate, key) = (cert.pem(), signing_key.serialize_pem());
        assert_eq!(with(Some(&certificate), Some(&key)), Ok(()));
        for (certificate, key, why) in [
            (None, Some(&*key), "has no key tls.crt"),
            (Some(&*certificate), None, "has no key tls.key"),
            (Some(&*certificate), Some("no key"), "cannot read tls.key as PEM"),
            (Some("no certificate"), Some(&*key), "tls.crt has no certificate"),
        ] {
            let told = with(certificate, key).unwrap_err();
            assert!(told.contains("for-clients") && told.contains(why), "{told}");
        }
    }
}
