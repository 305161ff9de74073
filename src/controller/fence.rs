//! Waits until no gateway leads to an old MAIN any more.
//!
//! A gateway answers what it *enforces*: a closed term only after every session of an older one is cut, or held, and no byte of
//! it can still be passed on. One that does not answer holds a grant that runs out by itself, and is waited for so long. One that
//! the ledger does not name has no grant (see [`grants`]).

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Mutex,
    time::Duration,
};

use futures::{FutureExt, StreamExt, stream::FuturesUnordered};
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use kube::{Api, Client, ResourceExt, api::ListParams};
use tokio::time::Instant;

use super::link::{GatewayLink, Unasked};
use crate::{
    api::{MemgraphCluster, ledger::Ledger, names},
    grants::{self, Fenced, Position, Request, VERSION},
};

/// How soon a gateway that has not confirmed yet is asked again.
const ASK_EVERY: Duration = Duration::from_millis(20);
/// How soon they are listed again where that has failed.
const LIST_AGAIN: Duration = Duration::from_millis(250);
/// For how long one answer is waited for.
const ANSWER_DEADLINE: Duration = Duration::from_secs(1);

/// Why a fence does not stand.
#[derive(Debug, thiserror::Error)]
pub enum FenceError {
    /// The gateways could not be listed.
    #[error("cannot list the gateways of {cluster}")]
    List {
        /// The cluster.
        cluster: String,
        /// Why not.
        source: kube::Error,
    },
    /// A gateway does not answer.
    #[error("the gateway {pod} does not answer ({last})")]
    Unreachable {
        /// Its pod.
        pod: String,
        /// What became of the question.
        last: String,
    },
    /// A gateway holds a grant of this term, which has had none yet, or knows a later one.
    #[error(
        "the gateway {pod} knows term {known}, and the ledger is in term {term}: it was put back to an older state"
    )]
    WentBack {
        /// Its pod.
        pod: String,
        /// The term that it knows.
        known: i64,
        /// The ledger's.
        term: i64,
    },
    /// The ledger is not what the fence was planned for.
    #[error("the ledger is not closed in term {term} any more")]
    NotClosed {
        /// The term that was planned for.
        term: i64,
    },
}

/// Cuts clients off from an old MAIN.
pub(super) struct Fence<G> {
    link: G,
}

impl<G: GatewayLink> Fence<G> {
    pub(super) fn new(link: G) -> Self {
        Self { link }
    }

    /// By which gateways are asked.
    pub(super) fn link(&self) -> &G {
        &self.link
    }

    /// Waits until every gateway that may hold a grant enforces `term` as closed, or can hold none any more.
    ///
    /// `known` are gateways as a cache has them, which are asked at once: who confirms as the pod that it was asked for has
    /// confirmed, wherever it is. All else is asked of gateways where the API server itself has them now: a list that no
    /// cache answers may take 100 ms (Kubernetes lets its own cache come up with what was written last).
    /// `closed_for`: for how long this process has known the route to be closed without a break, in whatever term.
    pub(super) async fn stand(
        &self,
        client: &Client,
        cluster: &MemgraphCluster,
        known: &[Gateway],
        term: i64,
        closed_for: Duration,
    ) -> Result<(), FenceError> {
        let begin = Instant::now();
        let ledger = ledger(cluster).filter(|ledger| ledger.term == term);
        let ledger = ledger.ok_or(FenceError::NotClosed { term })?;
        let ttl = ledger.grant_ttl.map(|ttl| ttl.0);
        let confirmed = Mutex::new(BTreeSet::new());
        let fenced = |confirmed: &Mutex<BTreeSet<String>>| {
            let confirmed = confirmed
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner);
            grants::stands(&ledger.gateways, &confirmed, ttl, closed_for + begin.elapsed())
        };
        if fenced(&confirmed) == Fenced::Yes {
            return Ok(());
        }
        let holders = || ledger.gateways.iter().map(|holder| &holder.pod_uid);
        let cached = known
            .iter()
            .filter(|gateway| holders().any(|uid| *uid == gateway.uid));
        let mut asking: FuturesUnordered<_> = cached
            .map(|gateway| self.confirmation(gateway.clone(), Shown::ByACache, cluster, ledger))
            .collect();
        let mut listing = std::pin::pin!(listed(client, cluster).fuse());
        let mut has_list = false;
        loop {
            let (silent, remaining) = match fenced(&confirmed) {
                Fenced::Yes => return Ok(()),
                Fenced::Waiting { silent, remaining } => (silent, remaining),
            };
            tokio::select! {
                biased;
                Some(uid) = asking.next() => {
                    confirmed.lock().unwrap_or_else(std::sync::PoisonError::into_inner).insert(uid?);
                }
                pods = &mut listing, if !has_list => {
                    has_list = true;
                    // One that runs where it was asked already has nothing else to say there.
                    let asked = |gateway: &Gateway| gateway.started && known.contains(gateway);
                    let others = holders().filter(|uid| silent.contains(*uid));
                    let others = others.filter_map(|uid| pods.get(uid)).filter(|gateway| !asked(gateway));
                    asking.extend(others.map(|gateway| {
                        self.confirmation(gateway.clone(), Shown::ByTheServer, cluster, ledger)
                    }));
                }
                () = tokio::time::sleep(remaining) => {
                    let cluster = cluster.name_any();
                    tracing::warn!(%cluster, ?silent, "gateways say nothing; what they may have held has run out");
                }
            }
        }
    }

    /// Whether every gateway that may hold a grant answers, so that a fence would stand at once. To be asked before a route
    /// is closed without need.
    pub(super) async fn reach(&self, client: &Client, cluster: &MemgraphCluster) -> Result<(), FenceError> {
        let Some(ledger) = ledger(cluster) else {
            return Ok(());
        };
        let pods = gateways(client, cluster).await?;
        for holder in &ledger.gateways {
            let gateway = pods.get(&holder.pod_uid).ok_or_else(|| FenceError::Unreachable {
                pod: holder.pod_uid.clone(),
                last: "its pod is gone, and what it held may not have run out yet".to_owned(),
            })?;
            match self.ask(gateway, cluster, ledger).await {
                Ok(_) => {}
                Err(Unasked::Refused) if !gateway.started => {}
                Err(error) => {
                    return Err(FenceError::Unreachable {
                        pod: gateway.pod.clone(),
                        last: error.to_string(),
                    });
                }
            }
        }
        Ok(())
    }

    /// Asks one gateway until it confirms.
    async fn confirmation(
        &self,
        gateway: Gateway,
        shown: Shown,
        cluster: &MemgraphCluster,
        ledger: &Ledger,
    ) -> Result<String, FenceError> {
        let uid = cluster.uid().unwrap_or_default();
        loop {
            match self.ask(&gateway, cluster, ledger).await {
                Err(Unasked::Refused) if !gateway.started && shown == Shown::ByTheServer => break,
                Ok(response)
                    if response.pod_uid == gateway.uid && response.report.confirms(&uid, ledger.term) =>
                {
                    break;
                }
                Ok(response) => {
                    // The first grant of a term comes after this, and no ledger is above this one.
                    let held = response.report.held_in(&uid).filter(|held| *held >= ledger.term);
                    let heard = response.report.term_of(&uid).filter(|heard| *heard > ledger.term);
                    if let Some(known) = held.max(heard) {
                        let (pod, term) = (gateway.pod, ledger.term);
                        return Err(FenceError::WentBack { pod, known, term });
                    }
                    tracing::debug!(gateway = gateway.pod, ?response, "not closed yet");
                }
                Err(error) => tracing::debug!(gateway = gateway.pod, %error, "not closed yet"),
            }
            tokio::time::sleep(ASK_EVERY).await;
        }
        Ok(gateway.uid)
    }

    async fn ask(
        &self,
        gateway: &Gateway,
        cluster: &MemgraphCluster,
        ledger: &Ledger,
    ) -> Result<grants::Response, Unasked> {
        let uid = cluster.uid().unwrap_or_default();
        let request = Request {
            version: VERSION,
            cluster: uid.clone(),
            position: Some(Position::of(ledger)),
            grant: None,
            voucher: None,
        };
        self.link
            .exchange(&uid, gateway.address, &request, ANSWER_DEADLINE)
            .await
    }
}

