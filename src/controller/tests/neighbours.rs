//! Several installations of the operator that find the same cluster.

use std::{sync::Arc, time::Duration};

use http_body_util::{BodyExt, Full};
use hyper::{Request, Response};
use kube::{Client, client::Body, runtime::controller::Action as Requeue};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::{
    super::{
        Operator,
        reconcile::{ReconcileError, reconcile},
    },
    fake_api::{Answer, FakeApi},
    fake_gateways::FakeGateways,
    fake_memgraph::FakeMemgraph,
    reconciling::{
        GATEWAY, NAMESPACE, VERSION, api, cluster, gateways, installed, operator, process, settle, until,
    },
};
use crate::{api::MemgraphClusterStatus, traces::Traces};

/// The installation of [`operator`], and another one.
const FIRST: &str = "db/operator";
const SECOND: &str = "other/operator";
const STATUS: &str = "PATCH /apis/memgraph.dev/v1alpha1/namespaces/db/memgraphclusters/demo/status";
const LEASE: &str = "GET /apis/coordination.k8s.io/v1/namespaces/db/leases/operator";

fn status(api: &FakeApi) -> MemgraphClusterStatus {
    cluster(api).status.unwrap_or_default()
}

/// Who looks after the cluster, and who is about to.
fn whose(api: &FakeApi) -> (Option<String>, Option<String>) {
    let status = status(api);
    (status.operator, status.next_operator)
}

fn by(installation: &str) -> (Option<String>, Option<String>) {
    (Some(installation.to_owned()), None)
}

/// As a human does, or another process.
fn change(api: &FakeApi, field: &str, value: Value) {
    let mut object = api.get(VERSION, "memgraphclusters", NAMESPACE, "demo").unwrap();
    object["status"][field] = value;
    if object["status"][field].is_null() {
        object["status"].as_object_mut().unwrap().remove(field);
    }
    api.put("memgraphclusters", object);
}

/// The Lease of the first installation, as it was renewed for the how manieth time; an empty holder has given it up.
fn lease(api: &FakeApi, holder: &str, renewal: u8) {
    let duration = if holder.is_empty() { 1 } else { 2 };
    api.put(
        "leases",
        json!({
            "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
            "metadata": {"name": "operator", "namespace": NAMESPACE},
            "spec": {
                "holderIdentity": holder, "leaseDurationSeconds": duration, "leaseTransitions": 0,
                "renewTime": format!("2026-01-01T00:00:{renewal:02}.000000Z"),
            },
        }),
    );
}

type Process = Arc<Operator<FakeMemgraph, FakeGateways>>;

/// A cluster that the first installation has set up and left, and a process of the second one, which finds it.
async fn left_to(memgraph: &FakeMemgraph) -> (FakeApi, Process) {
    let api = api();
    settle(&api, &operator(&api, memgraph).await).await;
    assert_eq!(whose(&api), by(FIRST));
    lease(&api, "a_1", 0);
    let second = installed(api.client(), memgraph, gateways(), "other").await;
    memgraph.take_asked();
    api.take_requests();
    (api, second)
}

async fn once(api: &FakeApi, operator: &Process) -> Result<Requeue, ReconcileError> {
    reconcile(Arc::new(cluster(api)), Arc::clone(operator)).await
}

/// Reconciles until the second one looks after the cluster; how long it took, and what was asked meanwhile.
async fn taken_over(api: &FakeApi, second: &Process) -> (Duration, Vec<String>) {
    let begun = Instant::now();
    while whose(api) != by(SECOND) {
        once(api, second).await.unwrap();
        assert!(begun.elapsed() < Duration::from_secs(120), "{:?}", whose(api));
        sleep(Duration::from_millis(500)).await;
    }
    (begun.elapsed(), api.take_requests())
}

