//! The gateway: leads clients by raw TCP to the instance that may serve them, and is the fence in front of a
//! MAIN that is deposed.
//!
//! ```text
//! Kubernetes API --follow--> view (what counts) --> routes (what follows) --enforce--> gate <-- session
//!                                                                             |                  ^
//!                                                          /route: what holds <                accept
//! ```
//!
//! `routes` and `view` are pure. `gate` holds the proof that a fenced route passes no byte any more.

mod accept;
mod answers;
mod descriptors;
mod enforce;
mod follow;
mod gate;
mod limit;
mod relay;
mod routes;
mod session;
mod socket;
mod view;

#[cfg(test)]
mod tests;

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use kube::{Api, Client};
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
    sync::watch,
    task::JoinSet,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{info, warn};

use self::{accept::Door, answers::Answers};
pub use self::{
    enforce::{RouteReport, RouteState, enforce},
    follow::{Findings, follow},
    gate::{Gate, Port, SessionCounts, Ticket},
    limit::Permit,
    routes::{Duty, Limits, Preference, ReadOffer, Routes, Standing, Target},
};
use crate::{
    api::{
        MemgraphCluster,
        names::{BOLT_PORT, GATEWAY_READ_PORT, HTTP_PORT},
    },
    http,
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
    /// Where to listen.
    pub addresses: Addresses,
    /// How long sessions may go on after SIGTERM.
    pub drain: Duration,
}

/// Where the gateway listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Addresses {
    /// For sessions to MAIN.
    pub read_write: SocketAddr,
    /// For sessions to replicas.
    pub read: SocketAddr,
    /// For health checks and the operator.
    pub http: SocketAddr,
}

impl Default for Addresses {
    fn default() -> Self {
        let any = |port| SocketAddr::from((Ipv4Addr::UNSPECIFIED, port));
        Self {
            read_write: any(BOLT_PORT),
            read: any(GATEWAY_READ_PORT),
            http: any(HTTP_PORT),
        }
    }
}

/// The default of [`GatewayConfig::drain`]. A pod's terminationGracePeriodSeconds must be longer.
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
    /// The end could not be asked for.
    #[error("cannot wait for the signals SIGTERM and SIGINT")]
    Signals(#[source] io::Error),
    /// A part that runs for ever has stopped, so that nothing can be relied on any more.
    #[error("the gateway's {0} has stopped; the log says why, and a restart is the remedy")]
    PartStopped(&'static str),
}

/// Runs the gateway until SIGTERM or SIGINT, and then until its sessions have ended or were cut.
///
/// # Errors
///
/// Fails when an address cannot be listened on, and when a part of the gateway breaks. Every session is reset
/// then as the process ends.
pub async fn run(config: GatewayConfig) -> Result<(), GatewayError> {
    let stop = CancellationToken::new();
    let mut terminate = signal(SignalKind::terminate()).map_err(GatewayError::Signals)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(GatewayError::Signals)?;
    descriptors::raise_limit();
    let gateway = Gateway::listen(&config.addresses, config.drain).await?;
    info!(namespace = config.namespace, cluster = config.cluster, addresses = ?config.addresses, "gateway is listening");

    let (routes, wanted) = watch::channel(Routes::default());
    let (trouble, reported_trouble) = watch::channel(None);
    let clusters: Api<MemgraphCluster> = Api::namespaced(config.client, &config.namespace);
    let following = follow(clusters, &config.cluster, Findings { routes, trouble });
    let serving = gateway.serve(wanted, reported_trouble, stop.clone());
    let signalled = async {
        tokio::select! {
            _ = terminate.recv() => info!("SIGTERM"),
            _ = interrupt.recv() => info!("SIGINT"),
        }
        stop.cancel();
        // What follows is told by `serving`.
        std::future::pending::<()>().await;
    };
    tokio::select! {
        served = serving => served,
        () = following => Err(GatewayError::PartStopped("watch of the MemgraphCluster")),
        () = signalled => Err(GatewayError::PartStopped("wait for signals")),
    }
}

/// A gateway that listens.
struct Gateway {
    read_write: TcpListener,
    read: TcpListener,
    http: TcpListener,
    drain: Duration,
}

impl Gateway {
    async fn listen(addresses: &Addresses, drain: Duration) -> Result<Self, GatewayError> {
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
        } = *addresses;
        Ok(Self {
            read_write: socket::listen(read_write).map_err(failed("sessions to MAIN", read_write))?,
            read: socket::listen(read).map_err(failed("sessions to replicas", read))?,
            http: http::listen(http).await.map_err(failed("HTTP", http))?,
            drain,
        })
    }

    /// Serves the wanted routes until `stop`, then takes no new session, and lets those that there are go on for
    /// a while. Changed routes are enforced to the very end.
    async fn serve(
        self,
        wanted: watch::Receiver<Routes>,
        trouble: watch::Receiver<Option<String>>,
        stop: CancellationToken,
    ) -> Result<(), GatewayError> {
        let gate = Arc::new(Gate::default());
        let sessions = TaskTracker::new();
        let (publish, enforced) = watch::channel(Routes::default());

        let mut enforcing = tokio::spawn(enforce(Arc::clone(&gate), wanted, publish));
        let answers = Answers {
            enforced,
            gate: Arc::clone(&gate),
            trouble,
            closing: stop.clone(),
        };
        let stop_answers = CancellationToken::new();
        let mut answering = tokio::spawn(http::serve(self.http, answers.filter(), stop_answers.clone()));
        let mut accepting = JoinSet::new();
        for (port, listener) in [(Port::ReadWrite, self.read_write), (Port::Read, self.read)] {
            let door = Door {
                port,
                gate: Arc::clone(&gate),
                sessions: sessions.clone(),
            };
            accepting.spawn(door.accept(listener, stop.clone()));
        }

        tokio::select! {
            biased;
            () = stop.cancelled() => {}
            _ = &mut enforcing => return Err(GatewayError::PartStopped("enforcement of routes")),
            _ = &mut answering => return Err(GatewayError::PartStopped("HTTP server")),
            _ = accepting.join_next() => return Err(GatewayError::PartStopped("listener for sessions")),
        }

        while accepting.join_next().await.is_some() {}
        sessions.close();
        info!(sessions = sessions.len(), grace = ?self.drain, "taking no more sessions; waiting for these to end");
        if tokio::time::timeout(self.drain, sessions.wait()).await.is_err() {
            warn!(sessions = sessions.len(), "cutting the sessions that are left");
        }
        // The enforcer must not open anything behind this cut. Sessions that it was cutting end by themselves.
        enforcing.abort();
        let _aborted = enforcing.await;
        gate.cut_all_but(&Routes::default()).await;
        sessions.wait().await;
        stop_answers.cancel();
        let _finished = answering.await;
        info!("gateway has ended");
        Ok(())
    }
}