fn ledger(cluster: &MemgraphCluster) -> Option<&Ledger> {
    cluster.status.as_ref()?.ledger.as_ref()
}

/// The gateways that may carry sessions, by the UIDs of their pods.
async fn gateways(
    client: &Client,
    cluster: &MemgraphCluster,
) -> Result<BTreeMap<String, Gateway>, FenceError> {
    let selector = names::selector(&cluster.name_any(), names::GATEWAY);
    let selector: Vec<_> = selector
        .iter()
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    let namespace = cluster.namespace().unwrap_or_default();
    // A list without a resourceVersion is served by a quorum: it shows where each gateway is now.
    let pods = Api::<Pod>::namespaced(client.clone(), &namespace)
        .list(&ListParams::default().labels(&selector.join(",")))
        .await
        .map_err(|source| FenceError::List {
            cluster: cluster.name_any(),
            source,
        })?;
    let gateways = pods.iter().filter_map(Gateway::of);
    Ok(gateways.map(|gateway| (gateway.uid.clone(), gateway)).collect())
}

/// The same, however often it takes: those that are asked already need no list, nor does the end of what the others hold.
async fn listed(client: &Client, cluster: &MemgraphCluster) -> BTreeMap<String, Gateway> {
    let mut told = false;
    loop {
        match gateways(client, cluster).await {
            Ok(gateways) => return gateways,
            Err(error) if !told => {
                tracing::warn!(
                    error = super::chain(&error),
                    "the fence goes on without a list of the gateways"
                );
                told = true;
            }
            Err(error) => tracing::debug!(error = super::chain(&error), "still without a list"),
        }
        tokio::time::sleep(LIST_AGAIN).await;
    }
}

/// Who has shown where a gateway is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shown {
    /// It may be somewhere else by now, and somebody else there.
    ByACache,
    ByTheServer,
}

/// A gateway that may carry sessions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Gateway {
    pub(super) pod: String,
    pub(super) uid: String,
    pub(super) address: IpAddr,
    /// Whether its container is known to run. One that is not may run all the same, because the pod's status comes late; but
    /// a gateway listens for the operator for as long as it lives, so that one which refuses connections has no process, and
    /// the next one begins with nothing.
    started: bool,
}

impl Gateway {
    /// The gateway in this pod, if it has an address.
    pub(super) fn of(pod: &Pod) -> Option<Self> {
        let status = pod.status.as_ref()?;
        if matches!(status.phase.as_deref(), Some("Succeeded" | "Failed")) {
            return None;
        }
        let containers = status.container_statuses.as_deref().unwrap_or_default();
        let running =
            |container: &ContainerStatus| container.state.as_ref().is_some_and(|s| s.running.is_some());
        Some(Self {
            pod: pod.name_any(),
            uid: pod.uid()?,
            address: status.pod_ip.as_ref()?.parse().ok()?,
            started: containers.iter().any(running),
        })
    }
}
