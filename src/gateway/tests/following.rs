//! The own cluster is followed through the API, and outages change nothing.

use std::time::Duration;

use http::{Request, Response};
use kube::{Api, Client, client::Body};
use serde_json::{Value, json};
use tokio::{sync::watch, time::Instant};
use tower_test::mock::{self, SendResponse};

use super::{
    cluster::{Build, demo},
    harness::soon,
};
use crate::{
    api::MemgraphCluster,
    gateway::{
        follow::{Findings, follow},
        routes::{Routes, Standing},
    },
};

struct ApiServer {
    requests: mock::Handle<Request<Body>, Response<Body>>,
    routes: watch::Receiver<Routes>,
    trouble: watch::Receiver<Option<String>>,
}

impl ApiServer {
    /// An API server that is followed by a gateway.
    fn start() -> Self {
        let (service, requests) = mock::pair();
        let client = Client::new(service, "default");
        let (routes, seen_routes) = watch::channel(Routes::default());
        let (trouble, seen_trouble) = watch::channel(None);
        let clusters: Api<MemgraphCluster> = Api::namespaced(client, "default");
        tokio::spawn(async move { follow(clusters, "demo", Findings { routes, trouble }).await });
        Self {
            requests,
            routes: seen_routes,
            trouble: seen_trouble,
        }
    }

    /// The next request, which must be about the own cluster only.
    async fn request(&mut self) -> (String, SendResponse<Response<Body>>) {
        let (request, answer) = soon(self.requests.next_request()).await.unwrap();
        assert_eq!(request.method(), http::Method::GET);
        let uri = request.uri().to_string();
        let path = "/apis/memgraph.dev/v1alpha1/namespaces/default/memgraphclusters?";
        assert!(uri.starts_with(path), "{uri}");
        assert!(uri.contains("fieldSelector=metadata.name%3Ddemo"), "{uri}");
        (uri, answer)
    }

    async fn expect_list(&mut self, version: &str, clusters: &[MemgraphCluster]) {
        let (uri, answer) = self.request().await;
        assert!(!uri.contains("watch=true"), "{uri}");
        let list = json!({
            "apiVersion": "memgraph.dev/v1alpha1",
            "kind": "MemgraphClusterList",
            "metadata": {"resourceVersion": version},
            "items": clusters,
        });
        answer.send_response(Response::new(Body::from(list.to_string().into_bytes())));
    }

    /// Answers a watch with these events, and ends it.
    async fn expect_watch(&mut self, from: &str, events: &[Value]) {
        let (uri, answer) = self.request().await;
        assert!(uri.contains("watch=true"), "{uri}");
        assert!(uri.contains(&format!("resourceVersion={from}")), "{uri}");
        let lines: String = events.iter().map(|event| format!("{event}\n")).collect();
        answer.send_response(Response::new(Body::from(lines.into_bytes())));
    }

    async fn refuse(&mut self) {
        let (_, answer) = self.request().await;
        answer.send_error("connection refused");
    }

    async fn until(&mut self, condition: impl FnMut(&Routes) -> bool) -> Routes {
        soon(self.routes.wait_for(condition)).await.unwrap().clone()
    }

    /// No change of the routes since it was last looked at.
    fn assert_unchanged(&mut self) {
        assert!(!self.routes.has_changed().unwrap(), "{:?}", self.routes.borrow());
    }
}

fn event(kind: &str, cluster: &MemgraphCluster) -> Value {
    json!({"type": kind, "object": cluster})
}

#[tokio::test]
async fn a_change_of_the_ledger_is_followed() {
    let mut server = ApiServer::start();
    server.expect_list("20", &[demo().version("20")]).await;
    server.until(|routes| routes.read_write.is_some()).await;
    let closed = demo().term(8).closed().version("21");
    server.expect_watch("20", &[event("MODIFIED", &closed)]).await;
    let routes = server.until(|routes| routes.term == 8).await;
    assert_eq!(routes.read_write, None);
}

#[tokio::test]
async fn neither_an_outage_nor_a_new_list_changes_routes() {
    let mut server = ApiServer::start();
    server.expect_list("20", &[demo().version("20")]).await;
    server.until(|routes| routes.read_write.is_some()).await;

    // The watch ends, cannot be begun again for a while, and then is too old to go on.
    server.expect_watch("20", &[]).await;
    server.refuse().await;
    soon(server.trouble.wait_for(Option::is_some)).await.unwrap();
    server.refuse().await;
    let gone = json!({"type": "ERROR", "object": {
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": "too old resource version", "reason": "Expired", "code": 410,
    }});
    server.expect_watch("20", &[gone]).await;
    server.expect_list("25", &[demo().version("20")]).await;
    soon(server.trouble.wait_for(Option::is_none)).await.unwrap();
    server.expect_watch("25", &[]).await;
    server.assert_unchanged();
}

#[tokio::test]
async fn a_state_older_than_the_last_one_is_ignored() {
    let mut server = ApiServer::start();
    let closed = demo().term(8).closed().version("30");
    server.expect_list("30", &[closed]).await;
    server.until(|routes| routes.term == 8).await;
    server
        .expect_watch("30", &[event("MODIFIED", &demo().version("20"))])
        .await;
    let _next_watch = server.request().await;
    server.assert_unchanged();
}

#[tokio::test]
async fn a_deletion_closes_the_routes_whether_it_is_seen_or_missed() {
    let mut server = ApiServer::start();
    server.expect_list("20", &[demo().version("20")]).await;
    server.until(|routes| routes.read_write.is_some()).await;
    server
        .expect_watch("20", &[event("DELETED", &demo().version("21"))])
        .await;
    let routes = server.until(|routes| routes.standing == Standing::Absent).await;
    assert_eq!(routes.read_write, None);

    let mut server = ApiServer::start();
    server.expect_list("20", &[]).await;
    server.until(|routes| routes.standing == Standing::Absent).await;
}

#[tokio::test]
async fn what_keeps_the_gateway_from_reading_its_cluster_is_told() {
    let mut server = ApiServer::start();
    let (_, answer) = server.request().await;
    let forbidden = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": "memgraphclusters is forbidden", "reason": "Forbidden", "code": 403,
    });
    let response = Response::builder().status(403);
    answer.send_response(
        response
            .body(Body::from(forbidden.to_string().into_bytes()))
            .unwrap(),
    );
    let trouble = soon(server.trouble.wait_for(Option::is_some))
        .await
        .unwrap()
        .clone();
    assert!(
        trouble.as_deref().unwrap().contains("is forbidden"),
        "{trouble:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn an_api_server_that_is_away_is_asked_ever_less_often_and_soon_enough() {
    let mut server = ApiServer::start();
    let begin = Instant::now();
    for _ in 0..12 {
        server.refuse().await;
    }
    // Doubling from 100 ms to 3 s, each up to twice as long by jitter.
    let waited = begin.elapsed();
    assert!(waited > Duration::from_secs(20), "{waited:?}");
    assert!(waited < Duration::from_secs(60), "{waited:?}");
}
