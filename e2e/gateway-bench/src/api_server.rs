//! As much of a Kubernetes API server as a gateway needs: it shows one `MemgraphCluster`, which never changes.

use std::{
    convert::Infallible,
    net::{Ipv4Addr, SocketAddr},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use anyhow::Result;
use http_body_util::{Either, Full};
use hyper::{
    Request, Response,
    body::{Body, Bytes, Frame, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::{
    net::TcpListener,
    task::AbortHandle,
    time::{Sleep, sleep},
};

use crate::gateway::{CLUSTER, MAIN};

/// How long a watch lasts, in which nothing happens.
const WATCH: Duration = Duration::from_secs(10);

/// A running server.
pub struct ApiServer {
    address: SocketAddr,
    serving: AbortHandle,
}

/// The cluster with an open route to MAIN at this address, and room for so many sessions.
pub fn cluster(main: SocketAddr, sessions: usize) -> Value {
    let (uid, name) = CLUSTER;
    json!({
        "apiVersion": "memgraph.dev/v1alpha1",
        "kind": "MemgraphCluster",
        "metadata": {"name": name, "namespace": "default", "uid": uid, "resourceVersion": "1"},
        "spec": {"gateway": {"readWrite": {"maxConnections": sessions}, "holdTimeout": "0s"}},
        "status": {"ledger": {
            "lineage": "bench",
            "term": 1,
            "main": main_copy(),
            "mainAddress": main.to_string(),
            "route": "Open",
            "generation": 1,
        }},
    })
}

/// The copy that is MAIN.
pub fn main_copy() -> Value {
    json!({"instance": MAIN, "incarnation": {"podUID": "", "containerID": "", "volume": ""}})
}

impl ApiServer {
    /// One that shows this.
    pub async fn start(cluster: Value) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let list = json!({
            "apiVersion": "memgraph.dev/v1alpha1",
            "kind": "MemgraphClusterList",
            "metadata": {"resourceVersion": "1"},
            "items": [&cluster],
        });
        let (cluster, list) = (Arc::new(cluster.to_string()), Arc::new(list.to_string()));
        let serving = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (cluster, list) = (Arc::clone(&cluster), Arc::clone(&list));
                let service = service_fn(move |request| {
                    let answer = answer(&request, &cluster, &list);
                    async move { Ok::<_, Infallible>(answer) }
                });
                let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
                // A gateway that ends breaks its connections off.
                tokio::spawn(async move { connection.await.ok() });
            }
        });
        Ok(Self {
            address,
            serving: serving.abort_handle(),
        })
    }

    /// What leads a client here.
    pub fn kubeconfig(&self) -> String {
        json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "bench", "cluster": {"server": format!("http://{}", self.address)}}],
            "users": [{"name": "bench", "user": {}}],
            "contexts": [{"name": "bench", "context": {"cluster": "bench", "user": "bench"}}],
            "current-context": "bench",
        })
        .to_string()
    }
}

impl Drop for ApiServer {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

fn answer(request: &Request<Incoming>, cluster: &str, list: &str) -> Response<Either<Full<Bytes>, Quiet>> {
    let watches = request
        .uri()
        .query()
        .is_some_and(|query| query.contains("watch=true"));
    let body = if watches {
        Either::Right(Quiet(Box::pin(sleep(WATCH))))
    } else if request.uri().path().ends_with("/memgraphclusters") {
        Either::Left(Full::from(list.to_owned()))
    } else {
        Either::Left(Full::from(cluster.to_owned()))
    };
    let mut response = Response::new(body);
    let json = hyper::header::HeaderValue::from_static("application/json");
    response.headers_mut().insert(hyper::header::CONTENT_TYPE, json);
    response
}

/// The body of a watch: nothing for a while, then its end.
struct Quiet(Pin<Box<Sleep>>);

impl Body for Quiet {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.as_mut().poll(context).map(|()| None)
    }
}