#[tokio::test(start_paused = true)]
async fn a_cluster_of_another_installation_that_runs_is_left_alone_and_that_is_said_each_hour() {
    let memgraph = FakeMemgraph::fresh(3);
    let (api, second) = left_to(&memgraph).await;
    let before = cluster(&api);
    for renewal in 1..=400_u16 {
        lease(&api, "a_1", (renewal % 60) as u8);
        once(&api, &second).await.unwrap();
        sleep(Duration::from_secs(10)).await;
    }
    let mut requests = api.take_requests();
    requests.retain(|request| request != LEASE);
    assert_eq!(
        requests, ["POST /apis/events.k8s.io/v1/namespaces/db/events"; 2],
        "one word of it, and another one after an hour"
    );
    assert_eq!(cluster(&api), before);
    assert_eq!(memgraph.take_asked(), Vec::<String>::new());
    assert!(second.clusters.known(&before).is_none(), "nothing runs for it");
    assert_eq!(second.fence.link().term(GATEWAY), None, "nor is anything granted");
}

/// Of very many clusters each looks at the same Lease.
#[tokio::test(start_paused = true)]
async fn a_lease_is_looked_at_no_more_often_for_being_asked_for_more_often() {
    let memgraph = FakeMemgraph::fresh(3);
    let (api, second) = left_to(&memgraph).await;
    for _ in 0..50 {
        once(&api, &second).await.unwrap();
    }
    let requests = api.take_requests();
    assert_eq!(requests.iter().filter(|request| *request == LEASE).count(), 1);
}

#[tokio::test(start_paused = true)]
async fn where_nobody_holds_its_lease_any_more_it_is_taken_over_in_two_writes() {
    for gone in ["held", "given up", "deleted"] {
        let memgraph = FakeMemgraph::fresh(3);
        let (api, second) = left_to(&memgraph).await;
        once(&api, &second).await.unwrap();
        match gone {
            "given up" => lease(&api, "", 1),
            "deleted" => api.remove("coordination.k8s.io/v1", "leases", NAMESPACE, "operator"),
            _ => {}
        }
        let (took, mut requests) = taken_over(&api, &second).await;
        let expected = Duration::from_secs(15)..Duration::from_secs(40);
        assert!(expected.contains(&took), "{gone}: {took:?}");
        let told = requests.extract_if(.., |request| request.ends_with("/events"));
        assert_eq!(
            told.count(),
            1,
            "{gone}: that it is taken over, and not that it runs"
        );
        let steps = &requests[requests.len() - 4..];
        assert_eq!(steps, [LEASE, STATUS, LEASE, STATUS], "{gone}: {requests:?}");
        assert_eq!(memgraph.take_asked(), Vec::<String>::new(), "{gone}: before that");

        until(&api, &second, || {
            second.fence.link().term(GATEWAY) == Some(1) && status(&api).phase.is_some()
        })
        .await;
        assert_eq!(whose(&api), by(SECOND), "{gone}");
    }
}

/// What the first one's next process finds is what it must take back.
#[tokio::test(start_paused = true)]
async fn whoever_comes_back_between_the_two_steps_keeps_the_cluster() {
    let memgraph = FakeMemgraph::fresh(3);
    let (api, second) = left_to(&memgraph).await;
    let announced = (Some(FIRST.to_owned()), Some(SECOND.to_owned()));
    let begun = Instant::now();
    while whose(&api) != announced {
        once(&api, &second).await.unwrap();
        assert!(begun.elapsed() < Duration::from_secs(60));
        sleep(Duration::from_millis(500)).await;
    }
    // It has the Lease, and has listed the clusters before the first step.
    lease(&api, "a_2", 1);
    once(&api, &second).await.unwrap();
    assert_eq!(whose(&api), announced, "the second step is not made");

    // It has listed them after it.
    api.take_requests();
    let first = operator(&api, &memgraph).await;
    api.take_requests();
    memgraph.take_asked();
    let before = cluster(&api);
    once(&api, &first).await.unwrap();
    assert_eq!(api.take_requests()[0], STATUS, "before anything else");
    assert_eq!(whose(&api), by(FIRST));
    // The second step, on what there was before.
    let mut late = before;
    late.status.as_mut().unwrap().operator = Some(SECOND.to_owned());
    let sent = super::super::status::write(&api.client(), &late, late.status.as_ref().unwrap()).await;
    assert!(
        matches!(sent, Err(super::super::status::StatusError::Conflict { .. })),
        "{sent:?}"
    );
    once(&api, &second).await.unwrap();
    assert_eq!(whose(&api), by(FIRST));
}

