//! Clusters that lack for long what a human is to give them.

use std::{convert::Infallible, num::NonZeroU32, sync::Arc, time::Duration};

use http::{Method, Request};
use kube::{Client, client::Body};
use serde_json::{Value, json};
use tokio::{sync::watch, time::Instant};
use tokio_util::task::AbortOnDropHandle;

use super::{
    super::{Operator, RequestRate, reconcile::reconcile, retry},
    fake_api::FakeApi,
    fake_gateways::FakeGateways,
    fake_memgraph::FakeMemgraph,
    reconciling::{
        NAMESPACE, VERSION, api, cluster, gateways, hindered, limited, operator, process, refused, settle,
        until,
    },
    volumes::with_data_in_pods,
};
use crate::{
    api::{MemgraphCluster, ledger::Route, names},
    traces::Traces,
};

/// How often a cluster is looked at whose MAIN is away.
const OFTEN: Duration = Duration::from_millis(300);

fn object(api: &FakeApi) -> Value {
    api.get(VERSION, "memgraphclusters", NAMESPACE, "demo").unwrap()
}

/// As a user does who changes the spec.
fn ask(api: &FakeApi, generation: i64, field: &str, value: Value) {
    let mut object = object(api);
    object["metadata"]["generation"] = json!(generation);
    object["spec"][field] = value;
    api.put("memgraphclusters", object);
}

/// Which Secrets were asked for since the last call.
fn asked_for(api: &FakeApi) -> Vec<String> {
    let requests = api.take_requests().into_iter();
    let named = requests.filter_map(|request| Some(request.split_once("/secrets/")?.1.to_owned()));
    named.collect()
}

