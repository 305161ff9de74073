//! What the word of the API server, or of MAIN, is worth: a ledger may have been put back, its cluster may be another one by now, a write
//! that was sent for it long ago may still come, and a MAIN may tell this operator nothing.

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use http::{Method, Request};
use kube::{Client, client::Body};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{
    super::{Operator, reconcile::reconcile},
    fake_api::{Answer, FakeApi},
    fake_gateways::FakeGateways,
    fake_memgraph::FakeMemgraph,
    reconciling::{
        GATEWAY, NAMESPACE, VERSION, api, cluster, gateways, operator, process, settle, successor, until,
    },
};
use crate::{
    api::ledger::{Ledger, Route},
    leader::Leadership,
    traces::Traces,
};

fn object(api: &FakeApi) -> Value {
    api.get(VERSION, "memgraphclusters", NAMESPACE, "demo").unwrap()
}

fn ledger(api: &FakeApi) -> Ledger {
    cluster(api).status.unwrap().ledger.unwrap()
}

/// A client of this server, whose requests pass this first.
fn client_by(
    api: &FakeApi,
    first: impl Fn(&FakeApi, &Request<Body>) -> Option<Answer> + Send + Sync + 'static,
) -> Client {
    let (server, first) = (api.clone(), Arc::new(first));
    let service = tower::service_fn(move |request: Request<Body>| {
        let (server, first) = (server.clone(), Arc::clone(&first));
        async move {
            Ok::<_, Infallible>(match first(&server, &request) {
                Some(answer) => answer,
                None => server.answer(request).await,
            })
        }
    });
    Client::new(service, "default")
}

async fn reconcile_once(api: &FakeApi, operator: &Arc<Operator<FakeMemgraph, FakeGateways>>) {
    // What has failed is tried again, as the controller does.
    reconcile(Arc::new(cluster(api)), Arc::clone(operator)).await.ok();
    tokio::time::sleep(Duration::from_millis(10)).await;
}

/// A restore of etcd: the ledger names a MAIN that was, and gateways lead clients to another one.
#[tokio::test]
async fn a_ledger_that_was_put_back_is_not_obeyed() {
    let (api, memgraph) = (api(), FakeMemgraph::fresh(3));
    let first = operator(&api, &memgraph).await;
    settle(&api, &first).await;
    let gateways = first.fence.link().clone();
    let mut asked = object(&api);
    asked["spec"]["switchover"] = json!({"requestId": "a"});
    api.put("memgraphclusters", asked);
    let led_to = |main: &str| {
        let ledger = ledger(&api);
        ledger.main.instance == main
            && gateways.term(GATEWAY) == Some(ledger.term)
            && !ledger.in_sync.is_empty()
    };
    let moved = async {
        while led_to("demo-0") || !(led_to("demo-1") || led_to("demo-2")) {
            reconcile_once(&api, &first).await;
        }
    };
    let deadline = Duration::from_secs(20);
    tokio::time::timeout(deadline, moved).await.expect("another MAIN");
    let mut before = object(&api);
    let next = ledger(&api).in_sync.remove(0);
    assert_ne!(next.instance, ledger(&api).main.instance);
    before["status"]["ledger"]["term"] = json!(1);
    before["status"]["ledger"]["main"] = serde_json::to_value(next.copy()).unwrap();
    before["status"]["ledger"]["inSync"] = json!([]);
    api.put("memgraphclusters", before);
    let (roles, later) = (memgraph.roles(), gateways.term(GATEWAY).unwrap());
    let second = successor(&first, &memgraph, Leadership::for_ever()).await;
    drop(first);
    let stalled = |api: &FakeApi| {
        let mut conditions = cluster(api).status.unwrap().conditions.into_iter();
        let stalled = conditions.find(|c| c.type_ == "Stalled" && c.status == "True");
        stalled
            .is_some_and(|stalled| stalled.reason == "AmbiguousState" && stalled.message.contains("put back"))
    };
    let said = async {
        while !stalled(&api) {
            reconcile_once(&api, &second).await;
            assert_eq!(memgraph.roles(), roles, "nobody is made MAIN");
        }
    };
    tokio::time::timeout(deadline, said).await.expect("it is said");
    for _ in 0..20 {
        reconcile_once(&api, &second).await;
    }
    assert_eq!((memgraph.roles(), stalled(&api)), (roles.clone(), true));
    // What the condition says is done.
    let mut without = object(&api);
    without["status"].as_object_mut().unwrap().remove("ledger");
    api.put("memgraphclusters", without);
    let third = successor(&second, &memgraph, Leadership::for_ever()).await;
    drop(second);
    let open = async {
        while gateways.term(GATEWAY).is_none_or(|term| term <= later) || stalled(&api) {
            reconcile_once(&api, &third).await;
        }
    };
    tokio::time::timeout(deadline, open)
        .await
        .expect("it is taken over");
    let main_of = |roles: &[(bool, usize)]| roles.iter().position(|(main, _)| *main);
    assert_eq!(main_of(&memgraph.roles()), main_of(&roles), "as it runs");
}

