//! Waits until no gateway leads to an old MAIN any more.
//!
//! A gateway answers on `/route` what it *enforces*: a closed term only after every session of an older one is
//! cut and no byte of it can still be passed on. A gateway pod that starts later reads the ledger after it was
//! written closed, by a consistent list, and so never leads to the old MAIN.

use std::{
    net::IpAddr,
    time::{Duration, Instant},
};

use futures::future::join_all;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Bytes;
use hyper_util::{
    client::legacy::{Client as HttpClient, connect::HttpConnector},
    rt::TokioExecutor,
};
use k8s_openapi::api::core::v1::Pod;
use kube::{Api, Client, ResourceExt, api::ListParams};
use serde::Deserialize;

use crate::api::{ledger::Route, names};

/// For how long gateways may take to cut their sessions before the operation is tried again.
const DEADLINE: Duration = Duration::from_secs(5);
/// How often a gateway that has not acknowledged yet is asked.
const ASK_EVERY: Duration = Duration::from_millis(10);
/// No honest answer is longer.
const ANSWER_LIMIT: usize = 64 * 1024;

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
    /// A gateway may still lead to the old MAIN.
    #[error("the gateway {pod} has not confirmed that it cut the sessions of older terms ({last})")]
    Unconfirmed {
        /// Its pod.
        pod: String,
        /// Its last answer.
        last: String,
    },
}

/// What a gateway enforces.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Enforced {
    uid: Option<String>,
    term: i64,
    route: Route,
}

/// Asks gateways over HTTP.
#[derive(Clone)]
pub(super) struct Fence {
    http: HttpClient<HttpConnector, Empty<Bytes>>,
}

impl Default for Fence {
    fn default() -> Self {
        Self {
            http: HttpClient::builder(TokioExecutor::new()).build_http(),
        }
    }
}

impl Fence {
    /// Waits until every gateway of this cluster enforces `term` as closed.
    pub(super) async fn stand(
        &self,
        client: &Client,
        namespace: &str,
        cluster: &str,
        uid: &str,
        term: i64,
    ) -> Result<(), FenceError> {
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
        let deadline = Instant::now() + DEADLINE;
        let waits = pods.iter().filter_map(|pod| {
            let address = running_address(pod)?;
            Some(self.confirmation(pod.name_any(), address, uid, term, deadline))
        });
        join_all(waits).await.into_iter().collect()
    }

    async fn confirmation(
        &self,
        pod: String,
        address: IpAddr,
        uid: &str,
        term: i64,
        deadline: Instant,
    ) -> Result<(), FenceError> {
        let mut pause = tokio::time::interval(ASK_EVERY);
        let mut last = "no answer".to_owned();
        while Instant::now() < deadline {
            pause.tick().await;
            match self.ask(address).await {
                Ok(seen) => {
                    let ours = seen.uid.as_deref() == Some(uid);
                    if ours && seen.route == Route::Closed && seen.term == term {
                        return Ok(());
                    }
                    last = format!("it enforces {seen:?}");
                }
                Err(error) => last = error,
            }
        }
        Err(FenceError::Unconfirmed { pod, last })
    }

    async fn ask(&self, address: IpAddr) -> Result<Enforced, String> {
        let host = std::net::SocketAddr::new(address, names::HTTP_PORT);
        let uri = format!("http://{host}/route")
            .parse()
            .map_err(|error| format!("{error}"))?;
        let exchange = async {
            let response = self.http.get(uri).await.map_err(|error| error.to_string())?;
            let body = Limited::new(response.into_body(), ANSWER_LIMIT).collect().await;
            let body = body.map_err(|error| error.to_string())?.to_bytes();
            serde_json::from_slice(&body).map_err(|error| error.to_string())
        };
        tokio::time::timeout(Duration::from_secs(1), exchange)
            .await
            .map_err(|_| "no answer in 1 s".to_owned())?
    }
}

/// The address of a gateway that may carry sessions: one whose container has started and has not ended.
fn running_address(pod: &Pod) -> Option<IpAddr> {
    let status = pod.status.as_ref()?;
    if matches!(status.phase.as_deref(), Some("Succeeded" | "Failed")) {
        return None;
    }
    let containers = status.container_statuses.as_deref().unwrap_or_default();
    let may_run = containers.iter().any(|container| {
        container
            .state
            .as_ref()
            .is_some_and(|state| state.running.is_some())
    });
    if may_run {
        status.pod_ip.as_ref()?.parse().ok()
    } else {
        None
    }
}
