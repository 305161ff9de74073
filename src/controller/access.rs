//! Who gets in to the instances of a cluster with `spec.auth`: reads the Secret that the spec names, remembers what held
//! before, and tells applications.
//!
//! Secrets are read by name and now and then, and never listed or watched: this process holds those of its clusters alone, and
//! needs no right to find others.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use k8s_openapi::api::core::v1::Secret;
use kube::{
    Api, Client, ResourceExt,
    api::{Patch, PatchParams},
};
use tokio::time::Instant;

use crate::{
    api::{
        MemgraphCluster,
        ledger::{DataCopy, Ledger, OperationKind, Route},
        names,
    },
    memgraph::{Credentials, Keyring, Known, UnusableCredentials},
    plan::observation::Access,
    resources::{self, is_controlled_by, is_left_behind},
};

/// How soon a Secret is read again that was good.
const READ_AGAIN: Duration = Duration::from_secs(10);
/// While clients wait, what is noted is looked at no sooner than this: where the Secret is gone, no instance starts that they could be
/// waiting for.
const OVERDUE: Duration = Duration::from_secs(30);
/// For how long MAIN is believed to have the user still.
const SETTLED_FOR: Duration = Duration::from_secs(300);
/// So many credentials are remembered. An instance that was away for longer than that many changes lets nobody in.
const REMEMBERED: usize = 6;

/// Why credentials are not as they should be.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    /// There is no such Secret.
    #[error("Secret {0} of auth.secretRef does not exist; make it, with the keys username and password")]
    Missing(String),
    /// A key is missing in it.
    #[error("Secret {secret} of auth.secretRef has no key {key}; add it")]
    MissingKey {
        /// The Secret.
        secret: String,
        /// The key.
        key: &'static str,
    },
    /// Memgraph would not take it.
    #[error("Secret {secret} of auth.secretRef cannot be used: {why}; change it")]
    Unusable {
        /// The Secret.
        secret: String,
        /// Why not.
        why: UnusableCredentials,
    },
    /// Something else has a Secret of that name.
    #[error(
        "Secret {0} exists and does not belong to this cluster; delete or rename it, or give the cluster another name"
    )]
    Foreign(String),
    /// A Secret of that name belongs to a former cluster of the same name.
    #[error(
        "Secret {0} belongs to a former cluster of this name, and Kubernetes' garbage collector has not removed it yet; where it \
         never does, delete it"
    )]
    LeftBehind(String),
    /// A Secret cannot be built.
    #[error(transparent)]
    Build(#[from] resources::Error),
    /// The API server refused.
    #[error("cannot {action} Secret {name}")]
    Request {
        /// What was to be done.
        action: &'static str,
        /// The Secret.
        name: String,
        /// Why not.
        source: kube::Error,
    },
}

/// What is known of the credentials of one cluster.
#[derive(Default)]
pub(super) struct Wallet {
    keyring: Arc<Keyring>,
    memory: Mutex<Memory>,
}

#[derive(Default)]
struct Memory {
    /// The newest first; None: what an earlier process has noted was not read yet.
    known: Option<Vec<Credentials>>,
    /// When the Secret of the spec was found good last, and which it was.
    read: Option<(Instant, String)>,
    /// When our own Secret was found to say what is known, or was made to.
    noted: Option<Instant>,
    /// Since when the route is closed and the Secret of the spec was not read.
    passed_over: Option<Instant>,
    /// What is wrong, if something is.
    problem: Option<String>,
    settled: Option<Settled>,
    /// When the Secret for applications was looked at last, and what it should have been.
    published: Option<(Instant, Secret)>,
}

/// MAIN has the user.
struct Settled {
    term: i64,
    main: DataCopy,
    key: Credentials,
    at: Instant,
}

impl Settled {
    /// Whether MAIN is still the one that it was, and no replica in between: the ledger is the next one, by which MAIN stays.
    fn holds_in(&self, ledger: &Ledger) -> bool {
        let stays = ledger
            .operation
            .as_ref()
            .is_some_and(|o| o.kind == OperationKind::Repair);
        stays && ledger.term == self.term + 1 && ledger.main == self.main
    }
}

