//! The operator's end.

use std::{
    collections::HashMap,
    io::ErrorKind,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use http_body_util::{BodyExt, Full, Limited};
use hyper::{Method, Request as HttpRequest, body::Bytes};
use hyper_rustls::{FixedServerNameResolver, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client as HttpClient, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use jiff::Timestamp;
use kube::{Client, ResourceExt};
use rustls::{ClientConfig, pki_types::ServerName};
use tokio::time::Instant;
use tracing::warn;

use super::{
    MESSAGE_LIMIT, PATH,
    authority::{Role, is_of_use},
    keepsakes::Keepsakes,
    secrets,
    tls::{Credentials, TlsError},
};
use crate::{
    api::{MemgraphCluster, names},
    controller::{Acquaintance, GatewayLink, Unasked, Unprepared},
    grants::{Request, Response},
};

/// Connections that nobody uses are closed after so long: they are used every few seconds, or their gateway is gone.
const IDLE: Duration = Duration::from_secs(30);

/// How often the Secrets are looked at: certificates are replaced days before they must be.
const CHECK_EVERY: Duration = Duration::from_secs(600);
/// How soon after that they are looked at again: because a gateway cannot be talked to, or what is known is an earlier
/// process' word, or they could not be read.
const DOUBT_EVERY: Duration = Duration::from_secs(10);

type Http = HttpClient<HttpsConnector<HttpConnector>, Full<Bytes>>;

/// Asks gateways over mutual TLS.
#[derive(Clone)]
pub struct TlsLink {
    port: u16,
    /// By the cluster's UID.
    clusters: Arc<Mutex<HashMap<String, Known>>>,
    keepsakes: Arc<Keepsakes>,
}

/// Who this process is to the gateways of a cluster.
struct Known {
    credentials: Credentials,
    /// The connections that say so.
    http: Http,
    /// When the Secrets are to be looked at again.
    look_at: Instant,
}

impl Default for TlsLink {
    fn default() -> Self {
        Self::to_port(names::CONTROL_PORT)
    }
}

impl TlsLink {
    /// One to gateways that listen on this port.
    #[must_use]
    pub fn to_port(port: u16) -> Self {
        Self {
            port,
            clusters: Arc::default(),
            keepsakes: Arc::default(),
        }
    }

    /// The same, with what an earlier process has kept in this folder, and keeping there what this one gets to know.
    #[must_use]
    pub fn keeping(mut self, folder: Option<PathBuf>) -> Self {
        self.keepsakes = Arc::new(Keepsakes::in_folder(folder.as_deref()));
        self
    }

    fn clusters(&self) -> MutexGuard<'_, HashMap<String, Known>> {
        self.clusters.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn post(&self, cluster: &str, gateway: IpAddr, request: &Request) -> Result<Response, Unasked> {
        let http = self.clusters().get(cluster).map(|known| known.http.clone());
        let http =
            http.ok_or_else(|| Unasked::Failed("this process has no certificate for it yet".to_owned()))?;
        let uri = format!("https://{}{PATH}", SocketAddr::new(gateway, self.port));
        let question = HttpRequest::builder()
            .method(Method::POST)
            .uri(uri)
            .body(Full::from(serde_json::to_vec(request).map_err(Unasked::failed)?))
            .map_err(Unasked::failed)?;
        let response = http.request(question).await.map_err(|error| {
            let reason = unanswered(error);
            if matches!(reason, Unasked::Failed(_)) {
                self.doubt(cluster);
            }
            reason
        })?;
        let status = response.status();
        let body = Limited::new(response.into_body(), MESSAGE_LIMIT).collect().await;
        let body = body.map_err(|e| Unasked::Failed(e.to_string()))?.to_bytes();
        if !status.is_success() {
            let reason = String::from_utf8_lossy(&body);
            return Err(Unasked::Failed(format!("it answers {status}: {}", reason.trim())));
        }
        serde_json::from_slice(&body).map_err(Unasked::failed)
    }
}

impl TlsLink {
    /// From now on, this process is known by these to the gateways of the cluster with this UID.
    ///
    /// # Errors
    /// When the certificates cannot be used.
    pub fn introduce(&self, cluster: &str, credentials: &Credentials) -> Result<(), TlsError> {
        let config = credentials.client()?;
        let http = connections(config, cluster)?;
        self.clusters().insert(
            cluster.to_owned(),
            Known {
                credentials: credentials.clone(),
                http,
                look_at: Instant::now() + CHECK_EVERY,
            },
        );
        self.keepsakes
            .keep(cluster, |kept| kept.credentials = Some(credentials.clone()));
        Ok(())
    }

    /// What this process is known by to the gateways of this cluster, unless that must be looked at again.
    fn known(&self, cluster: &str) -> (Option<Credentials>, bool) {
        let clusters = self.clusters();
        let Some(known) = clusters.get(cluster) else {
            return (None, false);
        };
        let fresh =
            Instant::now() < known.look_at && is_of_use(known.credentials.leaf.renew, Timestamp::now());
        (Some(known.credentials.clone()), fresh)
    }

    fn checked(&self, cluster: &str) {
        if let Some(known) = self.clusters().get_mut(cluster) {
            known.look_at = Instant::now() + CHECK_EVERY;
        }
    }

    /// What is known may be out of date, but is used until the Secrets can be read.
    fn look_again_soon(&self, cluster: &str) {
        if let Some(known) = self.clusters().get_mut(cluster) {
            known.look_at = Instant::now() + DOUBT_EVERY;
        }
    }

    /// Somebody there is not whom this process takes it for, or the other way round: the Secrets may have been replaced.
    fn doubt(&self, cluster: &str) {
        let now = Instant::now();
        if let Some(known) = self.clusters().get_mut(cluster)
            && known.look_at.saturating_duration_since(now) + DOUBT_EVERY <= CHECK_EVERY
        {
            known.look_at = now;
        }
    }
}

impl GatewayLink for TlsLink {
    async fn prepare(&self, client: &Client, cluster: &MemgraphCluster) -> Result<(), Unprepared> {
        let uid = cluster.uid().unwrap_or_default();
        if !cluster.spec.gateway.enabled {
            return Ok(());
        }
        let (known, fresh) = self.known(&uid);
        if fresh {
            return Ok(());
        }
        let credentials = secrets::tend(client, cluster, known.as_ref()).await?;
        if known.as_ref() == Some(&credentials) {
            self.checked(&uid);
            return Ok(());
        }
        Ok(self.introduce(&uid, &credentials)?)
    }

    async fn acquaint(&self, client: &Client, cluster: &Acquaintance) -> Result<(), Unprepared> {
        let (known, fresh) = self.known(&cluster.uid);
        if fresh {
            return Ok(());
        }
        self.look_again_soon(&cluster.uid);
        let credentials = secrets::learn(client, cluster, known.as_ref()).await?;
        if known.as_ref() == Some(&credentials) {
            self.checked(&cluster.uid);
            return Ok(());
        }
        Ok(self.introduce(&cluster.uid, &credentials)?)
    }

    fn remember(&self, cluster: &Acquaintance) {
        let acquaintance = Some(cluster.clone());
        self.keepsakes
            .keep(&cluster.uid, |kept| kept.acquaintance = acquaintance);
    }

    fn recall(&self) -> Vec<Acquaintance> {
        let kept = self.keepsakes.all().into_values();
        kept.filter_map(|kept| {
            let cluster = kept.acquaintance?;
            match self.introduce(&cluster.uid, &kept.credentials?) {
                Ok(()) => {
                    self.look_again_soon(&cluster.uid);
                    Some(cluster)
                }
                Err(error) => {
                    warn!(%error, cluster = cluster.name, "what an earlier process has kept is of no use");
                    None
                }
            }
        })
        .collect()
    }

    fn forget(&self, cluster: &str) {
        self.clusters().remove(cluster);
        self.keepsakes.discard(cluster);
    }

    async fn exchange(
        &self,
        cluster: &str,
        gateway: IpAddr,
        request: &Request,
        deadline: Duration,
    ) -> Result<Response, Unasked> {
        let answered = tokio::time::timeout(deadline, self.post(cluster, gateway, request)).await;
        answered.unwrap_or_else(|_| Err(Unasked::Failed(format!("no answer in {deadline:?}"))))
    }
}

fn connections(config: ClientConfig, cluster: &str) -> Result<Http, TlsError> {
    let name = ServerName::try_from(Role::Gateway.name(cluster)).map_err(|_| TlsError::Name {
        cluster: cluster.to_owned(),
    })?;
    let mut plain = HttpConnector::new();
    plain.enforce_http(false);
    plain.set_nodelay(true);
    let connector = HttpsConnectorBuilder::new()
        .with_tls_config(config)
        .https_only()
        .with_server_name_resolver(FixedServerNameResolver::new(name))
        .enable_http1()
        .wrap_connector(plain);
    Ok(HttpClient::builder(TokioExecutor::new())
        .pool_idle_timeout(IDLE)
        .pool_timer(TokioTimer::new())
        .build(connector))
}

/// A connection that was refused is told apart: nobody listens there.
fn unanswered(error: hyper_util::client::legacy::Error) -> Unasked {
    let text = crate::controller::chain(&error);
    let mut cause = std::error::Error::source(&error);
    while let Some(error) = cause {
        let io = error.downcast_ref::<std::io::Error>();
        if io.is_some_and(|io| io.kind() == ErrorKind::ConnectionRefused) {
            return Unasked::Refused;
        }
        cause = error.source();
    }
    Unasked::Failed(text)
}
