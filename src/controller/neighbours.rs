//! Other installations of the operator: a cluster is looked after by one of them, whichever Leases the others hold.
//!
//! The status says which one, by the name of its Lease. This is written before anything is done for a cluster, at the version that the
//! status was read at, so that of several that find a new cluster one gets it. It goes from one to another only where nobody holds
//! the Lease of the first one, in two steps:
//!
//! ```text
//! A's Lease has not changed for long     status: operator A, nextOperator B      (written at the version read)
//! ... and has not, when read once more   status: operator B                      (written at that version)
//! ```
//!
//! A process of A that takes A's Lease lists the clusters after that. If it took it before the second reading, that shows it, and the
//! second step is not made. If it took it later, it finds the first step, and must take that back before it does anything: only one of both
//! writes succeeds. A single step would leave the time between the reading and the write, in which it could begin on an older status.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::{Client, ResourceExt, runtime::controller::Action as Requeue};
use tokio::time::Instant;

use super::{
    Election, Operator,
    clusters::Cluster,
    link::GatewayLink,
    reconcile::{ReconcileError, WORKING},
    status::{self, StatusError},
};
use crate::{
    api::{MemgraphCluster, MemgraphClusterStatus},
    leader::{Bystander, KubernetesLease, Lock, LockError, Stands, Timing},
    memgraph::Bolt,
};

/// How soon a Lease is looked at again that somebody holds, or that cannot be read.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// The same of one that may have no holder.
const LOOK_SOON: Duration = Duration::from_secs(1);
/// How often it is told again that a cluster is left alone: Events last for an hour by default.
const TELL_EVERY: Duration = Duration::from_secs(3_600);

/// The other installations, as far as this one has met them.
pub(super) struct Neighbours {
    /// This installation.
    own: String,
    timing: Timing,
    leases: Mutex<HashMap<String, Arc<tokio::sync::Mutex<Watched>>>>,
    /// By UID of the cluster: what was told of it, and when.
    told: Mutex<HashMap<String, Told>>,
}

/// Of which installation what was told last when.
type Told = HashMap<(String, &'static str), Instant>;

/// The Lease of another installation, which all clusters look at together.
struct Watched {
    bystander: Bystander,
    /// When the last look began, and what it showed.
    last: Option<(Instant, Sight)>,
}

/// What is known of another installation.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Sight {
    Lease(Stands),
    /// Its Lease may not be read, or is none.
    Unreadable(String),
    /// The API server gave no answer.
    Unread,
}

impl Sight {
    /// For how long this is good enough.
    fn lasts(&self) -> Duration {
        match self {
            Self::Lease(Stands::Still | Stands::Vacant) => LOOK_SOON,
            Self::Lease(Stands::Held) | Self::Unreadable(_) | Self::Unread => LOOK_EVERY,
        }
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Neighbours {
    pub(super) fn new(election: &Election) -> Self {
        Self {
            own: election.installation(),
            timing: election.timing,
            leases: Mutex::default(),
            told: Mutex::default(),
        }
    }

    /// The one that looks after this cluster, if it is not this one.
    pub(super) fn of<'a>(&self, cluster: &'a MemgraphCluster) -> Option<&'a str> {
        cluster.looked_after_by_another(&self.own)
    }

    /// How its Lease stands. `since`: the look must have begun then or later.
    async fn look(&self, client: &Client, installation: &str, since: Option<Instant>) -> Sight {
        let Some((namespace, name)) = installation.split_once('/') else {
            return Sight::Unreadable("it is no namespace and name of a Lease".to_owned());
        };
        let watched = Arc::clone(
            locked(&self.leases)
                .entry(installation.to_owned())
                .or_insert_with(|| {
                    let bystander = Bystander::new(self.timing);
                    Arc::new(tokio::sync::Mutex::new(Watched {
                        bystander,
                        last: None,
                    }))
                }),
        );
        // Whoever comes meanwhile waits for the same look.
        let mut watched = watched.lock().await;
        if let Some((begun, sight)) = &watched.last
            && begun.elapsed() < sight.lasts()
            && since.is_none_or(|since| *begun >= since)
        {
            return sight.clone();
        }
        let asked = Instant::now();
        let sight = match KubernetesLease::new(client.clone(), namespace, name).read().await {
            Ok(held) => {
                let record = held.as_ref().map(|held| &held.record);
                Sight::Lease(watched.bystander.looks(record, asked))
            }
            Err(error) if LockError::is_forbidden(&error) => Sight::Unreadable(super::chain(&error)),
            Err(error) => {
                let error = super::chain(&error);
                tracing::debug!(
                    installation,
                    error,
                    "the Lease of another installation was not read"
                );
                Sight::Unread
            }
        };
        watched.last = Some((asked, sight.clone()));
        sight
    }

    /// Whether this was not told of the cluster for a while. Clusters that are not among `there` are forgotten at times.
    fn is_news<U: IntoIterator<Item = String>>(
        &self,
        (uid, installation, news): (&str, &str, &'static str),
        number: usize,
        there: impl FnOnce() -> U,
    ) -> bool {
        let mut told = locked(&self.told);
        if told.len() > 2 * number + 16 {
            let there: HashSet<String> = there().into_iter().collect();
            told.retain(|uid, _| there.contains(uid));
        }
        let of_cluster = told.entry(uid.to_owned()).or_default();
        let news = (installation.to_owned(), news);
        let is_news = of_cluster
            .get(&news)
            .is_none_or(|told| told.elapsed() >= TELL_EVERY);
        if is_news {
            of_cluster.insert(news, Instant::now());
        }
        is_news
    }
}

/// Whose a cluster is, that is no other installation's.
pub(super) enum Claim {
    /// This installation's: it says so, and that was kept.
    Ours(Box<MemgraphCluster>),
    /// That cannot be said, since the CustomResourceDefinition does not fit, as this tells.
    Unfit(Box<MemgraphCluster>, String),
    /// Somebody has written in between, so that it is to be looked at again.
    Unclear,
}

impl<B: Bolt, G: GatewayLink> Operator<B, G> {
    fn is_ours(&self, cluster: &MemgraphCluster) -> bool {
        cluster.status.as_ref().is_some_and(|status| {
            status.operator.as_ref() == Some(&self.neighbours.own)
                && status.next_operator.is_none()
                && !status.conditions.is_empty()
        })
    }