impl Wallet {
    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn keyring(&self) -> Arc<Keyring> {
        Arc::clone(&self.keyring)
    }

    /// What clients are to sign in with.
    pub(super) fn current(&self) -> Option<Credentials> {
        self.memory().known.as_ref()?.first().cloned()
    }

    /// Whether pods of this cluster can start: they read what is known.
    pub(super) fn allows_pods(&self, cluster: &MemgraphCluster) -> bool {
        cluster.spec.auth.is_none() || self.current().is_some()
    }

    /// MAIN of this ledger has the user.
    pub(super) fn settled(&self, ledger: &Ledger, key: Credentials) {
        self.memory().settled = Some(Settled {
            term: ledger.term,
            main: ledger.main.clone(),
            key,
            at: Instant::now(),
        });
    }

    /// What is known of the user on MAIN of this ledger.
    pub(super) fn known(&self, ledger: &Ledger, key: &Credentials) -> Known {
        let memory = self.memory();
        let settled = memory.settled.as_ref();
        match settled.filter(|settled| settled.term == ledger.term && settled.key == *key) {
            Some(_) => Known::Password,
            None => Known::Nothing,
        }
    }

    /// Who gets in to MAIN.
    pub(super) fn access(&self, cluster: &MemgraphCluster, ledger: Option<&Ledger>) -> Access {
        if cluster.spec.auth.is_none() {
            return Access::Free;
        }
        let mut memory = self.memory();
        if let Some((settled, ledger)) = memory.settled.as_mut().zip(ledger)
            && settled.holds_in(ledger)
        {
            settled.term = ledger.term;
        }
        let Some(current) = memory.known.as_ref().and_then(|known| known.first()) else {
            let why = memory.problem.clone();
            return Access::Undeclared(why.unwrap_or_else(|| "auth.secretRef was not read yet".to_owned()));
        };
        let settled = memory.settled.as_ref().is_some_and(|settled| {
            ledger.is_some_and(|ledger| ledger.term == settled.term)
                && settled.key == *current
                && settled.at.elapsed() < SETTLED_FOR
        });
        Access::Controlled { settled }
    }

    /// Reads the Secret of the spec, if it is time, and notes what it says before it is used anywhere.
    pub(super) async fn tend(&self, client: &Client, cluster: &MemgraphCluster) -> Result<(), AccessError> {
        let Some(auth) = &cluster.spec.auth else {
            self.keyring.set(&[]);
            return Ok(());
        };
        let done = self
            .learn(&secrets(client, cluster), cluster, &auth.secret_ref.name)
            .await;
        self.memory().problem = done.as_ref().err().map(|error| super::chain(error));
        done
    }

    async fn learn(
        &self,
        api: &Api<Secret>,
        cluster: &MemgraphCluster,
        name: &str,
    ) -> Result<(), AccessError> {
        if self.memory().known.is_none() {
            let noted = read(api, cluster, &names::credentials(&cluster.name_any())).await?;
            let known = noted
                .as_ref()
                .map(resources::read_credentials)
                .unwrap_or_default();
            self.keyring.set(&known);
            let mut memory = self.memory();
            memory.known = Some(known);
            memory.noted = Some(Instant::now());
        }
        let closed = cluster
            .status
            .as_ref()
            .and_then(|status| status.ledger.as_ref())
            .is_some_and(|ledger| ledger.route == Route::Closed);
        let current = self.current();
        // What clients wait for does not wait for this; but where it lasts, a password may be what is wrong.
        if self.passes_over(closed)
            && let Some(current) = current
        {
            return if self.was_noted(OVERDUE) {
                Ok(())
            } else {
                self.note(api, cluster, current).await
            };
        }
        if self.was_read(name) {
            return Ok(());
        }
        let wanted = match (declared(api, name).await, current) {
            (Ok(wanted), _) => wanted,
            // It is told when the route is open.
            (Err(_), Some(current)) if closed => return self.adopt(api, cluster, current).await,
            (Err(error), Some(current)) => {
                // Instances start with what held so far.
                self.adopt(api, cluster, current).await?;
                return Err(error);
            }
            (Err(error), None) => return Err(error),
        };
        self.adopt(api, cluster, wanted).await?;
        self.memory().read = Some((Instant::now(), name.to_owned()));
        Ok(())
    }

