//! The clusters, and what the API server shows of them.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use futures::{StreamExt, TryStreamExt, stream};
use kube::{
    Api, Client, ResourceExt,
    api::{Patch, PatchParams},
    runtime::{WatchStreamExt, watcher},
};
use memgraph_operator::api::{MemgraphCluster, ledger::Route};
use serde_json::{Value, json};
use tokio::{
    sync::watch,
    time::{Instant, timeout},
};

use crate::kubelet::STORAGE_CLASS;

/// So many namespaces have clusters.
const NAMESPACES: usize = 20;
/// So many requests are under way at most.
const REQUESTS: usize = 16;
/// Instances of each cluster.
const REPLICAS: i32 = 3;

/// Namespace and name.
pub type Place = (String, String);
type Seen = BTreeMap<Place, MemgraphCluster>;

/// All clusters.
pub struct Fleet {
    client: Client,
    seen: Arc<Mutex<Seen>>,
    changed: watch::Receiver<()>,
    gateways: i32,
}

/// The namespaces of clusters.
pub fn namespaces() -> impl Iterator<Item = String> {
    (0..NAMESPACES).map(|number| format!("bench-{number}"))
}

/// Whether it is as its spec asks, and its status says so of this very spec.
pub fn is_whole(cluster: &MemgraphCluster) -> bool {
    let Some(status) = &cluster.status else {
        return false;
    };
    let holds = |kind: &str, value: &str| {
        let mut conditions = status.conditions.iter();
        conditions.any(|condition| condition.type_ == kind && condition.status == value)
    };
    status.observed_generation == cluster.metadata.generation
        && status.ready_replicas == REPLICAS
        && ["Ready", "Durable", "ReplicationHealthy", "StorageReady"]
            .iter()
            .all(|kind| holds(kind, "True"))
        && holds("Reconciling", "False")
}

/// MAIN and the term, where clients may reach it.
pub fn main(cluster: &MemgraphCluster) -> Option<(&str, i64)> {
    let ledger = cluster.status.as_ref()?.ledger.as_ref()?;
    (ledger.route == Route::Open).then_some((ledger.main.instance.as_str(), ledger.term))
}

impl Fleet {
    /// Follows those that there are and will be, each of which has so many gateways.
    pub fn follow(client: &Client, gateways: i32) -> Self {
        let seen: Arc<Mutex<Seen>> = Arc::default();
        let (change, changed) = watch::channel(());
        let clusters = watcher(
            Api::<MemgraphCluster>::all(client.clone()),
            watcher::Config::default(),
        );
        let known = Arc::clone(&seen);
        tokio::spawn(async move {
            let mut clusters = clusters.default_backoff().applied_objects().boxed();
            loop {
                match clusters.try_next().await {
                    Ok(Some(cluster)) => {
                        let place = (cluster.namespace().unwrap_or_default(), cluster.name_any());
                        lock(&known).insert(place, cluster);
                        change.send_replace(());
                    }
                    Ok(None) => return,
                    Err(error) => eprintln!("the watch of clusters is taken up again: {error}"),
                }
            }
        });
        Self {
            client: client.clone(),
            seen,
            changed,
            gateways,
        }
    }

    /// Makes clusters until there are so many.
    pub async fn grow_to(&self, count: usize) -> Result<()> {
        let there = self.len();
        let specs = (there..count).map(|number| {
            let namespace = format!("bench-{}", number % NAMESPACES);
            let spec = json!({
                "replicas": REPLICAS,
                "storage": {"size": "1Gi", "storageClassName": STORAGE_CLASS},
                "gateway": if self.gateways > 0 {
                    json!({"replicas": self.gateways})
                } else {
                    json!({"enabled": false})
                },
            });
            (namespace, format!("c{number}"), spec)
        });
        self.apply(specs.collect()).await
    }

    /// Changes the spec of each, so that each needs a status for another generation. Nothing else follows from it.
    pub async fn touch(&self, changes_per_hour: i32) -> Result<()> {
        let places: Vec<Place> = self.seen().keys().cloned().collect();
        let patch = json!({"spec": {"failover": {"maxPerHour": changes_per_hour}}});
        stream::iter(places)
            .map(|(namespace, name)| {
                let (api, patch) = (self.api(&namespace), Patch::Merge(patch.clone()));
                async move { api.patch(&name, &PatchParams::default(), &patch).await.map(drop) }
            })
            .buffer_unordered(REQUESTS)
            .try_collect::<()>()
            .await
            .context("cannot change a cluster")
    }

    async fn apply(&self, specs: Vec<(String, String, Value)>) -> Result<()> {
        stream::iter(specs)
            .map(|(namespace, name, spec)| async move {
                let object = json!({
                    "apiVersion": "memgraph.dev/v1alpha1", "kind": "MemgraphCluster",
                    "metadata": {"name": name}, "spec": spec,
                });
                let params = PatchParams::apply("operator-bench");
                let made = self
                    .api(&namespace)
                    .patch(&name, &params, &Patch::Apply(object))
                    .await;
                made.map(drop)
            })
            .buffer_unordered(REQUESTS)
            .try_collect::<()>()
            .await
            .context("cannot make a cluster")
    }

    fn api(&self, namespace: &str) -> Api<MemgraphCluster> {
        Api::namespaced(self.client.clone(), namespace)
    }

    /// What is seen of them now.
    pub fn seen(&self) -> MutexGuard<'_, Seen> {
        lock(&self.seen)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.seen().len()
    }

    /// Waits until so many are there, and all are as they should be. Returns when that was seen.
    pub async fn until_whole(&self, count: usize, limit: Duration) -> Result<Instant> {
        let whole = |seen: &Seen| seen.values().filter(|cluster| is_whole(cluster)).count();
        let all = self
            .until(limit, |seen| seen.len() >= count && whole(seen) == seen.len())
            .await;
        all.with_context(|| {
            let seen = self.seen();
            let first = seen.iter().find(|(_, cluster)| !is_whole(cluster));
            format!(
                "{} of {} clusters are whole, and for example this one is not: {}",
                whole(&seen),
                seen.len(),
                json!(first.map(|(place, cluster)| (place, &cluster.status)))
            )
        })
    }

    /// Waits until this holds, and returns when that was seen.
    pub async fn until(&self, limit: Duration, mut holds: impl FnMut(&Seen) -> bool) -> Result<Instant> {
        let mut changed = self.changed.clone();
        let holding = async {
            loop {
                changed.borrow_and_update();
                if holds(&self.seen()) {
                    return Ok(Instant::now());
                }
                changed.changed().await.context("the watch has ended")?;
            }
        };
        match timeout(limit, holding).await {
            Ok(held) => held,
            Err(_) => bail!("not so after {} s", limit.as_secs()),
        }
    }
}

fn lock(seen: &Mutex<Seen>) -> MutexGuard<'_, Seen> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}
