//! Looks at the Secret with the license of the instances: tells what is wrong with it, and one license from another.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use k8s_openapi::api::core::v1::Secret;
use kube::{Api, Client, ResourceExt};
use tokio::time::Instant;

use crate::{
    api::MemgraphCluster,
    resources::{
        self,
        license::{LICENSE, ORGANIZATION, fingerprint},
    },
};

/// How soon the Secret is read again that was good.
const READ_AGAIN: Duration = Duration::from_secs(10);

/// Why the Secret cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LicenseError {
    /// There is no such Secret.
    #[error(
        "Secret {0} of license.secretRef does not exist; make it, with the keys license and organization, or remove license"
    )]
    Missing(String),
    /// A key is missing in it, or empty.
    #[error("Secret {secret} of license.secretRef has no text under the key {key}; add it")]
    MissingKey {
        /// The Secret.
        secret: String,
        /// The key.
        key: &'static str,
    },
    /// Memgraph would take it for another text.
    #[error(
        "Secret {secret} of license.secretRef has white space or a line break around what is under the key {key}; remove it"
    )]
    Padded {
        /// The Secret.
        secret: String,
        /// The key.
        key: &'static str,
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

/// What is known of the license of one cluster.
#[derive(Default)]
pub(super) struct License {
    good: Mutex<Option<Good>>,
}

/// A license that can be used.
struct Good {
    /// When it was read last.
    at: Instant,
    secret: String,
    /// What tells it from others.
    fingerprint: String,
}

impl License {
    fn good(&self) -> MutexGuard<'_, Option<Good>> {
        self.good.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it is known which license pods of this cluster are to have.
    pub(super) fn allows_pods(&self, cluster: &MemgraphCluster) -> bool {
        cluster.spec.license.is_none() || self.fingerprint(cluster).is_some()
    }

    /// What tells the newest license that could be used, of the Secret that the spec names, from others.
    pub(super) fn fingerprint(&self, cluster: &MemgraphCluster) -> Option<String> {
        let name = &cluster.spec.license.as_ref()?.secret_ref.name;
        let good = self.good();
        let good = good.as_ref().filter(|good| good.secret == *name)?;
        Some(good.fingerprint.clone())
    }

    /// Reads the Secret, if there is to be one and it is time.
    pub(super) async fn look(&self, client: &Client, cluster: &MemgraphCluster) -> Result<(), LicenseError> {
        let Some(license) = &cluster.spec.license else {
            return Ok(());
        };
        let name = &license.secret_ref.name;
        let is_recent = |good: &Good| good.secret == *name && good.at.elapsed() < READ_AGAIN;
        if self.good().as_ref().is_some_and(is_recent) {
            return Ok(());
        }
        let api: Api<Secret> = Api::namespaced(client.clone(), &cluster.namespace().unwrap_or_default());
        let found = api.get_opt(name).await.map_err(|source| LicenseError::Request {
            name: name.clone(),
            source,
        })?;
        let secret = found.ok_or_else(|| LicenseError::Missing(name.clone()))?;
        let fingerprint = examine(name, &secret)?;
        *self.good() = Some(Good {
            at: Instant::now(),
            secret: name.clone(),
            fingerprint,
        });
        Ok(())
    }
}

/// Whether Memgraph can read it. (Whether it is valid, Memgraph alone tells: `SHOW LICENSE INFO`.)
fn examine(name: &str, secret: &Secret) -> Result<String, LicenseError> {
    let value = |key: &'static str| {
        let secret_name = name.to_owned();
        match resources::text(secret, key) {
            None | Some("") => Err(LicenseError::MissingKey {
                secret: secret_name,
                key,
            }),
            Some(text) if text.trim() != text => Err(LicenseError::Padded {
                secret: secret_name,
                key,
            }),
            Some(text) => Ok(text),
        }
    };
    Ok(fingerprint(value(LICENSE)?, value(ORGANIZATION)?))
}
