//! The operator: watches clusters and brings each to what its spec asks for.

mod access;
mod act;
mod certificates;
mod claims;
mod clusters;
mod connections;
mod custody;
mod equipment;
mod events;
mod execute;
mod fence;
mod furnish;
mod gateway_certificate;
mod grants;
mod hibernation;
mod image;
mod inheritance;
mod interval;
mod lanes;
mod lease;
mod license;
mod link;
mod lookout;
mod neighbours;
mod objects;
mod observe;
mod obstacle;
mod packed;
mod presence;
mod reconcile;
mod settings;
mod sightings;
mod snapshots;
mod status;
mod stores;
mod tell;
#[cfg(test)]
pub(crate) mod tests;
mod trial;
mod usage;
mod volumes;
mod vouch;
mod wall;
mod withdraw;
mod writers;

use std::{
    net::SocketAddr,
    path::PathBuf,
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures::{FutureExt, Stream, StreamExt, future::BoxFuture, stream};
use jiff::Timestamp;
use kube::{
    Client, ResourceExt,
    runtime::{
        Controller, WatchStreamExt,
        controller::{Action as Requeue, Config},
        reflector::{self, ObjectRef, Store, reflector},
        watcher,
    },
};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::mpsc::{UnboundedReceiver, unbounded_channel},
    time::Instant,
};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use clusters::{Cluster, Clusters};
use events::Events;
use fence::Fence;
pub use interval::{InvalidInterval, ReconcileInterval};
use lanes::Lanes;
pub use lanes::RequestRate;
use lease::Watched;
pub use link::{Acquaintance, GatewayLink, Unasked, Unprepared};
use neighbours::Neighbours;
use observe::Inventory;
use reconcile::{ReconcileError, reconcile};
use sightings::Target;
use stores::{Pokes, Stores};
use wall::Wall;

use crate::{
    api::MemgraphCluster,
    control_channel::TlsLink,
    deadline::bounded,
    fleet::{Eyes, Fleet, Live, Vitals},
    http,
    leader::{self, Campaign, KubernetesLease, Leadership, OwnProcess, Process, Timing, guarded},
    memgraph::{Bolt, Led, Pool, SignedIn},
    metrics::ApiRequests,
    resources::{Installation, OperatorImage, OperatorPods},
    scope::{Scope, watch_clusters},
    traces::Traces,
};

/// How soon a step is tried again that failed for the first time.
const RETRY_FIRST: Duration = Duration::from_millis(50);
/// How soon a step is tried again that has failed many times.
const RETRY_LAST: Duration = Duration::from_secs(5);
/// For how long steps that are under way may go on after the end was asked for. The next leader waits for them.
const LAST_STEPS: Duration = Duration::from_millis(500);

/// What the operator is started with.
#[derive(Clone, Debug)]
pub struct OperatorConfig {
    /// The namespaces whose clusters it looks after.
    pub scope: Scope,
    /// The operator's own image, which gateways and init containers run too.
    pub image: OperatorImage,
    /// The DNS domain of the Kubernetes cluster, such as `cluster.local`.
    pub cluster_domain: String,
    /// Where health checks are answered.
    pub http: SocketAddr,
    /// How many requests are sent to the API server for the clusters, and as many again for those whose clients wait. None: as many
    /// as there are.
    pub requests: Option<RequestRate>,
    /// When a cluster is looked at again that is as it should be, and of which nothing has changed: Secrets that it names, for
    /// example, are not watched.
    pub interval: ReconcileInterval,
    /// By what it is decided which of several operator processes acts.
    pub election: Election,
    /// The pods of all operator processes: gateways go on without the API server for as long as all of them vouch for it.
    pub pods: OperatorPods,
    /// Where a process keeps what the one needs that takes its place: a folder that outlives the process and not the pod,
    /// since the keys to the gateways are in there. None: it is not kept.
    pub keepsakes: Option<PathBuf>,
    /// Where traces are sent to, by gateways too. None: nowhere.
    pub collector: Option<String>,
    /// Where this process tells of each change of MAIN.
    pub traces: Traces,
}

/// How this process takes part in the election of the one that acts.
#[derive(Clone, Debug)]
pub struct Election {
    /// Namespace of the Lease.
    pub namespace: String,
    /// Name of the Lease.
    pub lease: String,
    /// What people know this process by, such as the name of its pod.
    pub name: String,
    /// How leadership is timed.
    pub timing: Timing,
}