/// Somebody else has announced the same and is gone, or does the same at the same time.
#[tokio::test(start_paused = true)]
async fn of_two_that_take_a_cluster_over_one_gets_it() {
    let memgraph = FakeMemgraph::fresh(3);
    let (api, second) = left_to(&memgraph).await;
    change(&api, "nextOperator", json!("gone/operator"));
    let third = installed(api.client(), &memgraph, gateways(), "third").await;
    let begun = Instant::now();
    while whose(&api).0.as_deref() == Some(FIRST) {
        // Each is told of what the other one has written at once.
        let shown = Arc::new(cluster(&api));
        for process in [&second, &third] {
            reconcile(Arc::clone(&shown), Arc::clone(process)).await.unwrap();
        }
        assert!(begun.elapsed() < Duration::from_secs(300), "{:?}", whose(&api));
        sleep(Duration::from_millis(100)).await;
    }
    let (operator, next) = whose(&api);
    assert!(["other/operator", "third/operator"].contains(&operator.as_deref().unwrap()));
    assert_eq!(next, None);
}

/// A client that may read no Lease.
fn without_rights(api: &FakeApi) -> Client {
    let api = api.clone();
    let service = tower::service_fn(move |request: Request<Body>| {
        let api = api.clone();
        async move {
            if !request.uri().path().contains("/leases/") {
                return Ok::<_, std::convert::Infallible>(api.answer(request).await);
            }
            let refusal = json!({
                "kind": "Status", "status": "Failure", "code": 403, "reason": "Forbidden", "message": "no rights there",
            });
            let body = Full::from(serde_json::to_vec(&refusal).unwrap()).boxed_unsync();
            let answer: Answer = Response::builder().status(403).body(body).unwrap();
            Ok(answer)
        }
    });
    Client::new(service, "default")
}

#[tokio::test(start_paused = true)]
async fn where_its_lease_cannot_be_read_a_human_gives_the_cluster_away() {
    let memgraph = FakeMemgraph::fresh(3);
    let (api, _) = left_to(&memgraph).await;
    lease(&api, "", 1);
    let second = installed(without_rights(&api), &memgraph, gateways(), "other").await;
    api.take_requests();
    for _ in 0..40 {
        once(&api, &second).await.unwrap();
        sleep(Duration::from_secs(10)).await;
    }
    assert_eq!(
        api.take_requests(),
        ["POST /apis/events.k8s.io/v1/namespaces/db/events"]
    );
    assert_eq!(whose(&api), by(FIRST));

    change(&api, "operator", Value::Null);
    once(&api, &second).await.unwrap();
    assert_eq!(api.take_requests()[0], STATUS, "before anything else");
    assert_eq!(whose(&api), by(SECOND));
}

#[tokio::test(start_paused = true)]
async fn a_cluster_of_an_older_operator_is_claimed_before_anything_else() {
    let (api, memgraph) = (api(), FakeMemgraph::fresh(3));
    settle(&api, &operator(&api, &memgraph).await).await;
    change(&api, "operator", Value::Null);
    let next = process(api.client(), &memgraph, gateways(), Traces::default()).await;
    memgraph.take_asked();
    api.take_requests();
    // Somebody else is faster, and it is not seen yet.
    let shown = Arc::new(cluster(&api));
    change(&api, "operator", json!(SECOND));
    reconcile(Arc::clone(&shown), Arc::clone(&next)).await.unwrap();
    sleep(Duration::from_secs(5)).await;
    let read = STATUS.replace("PATCH", "GET").replace("/status", "");
    assert_eq!(api.take_requests(), [STATUS, &read]);
    assert_eq!(memgraph.take_asked(), Vec::<String>::new());
    assert_eq!((whose(&api), next.fence.link().term(GATEWAY)), (by(SECOND), None));

    change(&api, "operator", Value::Null);
    once(&api, &next).await.unwrap();
    assert_eq!(api.take_requests()[0], STATUS);
    assert_eq!(whose(&api), by(FIRST));
    until(&api, &next, || next.fence.link().term(GATEWAY) == Some(1)).await;
}