    /// Says of a cluster that it is looked after, and by whom, before anything is done for it: no other installation then does anything for
    /// it, and who waits for it by its conditions takes it neither for ready nor for one that nobody has seen.
    pub(super) async fn claim(
        &self,
        state: &Cluster,
        cluster: MemgraphCluster,
    ) -> Result<Claim, ReconcileError> {
        if self.is_ours(&cluster) {
            return Ok(Claim::Ours(Box::new(cluster)));
        }
        if let Some(why) = state.unfit_definition() {
            return Ok(Claim::Unfit(Box::new(cluster), why));
        }
        let status = status::claimed(&cluster, &self.neighbours.own, &Time(self.wall.now()));
        match self.write(state, &cluster, &status).await {
            Ok(written) => Ok(Claim::Ours(Box::new(state.newest(written)))),
            // Somebody was faster, or the cache is behind.
            Err(ReconcileError::Status(StatusError::Conflict { .. })) => {
                let live = self.read(state, &cluster).await?;
                Ok(match live.uid() == cluster.uid() && self.is_ours(&live) {
                    true => Claim::Ours(Box::new(live)),
                    false => Claim::Unclear,
                })
            }
            Err(ReconcileError::Status(error @ StatusError::Unfit { .. })) => {
                let live = self.note_unfit(state, &cluster, &error).await?;
                Ok(Claim::Unfit(Box::new(live), error.to_string()))
            }
            Err(error) => Err(error),
        }
    }

    /// Leaves a cluster to the other installation that looks after it, for as long as there is one.
    pub(super) async fn leave(&self, cluster: &MemgraphCluster, other: &str) -> Requeue {
        let uid = cluster.uid().unwrap_or_default();
        if self.clusters.forget(&uid) {
            self.fence.link().forget(&uid);
            tracing::warn!(cluster = %cluster.name_any(), other, "another installation looks after the cluster from now on");
        }
        if cluster.metadata.deletion_timestamp.is_some() {
            return Requeue::await_change();
        }
        let status = cluster.status.clone().unwrap_or_default();
        let announced = status.next_operator.as_ref() == Some(&self.neighbours.own);
        let client = self.lanes.ordinary();
        let since = announced.then(Instant::now);
        let sight = self.neighbours.look(client, other, since).await;
        match &sight {
            Sight::Lease(Stands::Vacant) => return self.take_over(cluster, other, status, announced).await,
            Sight::Lease(Stands::Held) => self.tell_left(cluster, other, None).await,
            Sight::Unreadable(why) => self.tell_left(cluster, other, Some(why)).await,
            Sight::Lease(Stands::Still) | Sight::Unread => {}
        }
        Requeue::requeue(sight.lasts())
    }

    /// One of two steps; see the head of this file.
    async fn take_over(
        &self,
        cluster: &MemgraphCluster,
        other: &str,
        status: MemgraphClusterStatus,
        announced: bool,
    ) -> Requeue {
        // Of two that would each undo the other's first step again and again, one mostly waits.
        if !announced && status.next_operator.is_some() && fastrand::u8(..8) > 0 {
            return Requeue::requeue(LOOK_SOON);
        }
        let own = self.neighbours.own.clone();
        let next = match announced {
            false => MemgraphClusterStatus {
                next_operator: Some(own),
                ..status
            },
            true => MemgraphClusterStatus {
                operator: Some(own),
                next_operator: None,
                ..status
            },
        };
        match status::write(self.lanes.ordinary(), cluster, &next).await {
            Ok(_) => {
                if announced {
                    let name = cluster.name_any();
                    tracing::warn!(cluster = %name, other, "nobody holds the Lease of the installation that looked after the cluster: it is taken over");
                    let own = &self.neighbours.own;
                    self.events
                        .taken_over(self.lanes.ordinary(), cluster, (own, other))
                        .await;
                }
                Requeue::requeue(WORKING)
            }
            // Somebody was faster, or the cache is behind.
            Err(StatusError::Conflict { .. }) => Requeue::requeue(LOOK_SOON),
            Err(error) => {
                let (cluster, error) = (cluster.name_any(), super::chain(&error));
                tracing::warn!(%cluster, other, error, "the cluster is not taken over yet");
                Requeue::requeue(LOOK_EVERY)
            }
        }
    }

    /// Says, and again each hour, that this installation leaves a cluster to another one; `unread`: why it is not known whether that one runs.
    async fn tell_left(&self, cluster: &MemgraphCluster, other: &str, unread: Option<&str>) {
        let uid = cluster.uid().unwrap_or_default();
        let news = (&*uid, other, if unread.is_some() { "unread" } else { "held" });
        let there = || {
            self.cached
                .state()
                .into_iter()
                .filter_map(|cluster| cluster.uid())
        };
        if !self.neighbours.is_news(news, self.cached.len(), there) {
            return;
        }
        let own = &self.neighbours.own;
        let name = cluster.name_any();
        tracing::warn!(cluster = %name, other, unread, "another installation of the operator looks after the cluster, which is left alone");
        self.events
            .left(self.lanes.ordinary(), cluster, (own, other), unread)
            .await;
    }
}