    /// Whether the Secret of the spec is left unread for now, because the route is closed.
    fn passes_over(&self, closed: bool) -> bool {
        let since = &mut self.memory().passed_over;
        if !closed {
            *since = None;
        } else if since.get_or_insert_with(Instant::now).elapsed() < OVERDUE {
            return true;
        } else {
            *since = Some(Instant::now());
        }
        false
    }

    /// Whether the Secret of this name was found good a moment ago.
    fn was_read(&self, name: &str) -> bool {
        let memory = self.memory();
        let recent = |(at, read): &(Instant, String)| read == name && at.elapsed() < READ_AGAIN;
        memory.problem.is_none() && memory.read.as_ref().is_some_and(recent)
    }

    /// Whether our own Secret was as it should be so short a time ago.
    fn was_noted(&self, within: Duration) -> bool {
        self.memory().noted.is_some_and(|at| at.elapsed() < within)
    }

    /// Has these credentials hold from now on.
    async fn adopt(
        &self,
        api: &Api<Secret>,
        cluster: &MemgraphCluster,
        wanted: Credentials,
    ) -> Result<(), AccessError> {
        let changes = self.current().as_ref() != Some(&wanted);
        if !changes && self.was_noted(READ_AGAIN) {
            return Ok(());
        }
        let username = wanted.username().to_owned();
        self.note(api, cluster, wanted).await?;
        if changes {
            tracing::info!(cluster = %cluster.name_any(), username, "credentials changed");
        }
        Ok(())
    }

    /// Notes what is to hold from now on, before any instance is told: a process that comes after this one can sign in then,
    /// wherever this one has come to. No instance starts without the Secret, so what somebody has taken out of it, or all of it, is
    /// written again.
    async fn note(
        &self,
        api: &Api<Secret>,
        cluster: &MemgraphCluster,
        wanted: Credentials,
    ) -> Result<(), AccessError> {
        let noted = read(api, cluster, &names::credentials(&cluster.name_any())).await?;
        let written = noted
            .as_ref()
            .map(resources::read_credentials)
            .unwrap_or_default();
        let remembered = self.memory().known.clone().unwrap_or_default();
        let mut known = vec![wanted];
        for key in remembered.into_iter().chain(written.iter().cloned()) {
            if !known.contains(&key) {
                known.push(key);
            }
        }
        known.truncate(REMEMBERED);
        let inherits = |noted: &Secret| resources::inherits(cluster, &noted.metadata);
        if written != known || !noted.as_ref().is_some_and(inherits) {
            write(api, resources::credentials(cluster, &known)?, noted.as_ref()).await?;
        }
        // Also where an earlier try has written it, whose answer was lost.
        self.keyring.set(&known);
        let mut memory = self.memory();
        memory.known = Some(known);
        memory.noted = Some(Instant::now());
        Ok(())
    }

    /// Writes the Secret for applications once MAIN takes what it says, and repairs it.
    pub(super) async fn publish(
        &self,
        client: &Client,
        cluster: &MemgraphCluster,
        cluster_domain: &str,
    ) -> Result<(), AccessError> {
        let ledger = cluster.status.as_ref().and_then(|status| status.ledger.as_ref());
        let open = ledger.filter(|ledger| ledger.route == Route::Open);
        if open.is_none() || self.access(cluster, ledger) != (Access::Controlled { settled: true }) {
            return Ok(());
        }
        let Some(current) = self.current() else {
            return Ok(());
        };
        let wanted = resources::application(cluster, &current, cluster_domain)?;
        let recent = |(at, last): &(Instant, Secret)| at.elapsed() < READ_AGAIN && *last == wanted;
        if self.memory().published.as_ref().is_some_and(recent) {
            return Ok(());
        }
        let api = secrets(client, cluster);
        let live = read(&api, cluster, &names::application(&cluster.name_any())).await?;
        if !live
            .as_ref()
            .is_some_and(|live| resources::is_application(cluster, live, &wanted))
        {
            write(&api, wanted.clone(), live.as_ref()).await?;
        }
        self.memory().published = Some((Instant::now(), wanted));
        Ok(())
    }
}

