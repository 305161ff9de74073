//! The gateway: leads clients by raw TCP to the instance that may serve them, and is the fence in front of a
//! MAIN that is deposed.
//!
//! ```text
//! Kubernetes API --follow--> view (what counts) --> keeper (what may be) --enforce--> gate <-- session
//!                                                     ^                      |                  ^
//!                            operator --> its question --> answer: what holds <               accept
//! ```
//!
//! `routes`, `view`, `unheard`, `leading`, `reach`, `access` and `rate` are pure. `proxied` reads whom a load balancer speaks for.
//! `probe` tries MAIN, so that the answers tell whether it is heard here; `patience` knows for how long clients have waited for it or said nothing,
//! and `turns` sees to it that each session has its turn. `silence` finds sessions that say nothing: they sleep in the `dormitory`, as
//! `sleeper`s.
//! `gate` holds the proof that a fenced route passes no byte any more, `clearance` that none passes after a grant has run
//! out, `flow` that none moves while bytes are held, `attestation` that MAIN's replicas still are replicas, and [`grants`](crate::grants) when that is.

mod accept;
mod access;
mod answers;
mod attestation;
pub mod certificate;
mod clearance;
mod descriptors;
mod dormitory;
mod ending;
mod enforce;
mod figures;
mod flow;
mod follow;
mod gate;
mod handshake;
mod hold;
mod instances;
mod keeper;
mod leading;
mod limit;
mod line;
mod patience;
mod peer;
mod probe;
mod proxied;
mod rate;
mod reach;
mod relay;
mod routes;
mod session;
mod silence;
mod sleeper;
mod socket;
mod statistics;
mod tls;
mod traffic;
mod turns;
mod unheard;
mod view;

#[cfg(test)]
mod tests;

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use futures::FutureExt;
use kube::{Api, Client};
use rustls::ServerConfig;
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
    sync::watch,
    task::JoinSet,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{error, info};

use self::{
    accept::Door,
    answers::Answers,
    certificate::Certificate,
    dormitory::{Dormitory, SLEEP_AFTER},
    figures::Sources,
    instances::Instances,
};
pub use self::{
    attestation::{Attestation, Dial, TcpDial, attest},
    clearance::{Clearance, Leave, Now},
    ending::{Grace, end_in_order},
    enforce::enforce,
    follow::{Findings, follow},
    gate::{Gate, Port},
    keeper::Keeper,
    limit::Permit,
    line::Ticket,
    probe::probe,
    rate::Rate,
    reach::Incident,
    routes::{Duty, Limits, Preference, ReadOffer, Routes, Standing, Target},
    statistics::{Direction, Ending, Refusal, Statistics},
    turns::runtime,
};
use crate::{
    api::{
        MemgraphCluster,
        names::{BOLT_PORT, CONTROL_PORT, GATEWAY_READ_PORT, HTTP_PORT},
    },
    control_channel::{self, Mounted},
    deadline::bounded,
    grants::Request,
    http,
    leader::BootClock,
    memgraph::Neo4rsBolt,
    metrics::ApiRequests,
    traces::Traces,
};

/// How the gateway is set up. What the user may choose stands in the `MemgraphCluster`.
#[derive(Clone)]
pub struct GatewayConfig {
    /// Access to the API server: `list` and `watch` of the one `MemgraphCluster`.
    pub client: Client,
    /// Namespace of the cluster.
    pub namespace: String,
    /// Name of the cluster.
    pub cluster: String,
    /// UID of the pod that this gateway runs in: grants are made out to it.
    pub pod_uid: String,
    /// The folder with the certificates of the control channel.
    pub certificates: PathBuf,
    /// The folder with the certificate by which clients know the gateway; none: TLS does not end here.
    pub tls: Option<PathBuf>,
    /// The file with the authorities of the instances' certificates, where TLS ends here and they have some.
    pub instances_ca: Option<PathBuf>,
    /// Where to listen.
    pub addresses: Addresses,
    /// How long sessions may go on after SIGTERM. New ones are taken for the first five seconds of it.
    pub drain: Duration,
    /// Where its part of each change of MAIN is told.
    pub traces: Traces,
}