impl Election {
    /// What this installation is known by to others: all processes with the same Lease are one.
    fn installation(&self) -> String {
        format!("{}/{}", self.namespace, self.lease)
    }

    /// What no other process has ever campaigned as, nor will.
    fn identity(&self) -> String {
        format!("{}_{:016x}", self.name, fastrand::u64(..))
    }
}

/// Why the operator ended.
#[derive(Debug, thiserror::Error)]
pub enum OperatorError {
    /// A cache was given up.
    #[error("a watch of the API server has stopped; the log says why, and a restart is the remedy")]
    Watch(#[from] kube::runtime::reflector::store::WriterDropped),
    /// Health checks cannot be answered.
    #[error("cannot listen on {address} for HTTP; choose an address of this host that is free")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// The thread that ends a process which does not lead any more could not be started.
    #[error("cannot start the thread that watches over leadership; the system is out of threads or memory")]
    Watchdog(#[source] std::io::Error),
    /// The end could not be asked for.
    #[error("cannot wait for the signal SIGTERM")]
    Signals(#[source] std::io::Error),
}

/// What all reconciliations share.
pub struct Operator<B: Bolt, G> {
    lanes: Lanes,
    led: Led<B>,
    /// Connections to instances that have users.
    pool: Arc<Pool<<Led<B> as Bolt>::Session>>,
    leadership: Leadership,
    fence: Fence<G>,
    events: Events,
    stores: Stores,
    cached: Store<MemgraphCluster>,
    clusters: Clusters,
    neighbours: Neighbours,
    pokes: Pokes,
    installation: Installation,
    cluster_domain: String,
    /// What the gateways know this process by.
    name: String,
    wall: Wall,
    vitals: Arc<Vitals>,
    traces: Traces,
    /// How long a cluster is left alone that is as it should be.
    interval: Duration,
}

impl<B: Bolt, G: GatewayLink> Eyes for Operator<B, G> {
    fn live(&self, uid: &str) -> BoxFuture<'_, Option<Live>> {
        let known = self.clusters.with_uid(uid);
        async move {
            let known = known?;
            let ledger = known.ledger().flatten();
            Some(
                known
                    .live(ledger.as_ref().map(|ledger| ledger.main.instance.as_str()))
                    .await,
            )
        }
        .boxed()
    }
}

/// How an operator reaches the world, and what it runs in.
pub struct Means<B, G, P> {
    /// The API server.
    pub client: Client,
    /// The instances.
    pub bolt: B,
    /// The gateways.
    pub gateways: G,
    /// What it runs in.
    pub process: P,
}

impl<B: Bolt, G: GatewayLink> Operator<B, G> {
    fn new<P>(
        means: Means<B, G, P>,
        leadership: Leadership,
        config: OperatorConfig,
        stores: Stores,
        cached: Store<MemgraphCluster>,
        pokes: Pokes,
        vitals: Arc<Vitals>,
    ) -> Self {
        // Who has waited for long may not lead any more.
        let client = guarded(means.client, leadership.clone());
        Self {
            led: Led::new(means.bolt, leadership.clone()),
            pool: Arc::default(),
            leadership,
            fence: Fence::new(means.gateways),
            events: Events::default(),
            stores,
            cached,
            clusters: Clusters::default(),
            neighbours: Neighbours::new(&config.election),
            pokes,
            installation: Installation {
                image: config.image,
                pods: config.pods,
                collector: config.collector,
            },
            cluster_domain: config.cluster_domain,
            name: config.election.name,
            wall: Wall::set(Timestamp::now()),
            lanes: Lanes::new(client, config.requests, &vitals),
            vitals,
            traces: config.traces,
            interval: config.interval.time(),
        }
    }

    fn inventory(&self, cluster: &MemgraphCluster) -> Inventory {
        self.stores
            .inventory(&cluster.namespace().unwrap_or_default(), &cluster.name_any())
    }

    /// The client for the instances of this cluster.
    fn bolt(&self, cluster: &Cluster) -> SignedIn<Led<B>> {
        SignedIn::new(self.led.clone(), cluster.wallet.keyring(), Arc::clone(&self.pool))
    }

    /// The instances to look at, each of which is spoken to as it takes it from now on.
    fn targets(&self, memory: &Cluster, cluster: &MemgraphCluster, inventory: &Inventory) -> Vec<Target> {
        let targets = inventory.targets(cluster);
        memory.certificates.guide(&self.led, cluster, &targets);
        targets
    }

    /// Has a cluster reconciled soon.
    fn poke(&self, cluster: ObjectRef<MemgraphCluster>) {
        // The receiver is gone only while the process ends.
        let _ = self.pokes.send(cluster);
    }
}

/// Runs the operator until SIGTERM or SIGINT.
///
/// # Errors
/// When health checks cannot be answered, or when a cache could not be filled.
pub async fn run<B: Bolt>(client: Client, bolt: B, config: OperatorConfig) -> Result<(), OperatorError> {
    let stop = CancellationToken::new();
    let mut terminate = signal(SignalKind::terminate()).map_err(OperatorError::Signals)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(OperatorError::Signals)?;
    let listener = http::listen(config.http)
        .await
        .map_err(|source| OperatorError::Listen {
            address: config.http,
            source,
        })?;
    let (vitals, requests) = (Arc::new(Vitals::default()), ApiRequests::default());
    let client = requests.counted(client);
    let installation = config.election.installation();
    let fleet = Fleet::new(
        config.election.name.clone(),
        installation,
        Arc::clone(&vitals),
        requests,
    );
    let following = AbortOnDropHandle::new(tokio::spawn({
        let (fleet, client, scope) = (Arc::clone(&fleet), bounded(client.clone()), config.scope.clone());
        async move { fleet.follow(&client, &scope).await }
    }));
    let answers = tokio::spawn(http::serve(listener, fleet.filter(), stop.clone()));
    let asked = stop.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        asked.cancel();
    });
    if std::env::var_os(leader::STARTED_OVER).is_some() {
        tracing::error!("this process did not lead any more, and has started over");
    }
    let means = Means {
        client,
        bolt,
        gateways: TlsLink::default().keeping(config.keepsakes.clone()),
        process: OwnProcess,
    };
    let controlled = control(means, config, &vitals, &stop).await;
    stop.cancel();
    drop(following);
    if let Err(error) = answers.await {
        tracing::warn!(%error, "the HTTP server has broken");
    }
    controlled
}

