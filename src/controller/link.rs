//! How the operator asks a gateway what it enforces.

use std::{
    io::ErrorKind,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Bytes;
use hyper_util::{
    client::legacy::{Client as HttpClient, connect::HttpConnector},
    rt::TokioExecutor,
};
use serde::Deserialize;
use tokio::net::TcpStream;

use crate::api::{ledger::Route, names};

/// No honest answer is longer.
const ANSWER_LIMIT: usize = 64 * 1024;

/// What a gateway enforces.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Enforced {
    /// UID of the cluster that it has seen.
    pub uid: Option<String>,
    /// No session of a lower term exists, nor will one.
    pub term: i64,
    /// Whether it leads sessions to MAIN.
    pub route: Route,
}

/// Why a gateway told nothing.
#[derive(Debug, thiserror::Error)]
pub enum Unasked {
    /// Nobody listens there.
    #[error("it refuses connections")]
    Refused,
    /// Anything else.
    #[error("{0}")]
    Failed(String),
}

impl Unasked {
    fn failed(error: impl std::fmt::Display) -> Self {
        Self::Failed(error.to_string())
    }
}

/// Asks gateways: the seam at which tests put something else than a network.
pub trait GatewayLink: Send + Sync + 'static {
    /// What the gateway at this address enforces now.
    fn ask(
        &self,
        gateway: IpAddr,
        deadline: Duration,
    ) -> impl Future<Output = Result<Enforced, Unasked>> + Send;
}

/// Asks by `GET /route`.
#[derive(Clone)]
pub struct HttpLink {
    http: HttpClient<HttpConnector, Empty<Bytes>>,
}

impl Default for HttpLink {
    fn default() -> Self {
        Self {
            http: HttpClient::builder(TokioExecutor::new()).build_http(),
        }
    }
}

impl GatewayLink for HttpLink {
    async fn ask(&self, gateway: IpAddr, deadline: Duration) -> Result<Enforced, Unasked> {
        let answered = tokio::time::timeout(deadline, self.exchange(gateway)).await;
        answered.unwrap_or_else(|_| Err(Unasked::Failed(format!("no answer in {deadline:?}"))))
    }
}

impl HttpLink {
    async fn exchange(&self, gateway: IpAddr) -> Result<Enforced, Unasked> {
        let host = SocketAddr::new(gateway, names::HTTP_PORT);
        // The HTTP client does not tell a refused connection from others.
        if let Err(error) = TcpStream::connect(host).await {
            return Err(match error.kind() {
                ErrorKind::ConnectionRefused => Unasked::Refused,
                _ => Unasked::Failed(error.to_string()),
            });
        }
        let uri = format!("http://{host}/route").parse().map_err(Unasked::failed)?;
        let response = self.http.get(uri).await.map_err(Unasked::failed)?;
        let body = Limited::new(response.into_body(), ANSWER_LIMIT).collect().await;
        let body = body
            .map_err(|error| Unasked::Failed(error.to_string()))?
            .to_bytes();
        serde_json::from_slice(&body).map_err(Unasked::failed)
    }
}