async fn look_for(api: &FakeApi, operator: &Arc<Operator<FakeMemgraph, FakeGateways>>, time: Duration) {
    let begun = Instant::now();
    while begun.elapsed() < time {
        let now = Arc::new(cluster(api));
        if let Err(error) = reconcile(Arc::clone(&now), Arc::clone(operator)).await {
            let _ = retry(now, &error, Arc::clone(operator));
        }
        tokio::time::sleep(OFTEN).await;
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_missing_is_asked_for_ever_less_often_and_at_once_where_the_spec_is_another_one() {
    let (api, memgraph) = (api(), FakeMemgraph::fresh(3));
    let operator = operator(&api, &memgraph).await;
    settle(&api, &operator).await;
    for (number, field) in ["auth", "tls", "license"].into_iter().enumerate() {
        let generation = 10 * i64::try_from(number).unwrap() + 2;
        let secret = format!("for-{field}");
        let mut spec = json!({"secretRef": {"name": secret}});
        ask(&api, generation, field, spec.clone());
        hindered(&api, &operator).await;
        asked_for(&api);
        look_for(&api, &operator, Duration::from_secs(60)).await;
        let asked = asked_for(&api);
        let times = asked.iter().filter(|name| **name == secret).count();
        assert!((10..=20).contains(&times), "{field}: {times} in a minute");

        spec["secretRef"]["name"] = json!("another");
        ask(&api, generation + 1, field, spec);
        reconcile(Arc::new(cluster(&api)), Arc::clone(&operator))
            .await
            .unwrap_err();
        assert!(asked_for(&api).contains(&"another".to_owned()), "{field}");
        ask(&api, generation + 2, field, Value::Null);
        settle(&api, &operator).await;
    }
}

/// What is written there goes with a pod.
#[tokio::test(start_paused = true)]
async fn whom_a_drain_may_take_does_not_wait_for_what_is_missing() {
    let (api, memgraph) = (with_data_in_pods(), FakeMemgraph::fresh(3));
    let operator = operator(&api, &memgraph).await;
    settle(&api, &operator).await;
    let name = names::instances_budget("demo");
    let most = || {
        let budget = api.get("policy/v1", "poddisruptionbudgets", NAMESPACE, &name);
        budget.unwrap()["spec"]["maxUnavailable"].clone()
    };
    until(&api, &operator, || most() == 1).await;
    ask(&api, 2, "license", json!({"secretRef": {"name": "gone"}}));
    look_for(&api, &operator, Duration::from_secs(30)).await;
    refused(&api, &operator).await;
    memgraph.stop(2);
    let lowered = async {
        while most() != 0 {
            let now = Arc::new(cluster(&api));
            assert!(reconcile(now, Arc::clone(&operator)).await.is_ok());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let soon = Duration::from_secs(2);
    tokio::time::timeout(soon, lowered).await.expect("it is lowered");
}

/// So many clusters that lack their certificate, and whose clients wait.
const OTHERS: usize = 60;

fn lacking(api: &FakeApi, number: usize) -> MemgraphCluster {
    let name = format!("other-{number}");
    let mut object = object(api);
    object["metadata"] = json!({"name": name, "namespace": NAMESPACE, "uid": name, "generation": 1});
    object["spec"] = json!({"tls": {"secretRef": {"name": "gone"}}});
    object["status"]["ledger"]["main"]["instance"] = json!(format!("{name}-0"));
    object["status"]["ledger"]["inSync"] = json!([]);
    api.put("memgraphclusters", object);
    serde_json::from_value(api.get(VERSION, "memgraphclusters", NAMESPACE, &name).unwrap()).unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_failover_does_not_wait_for_clusters_that_lack_their_secret() {
    let (api, memgraph) = (api(), FakeMemgraph::fresh(3));
    let rate = RequestRate {
        per_second: NonZeroU32::new(10).unwrap(),
        burst: NonZeroU32::new(100).unwrap(),
    };
    let operator = limited(&api, &memgraph, rate).await;
    settle(&api, &operator).await;
    let others = (0..OTHERS).map(|number| {
        let (other, operator) = (lacking(&api, number), Arc::clone(&operator));
        let api = api.clone();
        let name = other.metadata.name.unwrap();
        AbortOnDropHandle::new(tokio::spawn(async move {
            loop {
                let found = api.get(VERSION, "memgraphclusters", NAMESPACE, &name).unwrap();
                let now: Arc<MemgraphCluster> = Arc::new(serde_json::from_value(found).unwrap());
                if let Err(error) = reconcile(Arc::clone(&now), Arc::clone(&operator)).await {
                    let _ = retry(now, &error, Arc::clone(&operator));
                }
                tokio::time::sleep(OFTEN).await;
            }
        }))
    });
    let others: Vec<_> = others.collect();
    tokio::time::sleep(Duration::from_secs(30)).await;
    asked_for(&api);
    tokio::time::sleep(Duration::from_secs(10)).await;
    let asked = asked_for(&api).len();
    assert!((50..=150).contains(&asked), "others go on asking: {asked} times");

    memgraph.stop(0);
    api.remove("v1", "pods", NAMESPACE, "demo-0");
    let lost = Instant::now();
    let failed_over = async {
        loop {
            reconcile(Arc::new(cluster(&api)), Arc::clone(&operator))
                .await
                .ok();
            let ledger = cluster(&api).status.unwrap().ledger.unwrap();
            if ledger.route == Route::Open && ledger.main.instance == "demo-1" {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), failed_over)
        .await
        .unwrap();
    let took = lost.elapsed();
    assert!(took < Duration::from_secs(3), "{took:?}");
    drop(others);
}

/// Clients wait for MAIN, so that what takes its time is left for later.
#[tokio::test(start_paused = true)]
async fn a_spec_is_not_told_as_observed_before_what_it_asks_for_is_there() {
    let (api, memgraph) = (api(), FakeMemgraph::fresh(3));
    let (hang, hangs) = watch::channel(false);
    let server = api.clone();
    let service = tower::service_fn(move |request: Request<Body>| {
        let (server, mut hangs) = (server.clone(), hangs.clone());
        async move {
            if request.method() == Method::PATCH && request.uri().path().contains("/services/") {
                hangs.wait_for(|hangs| !hangs).await.unwrap();
            }
            Ok::<_, Infallible>(server.answer(request).await)
        }
    });
    let client = Client::new(service, "default");
    let operator = process(client, &memgraph, gateways(), Traces::default()).await;
    settle(&api, &operator).await;
    assert_eq!(cluster(&api).status.unwrap().observed_generation, Some(1));

    hang.send_replace(true);
    let balanced = json!({"readWrite": {"service": {"type": "LoadBalancer"}}});
    ask(&api, 2, "gateway", balanced);
    memgraph.stop(0);
    api.remove("v1", "pods", NAMESPACE, "demo-0");
    until(&api, &operator, || {
        let status = cluster(&api).status.unwrap();
        assert_eq!(status.observed_generation, Some(1));
        let told = status
            .conditions
            .iter()
            .map(|condition| condition.observed_generation);
        assert!(told.into_iter().all(|generation| generation == Some(1)));
        let ledger = status.ledger.unwrap();
        ledger.route == Route::Open && ledger.main.instance == "demo-1"
    })
    .await;

    hang.send_replace(false);
    until(&api, &operator, || {
        cluster(&api).status.unwrap().observed_generation == Some(2)
    })
    .await;
    let service = api.get("v1", "services", NAMESPACE, "demo-gateway").unwrap();
    assert_eq!(service["spec"]["type"], "LoadBalancer");
}
