//! The Lease object: read, and written only at the version it was read at.

use std::{future::Future, time::Duration};

use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::MicroTime,
};
use kube::{
    Api, Client,
    api::{ObjectMeta, PostParams},
};

use super::election::Record;

/// Why the Lease was not read or written.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Somebody else has written in between.
    #[error("the lease {name} has changed since it was read")]
    Conflict {
        /// The Lease's name.
        name: String,
    },
    /// The API server did not answer as it should. Whether a write was done is not known.
    #[error("cannot {action} the lease {name}")]
    Unavailable {
        /// What was to be done.
        action: &'static str,
        /// The Lease's name.
        name: String,
        /// Why not.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl LockError {
    /// Whether this process may not do that, which does not pass by itself.
    #[must_use]
    pub fn is_forbidden(&self) -> bool {
        let Self::Unavailable { source, .. } = self else {
            return false;
        };
        matches!(source.downcast_ref(), Some(kube::Error::Api(answer)) if answer.is_forbidden())
    }
}

/// The Lease at one version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// What stands in it.
    pub record: Record,
    /// The version, by which a later write is refused if it is not the last one any more.
    pub version: String,
}

/// Where the Lease lies: the seam at which tests put something else than an API server.
pub trait Lock: Send + Sync + 'static {
    /// Reads it from a quorum. None if it does not exist.
    fn read(&self) -> impl Future<Output = Result<Option<Held>, LockError>> + Send;

    /// Writes it over this version, or makes it where there was none.
    fn write(
        &self,
        record: &Record,
        over: Option<&str>,
    ) -> impl Future<Output = Result<Held, LockError>> + Send;
}

/// A Lease of Kubernetes.
#[derive(Clone)]
pub struct KubernetesLease {
    api: Api<Lease>,
    name: String,
}

impl KubernetesLease {
    /// The Lease of this name.
    #[must_use]
    pub fn new(client: Client, namespace: &str, name: &str) -> Self {
        Self {
            api: Api::namespaced(client, namespace),
            name: name.to_owned(),
        }
    }

    fn failed(&self, action: &'static str, error: kube::Error) -> LockError {
        let name = self.name.clone();
        match error {
            kube::Error::Api(answer) if answer.code == 409 => LockError::Conflict { name },
            source => LockError::Unavailable {
                action,
                name,
                source: Box::new(source),
            },
        }
    }
}

impl Lock for KubernetesLease {
    async fn read(&self) -> Result<Option<Held>, LockError> {
        let lease = self.api.get_opt(&self.name).await;
        Ok(lease.map_err(|error| self.failed("read", error))?.map(held))
    }

    async fn write(&self, record: &Record, over: Option<&str>) -> Result<Held, LockError> {
        let mut lease = Lease {
            metadata: ObjectMeta {
                name: Some(self.name.clone()),
                resource_version: over.map(str::to_owned),
                ..ObjectMeta::default()
            },
            spec: Some(spec(record)),
        };
        let params = PostParams::default();
        let written = match over {
            Some(_) => self.api.replace(&self.name, &params, &lease).await,
            None => {
                lease.metadata.labels = Some(labels());
                self.api.create(&params, &lease).await
            }
        };
        written.map(held).map_err(|error| self.failed("write", error))
    }
}

fn spec(record: &Record) -> LeaseSpec {
    LeaseSpec {
        // A Lease without a holder has an empty one: the field cannot be taken back by other clients' rules.
        holder_identity: Some(record.holder.clone().unwrap_or_default()),
        lease_duration_seconds: i32::try_from(record.duration.as_secs()).ok(),
        acquire_time: record.acquired.map(MicroTime),
        renew_time: record.renewed.map(MicroTime),
        lease_transitions: Some(record.transitions),
        ..LeaseSpec::default()
    }
}

fn labels() -> std::collections::BTreeMap<String, String> {
    let name = crate::api::names::FIELD_MANAGER.to_owned();
    [("app.kubernetes.io/name".to_owned(), name)].into()
}

fn held(lease: Lease) -> Held {
    let spec = lease.spec.unwrap_or_default();
    Held {
        record: Record {
            holder: spec.holder_identity.filter(|holder| !holder.is_empty()),
            duration: Duration::from_secs(
                spec.lease_duration_seconds
                    .and_then(|seconds| u64::try_from(seconds).ok())
                    .unwrap_or_default(),
            ),
            acquired: spec.acquire_time.map(|time| time.0),
            renewed: spec.renew_time.map(|time| time.0),
            transitions: spec.lease_transitions.unwrap_or_default(),
        },
        version: lease.metadata.resource_version.unwrap_or_default(),
    }
}
