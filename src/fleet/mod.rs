//! What the operator tells of all clusters: metrics, status as JSON, changes as they come.
//!
//! ```text
//! API server --watch--> Fleet <--questions-- HTTP (metrics, answers)
//!                         |
//!          leader's own Eyes (newer than any status)
//! ```
//!
//! Nothing here decides anything, and nothing that decides reads it. Every process has it, also one that does not lead; what
//! only the leader can see is missing there.

mod advice;
mod answers;
mod live;
mod metrics;
mod openapi;
mod tally;
#[cfg(test)]
mod tests;
mod view;
mod vitals;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures::{StreamExt, TryStreamExt};
use kube::{
    Client, ResourceExt,
    runtime::{WatchStreamExt, watcher},
};
use prometheus_client::metrics::{family::Family, histogram::Histogram};
use tokio::{sync::watch, time::Instant};

pub use advice::{Advice, advice};
pub use live::{Eyes, GatewayWord, InstanceSight, Live};
pub use openapi::document as openapi;
pub use tally::{Sum, Tally, length};
pub use view::{
    ClusterHealth, ClusterState, ClusterStatus, Counted, FleetStatus, GatewayState, InstanceState,
    OperatorStatus, Vantage, cluster as view,
};
pub use vitals::Vitals;

use crate::{
    api::MemgraphCluster,
    metrics::{ApiRequests, Labels, labels},
    scope::{Scope, watch_all},
};

/// Upper bounds of an operation's time, in seconds.
const OPERATION_BUCKETS: [f64; 10] = [0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 60.0];

/// All clusters, as one operator process knows them.
#[derive(Debug)]
pub struct Fleet {
    name: String,
    /// The installation whose process it is.
    installation: String,
    vitals: Arc<Vitals>,
    requests: ApiRequests,
    clusters: Mutex<BTreeMap<Place, Known>>,
    operations: Family<Labels, Histogram, fn() -> Histogram>,
    /// Marked changed whenever a cluster has changed, come or gone.
    changes: watch::Sender<()>,
    began: Instant,
}

/// Namespace and name.
type Place = (String, String);

#[derive(Clone, Debug)]
struct Known {
    cluster: Arc<MemgraphCluster>,
    tally: Tally,
}

impl Fleet {
    /// The fleet of this installation as the process of this name knows it, which is empty before [`Self::follow`].
    #[must_use]
    pub fn new(name: String, installation: String, vitals: Arc<Vitals>, requests: ApiRequests) -> Arc<Self> {
        Arc::new(Self {
            name,
            installation,
            vitals,
            requests,
            clusters: Mutex::default(),
            operations: Family::new_with_constructor(|| Histogram::new(OPERATION_BUCKETS)),
            changes: watch::Sender::default(),
            began: Instant::now(),
        })
    }

    /// Follows every cluster of these namespaces, for ever.
    pub async fn follow(&self, client: &Client, scope: &Scope) {
        let clusters = scope.apis::<MemgraphCluster>(client);
        let mut listed = Vec::new();
        let mut events = watch_all(clusters, &watcher::Config::default())
            .default_backoff()
            .boxed();
        loop {
            match events.try_next().await {
                Ok(Some(watcher::Event::Init)) => listed.clear(),
                Ok(Some(watcher::Event::InitApply(cluster))) => {
                    listed.push(place(&cluster));
                    self.see(cluster);
                }
                Ok(Some(watcher::Event::InitDone)) => self.keep_only(&listed),
                Ok(Some(watcher::Event::Apply(cluster))) => self.see(cluster),
                Ok(Some(watcher::Event::Delete(cluster))) => self.forget(&place(&cluster)),
                Ok(None) => return,
                Err(error) => tracing::debug!(%error, "watch interrupted; it is taken up again"),
            }
        }
    }

    fn see(&self, cluster: MemgraphCluster) {
        let now = self.began.elapsed();
        let mut clusters = self.lock();
        let place = place(&cluster);
        let mut tally = match clusters.remove(&place) {
            Some(known) if known.cluster.uid() == cluster.uid() => known.tally,
            _ => Tally::default(),
        };
        let is_foreign = self.is_foreign(&cluster);
        let news = cluster.status.iter().flat_map(|status| tally.see(status, now));
        for record in news.filter(|_| !is_foreign) {
            self.operations
                .get_or_create(&labels([("kind", tally::kind(record.kind))]))
                .observe(tally::length(&record).as_secs_f64());
        }
        let cluster = Arc::new(cluster);
        clusters.insert(place, Known { cluster, tally });
        drop(clusters);
        self.changes.send_replace(());
    }

    fn forget(&self, place: &Place) {
        self.lock().remove(place);
        self.changes.send_replace(());
    }

    fn keep_only(&self, listed: &[Place]) {
        self.lock().retain(|place, _| listed.contains(place));
        self.changes.send_replace(());
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Place, Known>> {
        // Each change is one step, so a panic elsewhere under the lock spoils nothing.
        self.clusters.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether another installation looks after this cluster: it is that one's to tell of it.
    fn is_foreign(&self, cluster: &MemgraphCluster) -> bool {
        cluster.looked_after_by_another(&self.installation).is_some()
    }

    fn known(&self) -> Vec<Known> {
        let clusters = self.lock();
        let own = clusters.values().filter(|known| !self.is_foreign(&known.cluster));
        own.cloned().collect()
    }

    /// How many clusters other installations look after.
    fn foreign(&self) -> usize {
        let clusters = self.lock();
        let foreign = clusters.values().filter(|known| self.is_foreign(&known.cluster));
        foreign.count()
    }

    /// Who answers, and who leads.
    #[must_use]
    pub fn operator(&self) -> OperatorStatus {
        let holder = self.vitals.holder();
        OperatorStatus {
            name: self.name.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            ready: self.vitals.is_ready(),
            leads: self.vitals.leads(),
            // A number tells a process from others of its name.
            leader: holder.map(|holder| match holder.rsplit_once('_') {
                Some((name, _)) => name.to_owned(),
                None => holder,
            }),
        }
    }

    /// All that can be told now.
    pub async fn status(&self) -> FleetStatus {
        let now = self.began.elapsed();
        let mut clusters = Vec::new();
        for known in self.known() {
            clusters.push(self.tell(&known, now).await);
        }
        FleetStatus {
            operator: self.operator(),
            clusters,
        }
    }

    /// What can be told of one cluster now; none: there is none of this name.
    pub async fn cluster(&self, namespace: &str, name: &str) -> Option<ClusterStatus> {
        let known = self
            .lock()
            .get(&(namespace.to_owned(), name.to_owned()))
            .filter(|known| !self.is_foreign(&known.cluster))
            .cloned()?;
        Some(self.tell(&known, self.began.elapsed()).await)
    }

    async fn tell(&self, known: &Known, now: Duration) -> ClusterStatus {
        let live = self
            .vitals
            .live(known.cluster.metadata.uid.as_deref().unwrap_or_default());
        view(&known.cluster, known.tally.counted(now), live.await.as_ref())
    }
}

impl Tally {
    fn counted(&self, now: Duration) -> Counted {
        let unasked = self
            .operations()
            .filter(|(kind, _)| matches!(*kind, "Failover" | "Restart"));
        Counted {
            unavailable: self.unavailable(now),
            failovers: unasked.map(|(_, sum)| sum.count).sum(),
        }
    }
}

fn place(cluster: &MemgraphCluster) -> Place {
    (cluster.namespace().unwrap_or_default(), cluster.name_any())
}
