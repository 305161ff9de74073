//! Waits until no gateway leads to an old MAIN any more.
//!
//! A gateway answers on `/route` what it *enforces*: a closed term only after every session of an older one is
//! cut and no byte of it can still be passed on. A gateway pod that starts later reads the ledger after it was
//! written closed, by a consistent list, and so never leads to the old MAIN.

use std::{net::IpAddr, time::Duration};

use futures::future::join_all;
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use kube::{Api, Client, ResourceExt, api::ListParams};
use tokio::time::Instant;

use super::link::{GatewayLink, Unasked};
use crate::api::{ledger::Route, names};

/// For how long gateways may take to cut their sessions before the operation is tried again.
const DEADLINE: Duration = Duration::from_secs(5);
/// How often a gateway that has not acknowledged yet is asked.
const ASK_EVERY: Duration = Duration::from_millis(10);
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
    /// A gateway may still lead to the old MAIN.
    #[error("the gateway {pod} has not confirmed that it cut the sessions of older terms ({last})")]
    Unconfirmed {
        /// Its pod.
        pod: String,
        /// Its last answer.
        last: String,
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

    /// Waits until every gateway of this cluster enforces `term` as closed.
    pub(super) async fn stand(
        &self,
        client: &Client,
        namespace: &str,
        cluster: &str,
        uid: &str,
        term: i64,
    ) -> Result<(), FenceError> {
        let deadline = Instant::now() + DEADLINE;
        let gateways = gateways(client, namespace, cluster).await?;
        let waits = gateways
            .into_iter()
            .map(|gateway| self.confirmation(gateway, uid, term, deadline));
        join_all(waits).await.into_iter().collect()
    }

    /// Whether every gateway of this cluster answers, so that a fence would stand now. To be asked before a route is
    /// closed without need.
    pub(super) async fn reach(
        &self,
        client: &Client,
        namespace: &str,
        cluster: &str,
    ) -> Result<(), FenceError> {
        let asked = gateways(client, namespace, cluster)
            .await?
            .into_iter()
            .map(|gateway| async move {
                match self.link.ask(gateway.address, ANSWER_DEADLINE).await {
                    Ok(_) => Ok(()),
                    Err(Unasked::Refused) if !gateway.started => Ok(()),
                    Err(error) => Err(FenceError::Unreachable {
                        pod: gateway.pod,
                        last: error.to_string(),
                    }),
                }
            });
        join_all(asked).await.into_iter().collect()
    }

    async fn confirmation(
        &self,
        gateway: Gateway,
        uid: &str,
        term: i64,
        deadline: Instant,
    ) -> Result<(), FenceError> {
        let mut pause = tokio::time::interval(ASK_EVERY);
        let mut last = "no answer".to_owned();
        while Instant::now() < deadline {
            pause.tick().await;
            match self.link.ask(gateway.address, ANSWER_DEADLINE).await {
                Err(Unasked::Refused) if !gateway.started => return Ok(()),
                Ok(seen) => {
                    let ours = seen.uid.as_deref() == Some(uid);
                    if ours && seen.route == Route::Closed && seen.term == term {
                        return Ok(());
                    }
                    last = format!("it enforces {seen:?}");
                }
                Err(error) => last = error.to_string(),
            }
        }
        Err(FenceError::Unconfirmed {
            pod: gateway.pod,
            last,
        })
    }
}

/// The gateways that may carry sessions.
async fn gateways(client: &Client, namespace: &str, cluster: &str) -> Result<Vec<Gateway>, FenceError> {
    let selector = names::selector(cluster, names::GATEWAY);
    let selector: Vec<_> = selector
        .iter()
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    // A list without a resourceVersion is served by a quorum: it shows every pod made before now.
    let pods = Api::<Pod>::namespaced(client.clone(), namespace)
        .list(&ListParams::default().labels(&selector.join(",")))
        .await
        .map_err(|source| FenceError::List {
            cluster: cluster.to_owned(),
            source,
        })?;
    Ok(pods.iter().filter_map(Gateway::of).collect())
}

/// A gateway that may carry sessions.
struct Gateway {
    pod: String,
    address: IpAddr,
    /// Whether its container is known to run. One that is not may run all the same, because the pod's status
    /// comes late; but a gateway listens before it reads the ledger, so that one which refuses connections has
    /// not read it yet, and will read it closed.
    started: bool,
}

impl Gateway {
    fn of(pod: &Pod) -> Option<Self> {
        let status = pod.status.as_ref()?;
        if matches!(status.phase.as_deref(), Some("Succeeded" | "Failed")) {
            return None;
        }
        let containers = status.container_statuses.as_deref().unwrap_or_default();
        let running =
            |container: &ContainerStatus| container.state.as_ref().is_some_and(|s| s.running.is_some());
        Some(Self {
            pod: pod.name_any(),
            address: status.pod_ip.as_ref()?.parse().ok()?,
            started: containers.iter().any(running),
        })
    }
}