/// Fills the caches, waits for leadership, and controls until `stop`; `vitals` tell how far it has come. Whatever it has
/// begun ends when it is dropped.
///
/// # Errors
/// When a cache could not be filled, or leadership cannot be watched over.
pub async fn control<B: Bolt, G: GatewayLink, P: Process>(
    means: Means<B, G, P>,
    config: OperatorConfig,
    vitals: &Arc<Vitals>,
    stop: &CancellationToken,
) -> Result<(), OperatorError> {
    let client = bounded(means.client);
    let process = means.process;
    let (pokes, mut poked) = unbounded_channel();
    let election = &config.election;
    let stores = Stores::start(&client, &config.scope, &config.pods, &pokes);
    let filled = AtomicBool::new(false);
    let vouching = Lanes::new(client.clone(), config.requests, vitals);
    let winning = async {
        stores.wait_until_ready().await?;
        filled.store(true, Ordering::Relaxed);
        vitals.set_ready();
        tracing::info!("the operator has started");
        let lease = KubernetesLease::new(client.clone(), &election.namespace, &election.lease);
        let lease = Watched::new(lease, Arc::clone(vitals));
        let campaign = Campaign::new(lease, process.clock(), election.timing, election.identity());
        Ok::<_, OperatorError>(campaign.win().await)
    };
    let leader = tokio::select! {
        biased;
        leader = winning => leader?,
        // Whoever leads first looks at every cluster: what has changed before is of no interest.
        () = ignore(&mut poked) => return Ok(()),
        // It ends here for good: from now on this process may learn what it does not vouch for.
        () = vouch::vouch(&means.gateways, vouching.ordinary(), &stores, &filled, &election.name) => return Ok(()),
        () = stop.cancelled() => return Ok(()),
    };
    let record = leader.record();
    tracing::info!(
        holder = record.holder,
        transitions = record.transitions,
        "this process leads"
    );
    let dismiss = process
        .watch(leader.leadership(), stop.clone())
        .map_err(OperatorError::Watchdog)?;
    let over = CancellationToken::new();
    let (cached, writer) = reflector::store();
    let clusters = watch_clusters(config.scope.apis(&client), &watcher::Config::default());
    let controller = Controller::for_stream(reflector(writer, clusters).applied_objects(), cached.clone());
    let means = Means {
        process: (),
        client,
        bolt: means.bolt,
        gateways: means.gateways,
    };
    let operator = Arc::new(Operator::new(
        means,
        leader.leadership(),
        config,
        stores,
        cached,
        pokes,
        Arc::clone(vitals),
    ));
    let eyes: Weak<dyn Eyes> = Arc::<Operator<B, G>>::downgrade(&operator);
    vitals.lead(eyes);
    let acting = async {
        let ended = lead(controller, operator, poked, stop.clone());
        let overdue = async {
            stop.cancelled().await;
            tokio::time::sleep(LAST_STEPS).await;
        };
        tokio::select! {
            biased;
            () = ended => {}
            // What is broken off is taken up again by the next leader.
            () = overdue => tracing::info!("steps under way are broken off"),
        }
        dismiss();
        over.cancel();
    };
    let (held, ()) = tokio::join!(
        async {
            let held = leader.hold(over.clone()).await;
            if held.is_err() && !over.is_cancelled() {
                process.lost(stop.is_cancelled());
            }
            held
        },
        acting
    );
    if held.is_err() {
        tracing::info!("leadership had run out by the end");
    }
    Ok(())
}