#[tokio::test]
async fn a_cluster_that_was_made_anew_in_between_is_none_of_the_former_ones_affairs() {
    let (api, memgraph) = (api(), FakeMemgraph::fresh(3));
    let armed = Arc::new(AtomicBool::new(false));
    let arm = Arc::clone(&armed);
    let client = client_by(&api, move |server, request| {
        let is_read =
            request.method() == Method::GET && request.uri().path().ends_with("/memgraphclusters/demo");
        if is_read && armed.swap(false, Ordering::Relaxed) {
            let mut another = object(server);
            another["metadata"] =
                json!({"name": "demo", "namespace": NAMESPACE, "uid": "another", "generation": 1});
            another.as_object_mut().unwrap().remove("status");
            server.remove(VERSION, "memgraphclusters", NAMESPACE, "demo");
            server.put("memgraphclusters", another);
        }
        None
    });
    let operator = process(client, &memgraph, gateways(), Traces::default()).await;
    settle(&api, &operator).await;
    until(&api, &operator, || memgraph.roles()[0] == (true, 2)).await;
    // Something to do, before which the cluster is read.
    memgraph.by_hand(0, "REGISTER REPLICA stray ASYNC TO \"10.0.7.1:10000\"");
    arm.store(true, Ordering::Relaxed);
    let replaced = async {
        while cluster(&api).metadata.uid.as_deref() != Some("another") {
            reconcile_once(&api, &operator).await;
        }
    };
    let deadline = Duration::from_secs(20);
    tokio::time::timeout(deadline, replaced)
        .await
        .expect("it is read");
    assert_eq!(
        cluster(&api).status,
        None,
        "what it is told by knows nothing of the former one"
    );
    assert_eq!(
        memgraph.roles()[0],
        (true, 3),
        "nothing was done by the former one's ledger"
    );
}

/// A write of the ledger that hung when its sender ended may take effect at any time, until the version that it names is over.
#[tokio::test]
async fn a_leader_does_nothing_by_a_ledger_before_it_has_written_one() {
    let (api, memgraph) = (api(), FakeMemgraph::fresh(3));
    let first = operator(&api, &memgraph).await;
    settle(&api, &first).await;
    until(&api, &first, || memgraph.roles()[0] == (true, 2)).await;
    let stray = async |number: u8, operator: &Arc<Operator<FakeMemgraph, FakeGateways>>| {
        let before = ledger(&api).generation;
        memgraph.take_asked();
        memgraph.by_hand(
            0,
            &format!("REGISTER REPLICA stray_{number} ASYNC TO \"10.0.7.{number}:10000\""),
        );
        until(&api, operator, || memgraph.roles()[0] == (true, 2)).await;
        ledger(&api).generation > before
    };
    assert!(!stray(1, &first).await, "it has written the ledger");
    let second = successor(&first, &memgraph, Leadership::for_ever()).await;
    drop(first);
    assert!(stray(2, &second).await);
    assert!(!stray(3, &second).await, "once is enough");
}

/// The pods of gateways cannot be listed; those that hold a grant are known all the same.
#[tokio::test(start_paused = true)]
async fn a_fence_stands_without_a_list_of_gateways() {
    let (api, memgraph) = (api(), FakeMemgraph::fresh(3));
    let armed = Arc::new(AtomicBool::new(false));
    let arm = Arc::clone(&armed);
    let client = client_by(&api, move |_, request| {
        let lists = request.method() == Method::GET && request.uri().path().ends_with("/pods");
        let query = request.uri().query().unwrap_or_default();
        let of_gateways = query.contains("gateway") && !query.contains("watch=");
        (lists && of_gateways && armed.load(Ordering::Relaxed)).then(|| {
            let body = http_body_util::Full::from(r#"{"kind":"Status","code":500,"message":"overloaded"}"#);
            let body = http_body_util::BodyExt::boxed_unsync(body);
            http::Response::builder().status(500).body(body).unwrap()
        })
    });
    let operator = process(client, &memgraph, gateways(), Traces::default()).await;
    settle(&api, &operator).await;
    let gateways = operator.fence.link().clone();
    until(&api, &operator, || gateways.term(GATEWAY) == Some(1)).await;
    arm.store(true, Ordering::Relaxed);
    memgraph.stop(0);
    api.remove("v1", "pods", NAMESPACE, "demo-0");
    let lost = Instant::now();
    let failed_over = async {
        while ledger(&api).main.instance != "demo-1" || ledger(&api).route != Route::Open {
            reconcile_once(&api, &operator).await;
        }
    };
    let deadline = Duration::from_secs(60);
    tokio::time::timeout(deadline, failed_over)
        .await
        .expect("another MAIN");
    // In virtual time: no grant had to run out.
    assert!(lost.elapsed() < Duration::from_secs(2), "{:?}", lost.elapsed());
}

/// Somebody has made a user on MAIN, so that it tells the operator nothing; and it ends connections, as any client can have it do.
#[tokio::test(start_paused = true)]
async fn clients_stay_with_a_main_that_lets_the_operator_not_in() {
    let (api, memgraph) = (api(), FakeMemgraph::fresh(3));
    let operator = operator(&api, &memgraph).await;
    settle(&api, &operator).await;
    let gateways = operator.fence.link().clone();
    until(&api, &operator, || gateways.term(GATEWAY) == Some(1)).await;
    memgraph.by_hand(0, "CREATE USER somebody IDENTIFIED BY 'secret'");
    tokio::time::sleep(Duration::from_secs(1)).await;
    for _ in 0..5 {
        gateways.taint(GATEWAY);
        tokio::time::sleep(Duration::from_secs(4)).await;
        reconcile_once(&api, &operator).await;
    }
    assert_eq!(gateways.term(GATEWAY), Some(1));
    // Where its process may have ended, nobody knows who answers there.
    let life = ledger(&api).main.incarnation;
    let memory = operator.clusters.of(&cluster(&api), &operator);
    memory.sightings.ended("demo-0", &life);
    gateways.taint(GATEWAY);
    tokio::time::sleep(Duration::from_secs(20)).await;
    assert_eq!(gateways.term(GATEWAY), None);
}