#[tokio::test(start_paused = true)]
async fn what_runs_for_a_cluster_ends_when_it_is_another_ones() {
    let (api, memgraph) = (api(), FakeMemgraph::fresh(3));
    let first = operator(&api, &memgraph).await;
    settle(&api, &first).await;
    until(&api, &first, || first.fence.link().term(GATEWAY) == Some(1)).await;
    api.put(
        "leases",
        json!({
            "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
            "metadata": {"name": "operator", "namespace": "other"},
            "spec": {"holderIdentity": "b", "leaseDurationSeconds": 2},
        }),
    );
    change(&api, "operator", json!(SECOND));
    once(&api, &first).await.unwrap();
    assert!(first.clusters.known(&cluster(&api)).is_none());
    api.take_requests();
    memgraph.take_asked();
    sleep(Duration::from_secs(30)).await;
    assert_eq!(memgraph.take_asked(), Vec::<String>::new(), "nobody looks at it");
    assert_eq!(api.take_requests(), Vec::<String>::new());
    assert_eq!(first.fence.link().term(GATEWAY), None, "nobody renews the grant");
}

/// It is found out only when the API server itself is asked, before a step.
#[tokio::test(start_paused = true)]
async fn no_step_is_taken_for_a_cluster_that_turns_out_to_be_another_ones() {
    let (api, memgraph) = (api(), FakeMemgraph::fresh(3));
    let first = operator(&api, &memgraph).await;
    settle(&api, &first).await;
    let shown = Arc::new(cluster(&api));
    memgraph.stop(0);
    api.remove("v1", "pods", NAMESPACE, "demo-0");
    change(&api, "operator", json!(SECOND));
    let begun = Instant::now();
    let error = loop {
        match reconcile(Arc::clone(&shown), Arc::clone(&first)).await {
            Ok(_) => sleep(Duration::from_millis(100)).await,
            Err(error) => break error,
        }
        assert!(begun.elapsed() < Duration::from_secs(20));
    };
    assert!(matches!(error, ReconcileError::TakenOver { .. }), "{error}");
    assert_eq!(status(&api).ledger, shown.status.as_ref().unwrap().ledger);
    assert!(memgraph.roles()[1..].iter().all(|(main, _)| !main));
}

/// The CustomResourceDefinition is an older one, which does not know who looks after a cluster.
#[tokio::test(start_paused = true)]
async fn nothing_is_done_where_it_is_not_kept_who_looks_after_the_cluster() {
    let (api, memgraph) = (api(), FakeMemgraph::fresh(3));
    api.prune("memgraphclusters", "/status", "operator");
    let operator = operator(&api, &memgraph).await;
    once(&api, &operator).await.unwrap();
    let stalled = |api: &FakeApi| {
        let conditions = status(api).conditions;
        let stalled = conditions
            .into_iter()
            .find(|condition| condition.type_ == "Stalled");
        stalled.map(|condition| (condition.status, condition.reason, condition.message))
    };
    let (holds, reason, message) = stalled(&api).unwrap();
    assert_eq!((holds.as_str(), reason.as_str()), ("True", "UnfitDefinition"));
    assert!(message.contains("who looks after it"), "{message}");
    for (_, plural, _, name) in api.objects().keys() {
        let before = ["memgraphclusters", "pods", "persistentvolumeclaims"];
        assert!(before.contains(&plural.as_str()), "{plural}/{name} was made");
    }
    assert!(memgraph.roles().iter().all(|(main, _)| !main));
}