async fn ignore<T>(received: &mut UnboundedReceiver<T>) {
    while received.recv().await.is_some() {}
}

/// Reconciles every cluster until `stop`, and ends what has been begun.
async fn lead<B: Bolt, G: GatewayLink>(
    controller: Controller<MemgraphCluster>,
    operator: Arc<Operator<B, G>>,
    poked: UnboundedReceiver<ObjectRef<MemgraphCluster>>,
    stop: CancellationToken,
) {
    controller
        // Clusters do not wait for each other, however many there are: each has one reconciliation at a time, most of which is waiting
        // for instances. What they ask of the API server is bounded by `Lanes`.
        .with_config(Config::default().concurrency(0))
        .reconcile_on(received(poked))
        .graceful_shutdown_on(stop.cancelled_owned())
        .run(reconcile_once, retry, operator)
        .for_each(|result| async move {
            if let Err(error) = result {
                tracing::debug!(error = chain(&error), "reconciliation ended with an error");
            }
        })
        .await;
}

/// One reconciliation, and how long it took.
async fn reconcile_once<B: Bolt, G: GatewayLink>(
    cluster: Arc<MemgraphCluster>,
    operator: Arc<Operator<B, G>>,
) -> Result<Requeue, ReconcileError> {
    let begun = Instant::now();
    let vitals = Arc::clone(&operator.vitals);
    let done = reconcile(cluster, operator).await;
    vitals.reconciled(begun.elapsed(), done.as_ref().err().map(ReconcileError::kind));
    done
}

fn received(
    pokes: UnboundedReceiver<ObjectRef<MemgraphCluster>>,
) -> impl Stream<Item = ObjectRef<MemgraphCluster>> {
    stream::unfold(
        pokes,
        |mut pokes| async move { Some((pokes.recv().await?, pokes)) },
    )
}

/// A step that failed is tried again soon, and ever less often while it goes on failing.
fn retry<B: Bolt, G: GatewayLink>(
    cluster: Arc<MemgraphCluster>,
    error: &ReconcileError,
    operator: Arc<Operator<B, G>>,
) -> Requeue {
    let (failures, longest) = operator
        .clusters
        .known(&cluster)
        .map_or((1, Duration::MAX), |known| known.failed());
    let delay = pause_after(failures - 1).min(longest);
    if failures.is_power_of_two() {
        let (name, error) = (cluster.name_any(), chain(error));
        tracing::warn!(cluster = %name, failures, error, "a step failed; it is tried again");
    }
    Requeue::requeue(delay)
}

/// How long after a failure it is tried again, by how many there were before it.
fn pause_after(failures: u32) -> Duration {
    RETRY_FIRST.saturating_mul(1 << failures.min(10)).min(RETRY_LAST)
}

/// An error with all its causes, in one line. A cause that has been told with the error is not told again.
#[must_use]
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let told = error.to_string();
        if !text.contains(&told) {
            text.push_str(": ");
            text.push_str(&told);
        }
        cause = error.source();
    }
    text
}