/// Where the gateway listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Addresses {
    /// For sessions to MAIN.
    pub read_write: SocketAddr,
    /// For sessions to replicas.
    pub read: SocketAddr,
    /// For health checks.
    pub http: SocketAddr,
    /// For the operator.
    pub control: SocketAddr,
}

impl Default for Addresses {
    fn default() -> Self {
        let any = |port| SocketAddr::from((Ipv4Addr::UNSPECIFIED, port));
        Self {
            read_write: any(BOLT_PORT),
            read: any(GATEWAY_READ_PORT),
            http: any(HTTP_PORT),
            control: any(CONTROL_PORT),
        }
    }
}

/// The default of [`GatewayConfig::drain`]. A pod's terminationGracePeriodSeconds must be longer by
/// [`LONGEST_TTL`](crate::grants::LONGEST_TTL) and a moment.
pub const DEFAULT_DRAIN: Duration = Duration::from_secs(20);

/// Why the gateway ended.
#[derive(Debug, thiserror::Error)]
pub enum GatewayError {
    /// Nothing can be accepted.
    #[error("cannot listen on {address} for {purpose}; choose an address of this host that is free")]
    Listen {
        /// What the address is for.
        purpose: &'static str,
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// Sessions that sleep could not be woken.
    #[error(
        "cannot make an epoll instance; raise the limits of open files and of inotify and epoll users on the node"
    )]
    Epoll(#[source] io::Error),
    /// The end could not be asked for.
    #[error("cannot wait for the signals SIGTERM and SIGINT")]
    Signals(#[source] io::Error),
    /// A part that runs for ever has stopped, so that nothing can be relied on any more.
    #[error("the gateway's {0} has stopped; the log says why, and a restart is the remedy")]
    PartStopped(&'static str),
}

/// Runs the gateway until SIGTERM or SIGINT, and then until its sessions have ended or were cut, and for the time of one more grant.
///
/// # Errors
///
/// Fails when an address cannot be listened on, and when a part of the gateway breaks. Every session is reset
/// then as the process ends.
pub async fn run(config: GatewayConfig) -> Result<(), GatewayError> {
    let stop = CancellationToken::new();
    let mut terminate = signal(SignalKind::terminate()).map_err(GatewayError::Signals)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(GatewayError::Signals)?;
    let signalled = async {
        tokio::select! {
            _ = terminate.recv() => info!("SIGTERM"),
            _ = interrupt.recv() => info!("SIGINT"),
        }
        stop.cancel();
        // What follows is told by the gateway itself.
        std::future::pending::<()>().await;
    };
    tokio::select! {
        served = run_until(config, stop.clone()) => served,
        () = signalled => Err(GatewayError::PartStopped("wait for signals")),
    }
}

/// Runs the gateway until `stop`, and then to its end in order.
///
/// # Errors
///
/// As [`run`].
pub(crate) async fn run_until(config: GatewayConfig, stop: CancellationToken) -> Result<(), GatewayError> {
    descriptors::raise_limit();
    let termination = config
        .tls
        .as_ref()
        .map(|_| Termination::new(&config.namespace, &config.cluster));
    let gateway = Gateway::listen(&config.addresses, Grace::of(config.drain), termination.clone()).await?;
    info!(namespace = config.namespace, cluster = config.cluster, addresses = ?config.addresses, "gateway is listening");

    let (routes, view) = watch::channel(Routes::default());
    let (trouble, reported_trouble) = watch::channel(None);
    let (found, certificates) = watch::channel(None);
    let requests = ApiRequests::default();
    // A watch that was asked of an API server which has vanished comes to nothing by itself, after a quarter of an hour or never.
    let client = requests.counted(bounded(config.client));
    let clusters: Api<MemgraphCluster> = Api::namespaced(client, &config.namespace);
    let following = follow(clusters.clone(), &config.cluster, Findings { routes, trouble });
    let keeper = Keeper::new(BootClock, config.pod_uid, fastrand::u64(..));
    let keeping = keeper.keep(view, clusters, &config.cluster);
    let probing = probe(Arc::clone(&keeper), Neo4rsBolt::anonymous());
    let attesting = attest(Arc::clone(&keeper), TcpDial);
    let reading = Mounted::new(&config.certificates).follow(found);
    let showing = async {
        match (&termination, config.tls) {
            (Some(termination), Some(folder)) => termination.certificate.follow(&folder).await,
            _ => std::future::pending().await,
        }
    };
    let trusting = async {
        match (&termination, config.instances_ca) {
            (Some(termination), Some(file)) => termination.instances.follow(&file).await,
            _ => std::future::pending().await,
        }
    };
    let from_outside = FromOutside {
        trouble: reported_trouble,
        certificates,
    };
    let figures = gateway.figures(&config.namespace, &config.cluster, requests);
    let serving = gateway.serve(Arc::clone(&keeper), from_outside, figures, config.traces, stop);
    tokio::select! {
        served = serving => served,
        () = following => Err(GatewayError::PartStopped("watch of the MemgraphCluster")),
        () = keeping => Err(GatewayError::PartStopped("care for its grant")),
        () = probing => Err(GatewayError::PartStopped("look at MAIN")),
        () = attesting => Err(GatewayError::PartStopped("look at MAIN's replicas")),
        () = reading => Err(GatewayError::PartStopped("look at its certificates")),
        () = showing => Err(GatewayError::PartStopped("look at its certificate for clients")),
        () = trusting => Err(GatewayError::PartStopped("look at the authorities of instances")),
    }
}

/// A gateway that listens.
struct Gateway {
    read_write: TcpListener,
    read: TcpListener,
    http: TcpListener,
    control: TcpListener,
    grace: Grace,
    read_write_statistics: Arc<Statistics>,
    read_statistics: Arc<Statistics>,
    termination: Option<Termination>,
    dormitory: Dormitory,
}

/// What it takes that TLS ends here.
#[derive(Clone, Debug)]
struct Termination {
    /// By which clients know the gateway.
    certificate: Arc<Certificate>,
    /// By what it knows the instances.
    instances: Arc<Instances>,
}

impl Termination {
    /// With no certificate yet, that of a gateway of this cluster.
    fn new(namespace: &str, cluster: &str) -> Self {
        Self {
            certificate: Arc::default(),
            instances: Arc::new(Instances::new(namespace, cluster)),
        }
    }
}

/// What a gateway is told by others than operators and clients.
struct FromOutside {
    /// Why the API server cannot be read at the moment, if so.
    trouble: watch::Receiver<Option<String>>,
    /// Who it is to operators.
    certificates: watch::Receiver<Option<Arc<ServerConfig>>>,
}

impl Gateway {
    async fn listen(
        addresses: &Addresses,
        grace: Grace,
        termination: Option<Termination>,
    ) -> Result<Self, GatewayError> {
        let failed = |purpose, address| {
            move |source| GatewayError::Listen {
                purpose,
                address,
                source,
            }
        };
        let Addresses {
            read_write,
            read,
            http,
            control,
        } = *addresses;
        Ok(Self {
            read_write: socket::listen_for_sessions(read_write)
                .map_err(failed("sessions to MAIN", read_write))?,
            read: socket::listen_for_sessions(read).map_err(failed("sessions to replicas", read))?,
            http: http::listen(http).await.map_err(failed("HTTP", http))?,
            control: socket::listen(control).map_err(failed("the operator", control))?,
            grace,
            read_write_statistics: Arc::new(Statistics::new(Port::ReadWrite)),
            read_statistics: Arc::new(Statistics::new(Port::Read)),
            termination,
            dormitory: Dormitory::new(SLEEP_AFTER).map_err(GatewayError::Epoll)?,
        })
    }

    /// What is told of this gateway, which belongs to the cluster of this name.
    fn figures(&self, namespace: &str, cluster: &str, requests: ApiRequests) -> Sources {
        Sources {
            namespace: namespace.to_owned(),
            cluster: cluster.to_owned(),
            requests,
            read_write: Arc::clone(&self.read_write_statistics),
            read: Arc::clone(&self.read_statistics),
            certificate: self.certificate(),
        }
    }

    fn certificate(&self) -> Option<Arc<Certificate>> {
        let termination = self.termination.as_ref()?;
        Some(Arc::clone(&termination.certificate))
    }

    /// Serves what `keeper` wants until `stop`, then for a while as one that is not ready, and lets those sessions that there are
    /// then go on for a while. Changed routes are enforced, and operators answered, to the very end.
    async fn serve(
        self,
        keeper: Arc<Keeper>,
        from_outside: FromOutside,
        figures: Sources,
        traces: Traces,
        stop: CancellationToken,
    ) -> Result<(), GatewayError> {
        let certificate = self.certificate();
        let gate = Gate::new(Arc::clone(&keeper)).with_dormitory(self.dormitory);
        let gate = Arc::new(match &self.termination {
            Some(termination) => gate.encrypting(Arc::clone(&termination.instances)),
            None => gate,
        });
        let sessions = TaskTracker::new();
        let (publish, enforced) = watch::channel(Routes::default());

        let mut enforcing = tokio::spawn(enforce(Arc::clone(&gate), keeper.wanted(), publish, traces));
        let mut finding_idle = tokio::spawn({
            let gate = Arc::clone(&gate);
            async move { silence::find_idle(&gate).await }
        });
        let mut tending = tokio::spawn({
            let gate = Arc::clone(&gate);
            async move { silence::tend_sleepers(&gate).await }
        });
        let stop_answers = CancellationToken::new();
        let mut controlled = tokio::spawn(control_channel::serve(
            self.control,
            from_outside.certificates,
            answer(&keeper, &gate, &enforced),
            stop_answers.clone(),
        ));
        let answers = Answers {
            enforced,
            gate: Arc::clone(&gate),
            keeper: Arc::clone(&keeper),
            trouble: from_outside.trouble,
            figures,
            closing: stop.clone(),
        };
        let mut answering = tokio::spawn(http::serve(self.http, answers.filter(), stop_answers.clone()));
        let shut = CancellationToken::new();
        let mut accepting = JoinSet::new();
        for (port, listener, statistics) in [
            (Port::ReadWrite, self.read_write, self.read_write_statistics),
            (Port::Read, self.read, self.read_statistics),
        ] {
            let certificate = certificate.clone();
            let door = Door::new(port, Arc::clone(&gate), statistics, sessions.clone(), certificate);
            accepting.spawn(door.accept(listener, shut.clone()));
        }

        tokio::select! {
            biased;
            () = stop.cancelled() => {}
            _ = &mut enforcing => return Err(GatewayError::PartStopped("enforcement of routes")),
            _ = &mut finding_idle => return Err(GatewayError::PartStopped("look for idle sessions")),
            tended = &mut tending => {
                error!(?tended, "sessions that sleep cannot be woken");
                return Err(GatewayError::PartStopped("care for sessions that sleep"));
            }
            _ = &mut answering => return Err(GatewayError::PartStopped("HTTP server")),
            _ = &mut controlled => return Err(GatewayError::PartStopped("end of the control channel")),
            _ = accepting.join_next() => return Err(GatewayError::PartStopped("listener for sessions")),
        }

        let closing_doors = async {
            shut.cancel();
            while accepting.join_next().await.is_some() {}
        };
        end_in_order(&gate, &keeper, &sessions, closing_doors, self.grace).await;
        enforcing.abort();
        finding_idle.abort();
        tending.abort();
        stop_answers.cancel();
        let _finished = answering.await;
        let _finished = controlled.await;
        info!("gateway has ended");
        Ok(())
    }
}

/// What answers operators.
fn answer(
    keeper: &Arc<Keeper>,
    gate: &Arc<Gate>,
    enforced: &watch::Receiver<Routes>,
) -> control_channel::Answer {
    let (keeper, gate, enforced) = (Arc::clone(keeper), Arc::clone(gate), enforced.clone());
    Arc::new(move |request: Request| {
        let (keeper, gate, enforced) = (Arc::clone(&keeper), Arc::clone(&gate), enforced.clone());
        async move { keeper.answer(&request, &gate, &enforced).await }.boxed()
    })
}