fn secrets(client: &Client, cluster: &MemgraphCluster) -> Api<Secret> {
    Api::namespaced(client.clone(), &cluster.namespace().unwrap_or_default())
}

fn request(action: &'static str, name: &str) -> impl FnOnce(kube::Error) -> AccessError {
    let name = name.to_owned();
    move |source| AccessError::Request { action, name, source }
}

/// What the Secret of this name says, which a user has made.
async fn declared(api: &Api<Secret>, name: &str) -> Result<Credentials, AccessError> {
    let found = api.get_opt(name).await.map_err(request("read", name))?;
    let secret = found.ok_or_else(|| AccessError::Missing(name.to_owned()))?;
    let value = |key: &'static str| {
        resources::text(&secret, key).ok_or_else(|| AccessError::MissingKey {
            secret: name.to_owned(),
            key,
        })
    };
    let (username, password) = (value(resources::USERNAME)?, value(resources::PASSWORD)?);
    Credentials::new(username, password).map_err(|why| AccessError::Unusable {
        secret: name.to_owned(),
        why,
    })
}

/// One of our own Secrets.
async fn read(
    api: &Api<Secret>,
    cluster: &MemgraphCluster,
    name: &str,
) -> Result<Option<Secret>, AccessError> {
    match api.get_opt(name).await.map_err(request("read", name))? {
        Some(secret) if is_left_behind(&secret.metadata, cluster) => {
            Err(AccessError::LeftBehind(name.to_owned()))
        }
        Some(secret) if !is_controlled_by(&secret.metadata, cluster) => {
            Err(AccessError::Foreign(name.to_owned()))
        }
        found => Ok(found),
    }
}

/// Writes it, unless somebody else has since it was read.
async fn write(api: &Api<Secret>, mut secret: Secret, over: Option<&Secret>) -> Result<(), AccessError> {
    secret.metadata.resource_version = over.and_then(ResourceExt::resource_version);
    let name = secret.name_any();
    let params = PatchParams::apply(names::FIELD_MANAGER).force();
    let written = api.patch(&name, &params, &Patch::Apply(&secret)).await;
    written.map(drop).map_err(request("apply", &name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{AuthSpec, MemgraphClusterSpec, SecretReference, ledger::Operation};

    #[test]
    fn what_is_known_of_main_holds_while_it_stays_main() {
        let key = Credentials::new("app", "first").unwrap();
        let wallet = Wallet::default();
        wallet.memory().known = Some(vec![key.clone()]);
        let secret_ref = SecretReference { name: "users".into() };
        let spec = MemgraphClusterSpec {
            auth: Some(AuthSpec { secret_ref }),
            ..MemgraphClusterSpec::default()
        };
        let cluster = MemgraphCluster::new("demo", spec);
        let mut ledger = Ledger {
            term: 7,
            ..Ledger::default()
        };
        let settled =
            |ledger: &Ledger| wallet.access(&cluster, Some(ledger)) == Access::Controlled { settled: true };
        assert!(!settled(&ledger));
        wallet.settled(&ledger, key);
        assert!(settled(&ledger));

        let closed_for = |kind| {
            Some(Operation {
                kind,
                target: "demo-0".into(),
                from: None,
                started_at: String::new(),
                cause: String::new(),
                lossy: false,
                election: None,
                reversed: false,
                proven: false,
            })
        };
        ledger.term = 8;
        ledger.operation = closed_for(OperationKind::Repair);
        assert!(settled(&ledger), "MAIN has been MAIN all the time");
        ledger.operation = None;
        assert!(settled(&ledger));
        ledger.term = 9;
        ledger.operation = closed_for(OperationKind::Failover);
        assert!(!settled(&ledger), "it may have been a replica");
        ledger.term = 10;
        ledger.operation = closed_for(OperationKind::Repair);
        assert!(!settled(&ledger), "there was a term in between");
    }
}
