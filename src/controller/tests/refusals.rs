//! Objects that the API server does not take, and gateways that do not come about.

use std::{sync::Arc, time::Duration};

use kube::runtime::controller::Action as Requeue;
use serde_json::{Value, json};

use super::{
    super::{reconcile::reconcile, retry},
    fake_api::FakeApi,
    fake_memgraph::FakeMemgraph,
    reconciling::{NAMESPACE, VERSION, api, cluster, hindered, operator, refused, settle, until},
};

/// Status and message of a condition.
fn condition(api: &FakeApi, name: &str) -> (String, String) {
    let conditions = cluster(api).status.unwrap().conditions;
    let found = conditions.into_iter().find(|condition| condition.type_ == name);
    found.map(|found| (found.status, found.message)).unwrap()
}

/// As a user does who changes the spec.
fn ask(api: &FakeApi, field: &str, value: Value) {
    let mut object = api.get(VERSION, "memgraphclusters", NAMESPACE, "demo").unwrap();
    object["spec"][field] = value;
    let generation = object["metadata"]["generation"].as_i64().unwrap_or(1);
    object["metadata"]["generation"] = json!(generation + 1);
    api.put("memgraphclusters", object);
}

/// Who may connect to the gateways.
fn policy(api: &FakeApi) -> Option<Value> {
    api.get(
        "networking.k8s.io/v1",
        "networkpolicies",
        NAMESPACE,
        "demo-gateway",
    )
}

#[tokio::test(start_paused = true)]
async fn what_a_quota_or_a_webhook_refuses_is_told_and_keeps_nobody_out_or_in() {
    let api = api();
    let operator = operator(&api, &FakeMemgraph::fresh(3)).await;
    settle(&api, &operator).await;
    let before = policy(&api);
    api.refuse("services", 403, "exceeded quota: balancers");
    ask(
        &api,
        "networkPolicy",
        json!({"clients": [{"podSelector": {"matchLabels": {"app": "shop"}}}]}),
    );
    ask(
        &api,
        "gateway",
        json!({"readWrite": {"service": {"type": "LoadBalancer"}}}),
    );
    let error = hindered(&api, &operator).await;
    assert!(error.to_string().contains("Service demo-gateway"), "{error}");
    let (_, told) = condition(&api, "Stalled");
    assert!(
        told.contains("Service demo-gateway") && told.contains("exceeded quota: balancers"),
        "{told}"
    );
    assert_ne!(policy(&api), before, "who may connect waits for nothing else");
    // What else is to be done does not come later for it.
    let known = || operator.clusters.known(&cluster(&api)).unwrap();
    for _ in 0..20 {
        let error = refused(&api, &operator).await;
        known().hindered(Duration::from_millis(300));
        let next = retry(Arc::new(cluster(&api)), &error, Arc::clone(&operator));
        let soon = (1..=300).any(|millis| next == Requeue::requeue(Duration::from_millis(millis)));
        assert!(soon, "{next:?}");
    }
    api.relent();
    until(&api, &operator, || condition(&api, "Stalled").0 == "False").await;
}

#[tokio::test(start_paused = true)]
async fn policies_that_are_switched_off_go_although_something_else_is_refused() {
    let api = api();
    let operator = operator(&api, &FakeMemgraph::fresh(3)).await;
    settle(&api, &operator).await;
    assert!(policy(&api).is_some());
    api.refuse("services", 403, "exceeded quota: balancers");
    ask(&api, "networkPolicy", json!({"enabled": false}));
    ask(
        &api,
        "gateway",
        json!({"readWrite": {"service": {"type": "LoadBalancer"}}}),
    );
    hindered(&api, &operator).await;
    assert!(policy(&api).is_none(), "who may connect waits for nothing else");
}

#[tokio::test(start_paused = true)]
async fn a_port_of_the_nodes_that_is_taken_keeps_nothing_else_from_being_applied() {
    let api = api();
    let operator = operator(&api, &FakeMemgraph::fresh(3)).await;
    settle(&api, &operator).await;
    api.refuse("services", 422, "provided port is already allocated");
    let service = json!({"name": "graphs", "type": "NodePort", "nodePort": 30687});
    ask(
        &api,
        "gateway",
        json!({"replicas": 3, "readWrite": {"service": service}}),
    );
    hindered(&api, &operator).await;
    let (_, told) = condition(&api, "Stalled");
    assert!(
        told.contains("Service graphs") && told.contains("already allocated"),
        "{told}"
    );
    let gateway = || {
        api.get("apps/v1", "deployments", NAMESPACE, "demo-gateway")
            .unwrap()
    };
    assert_eq!(gateway()["spec"]["replicas"], 3);
    let former = || api.get("v1", "services", NAMESPACE, "demo-gateway");
    assert!(former().is_some(), "clients still come by it");
    api.relent();
    until(&api, &operator, || condition(&api, "Stalled").0 == "False").await;
    until(&api, &operator, || former().is_none()).await;
}

#[tokio::test]
async fn what_may_pass_by_itself_is_told_later_and_meanwhile_nothing_is_said_of_what_is_asked_for() {
    let api = api();
    let operator = operator(&api, &FakeMemgraph::fresh(3)).await;
    settle(&api, &operator).await;
    api.refuse("services", 500, "etcdserver: request timed out");
    ask(
        &api,
        "gateway",
        json!({"readWrite": {"service": {"type": "LoadBalancer"}}}),
    );
    let observed = || cluster(&api).status.unwrap().observed_generation;
    let before = observed();
    for _ in 0..5 {
        refused(&api, &operator).await;
    }
    assert_eq!(
        (observed(), condition(&api, "Stalled").0.as_str()),
        (before, "False")
    );
    api.relent();
    until(&api, &operator, || observed() != before).await;
}

#[tokio::test]
async fn gateways_that_do_not_come_about_are_a_part_of_the_truth() {
    let api = api();
    let operator = operator(&api, &FakeMemgraph::fresh(3)).await;
    settle(&api, &operator).await;
    assert_eq!(condition(&api, "Reconciling").0, "False");
    let tell = |updated: i64| {
        let mut deployment = api
            .get("apps/v1", "deployments", NAMESPACE, "demo-gateway")
            .unwrap();
        let wanted = deployment["spec"]["replicas"].as_i64().unwrap();
        deployment["metadata"]["generation"] = json!(2);
        deployment["status"] = json!({
            "observedGeneration": 2, "replicas": wanted, "updatedReplicas": updated, "availableReplicas": wanted,
        });
        api.put("deployments", deployment);
        wanted
    };
    let wanted = tell(1);
    until(&api, &operator, || condition(&api, "Reconciling").0 == "True").await;
    let (_, told) = condition(&api, "Reconciling");
    assert_eq!(told, format!("gateways: 1 of {wanted} pods are up to date"));
    assert_eq!(condition(&api, "Ready").0, "True", "clients are served");
    tell(wanted);
    until(&api, &operator, || condition(&api, "Reconciling").0 == "False").await;
}

/// The gateways are as the spec asks, by what their controller says of the newest Deployment.
fn finish_gateways(api: &FakeApi) {
    let mut deployment = deployment(api).unwrap();
    let generation = deployment["metadata"]["generation"].as_i64().unwrap_or_default() + 1;
    let wanted = deployment["spec"]["replicas"].clone();
    deployment["metadata"]["generation"] = json!(generation);
    deployment["status"] = json!({
        "observedGeneration": generation, "replicas": wanted, "updatedReplicas": wanted, "availableReplicas": wanted,
    });
    api.put("deployments", deployment);
}

fn deployment(api: &FakeApi) -> Option<serde_json::Value> {
    api.get("apps/v1", "deployments", NAMESPACE, "demo-gateway")
}

/// What the cache shows of the gateways may be about the former spec.
#[tokio::test]
async fn nobody_is_told_that_gateways_are_as_asked_before_their_controller_has_seen_it() {
    let api = api();
    let operator = operator(&api, &FakeMemgraph::fresh(3)).await;
    settle(&api, &operator).await;
    finish_gateways(&api);
    api.break_watches();
    ask(&api, "gateway", json!({"resources": {"requests": {"cpu": "2"}}}));
    reconcile(Arc::new(cluster(&api)), Arc::clone(&operator))
        .await
        .unwrap();
    let asked = deployment(&api).unwrap()["spec"]["template"]["spec"]["containers"][0]["resources"].clone();
    assert_eq!(asked["requests"]["cpu"], "2");
    let reconciling = || {
        let status = cluster(&api).status.unwrap();
        assert_eq!(status.observed_generation, cluster(&api).metadata.generation);
        condition(&api, "Reconciling")
    };
    let unseen = "gateways: a change has not been seen by its controller yet".to_owned();
    assert_eq!(reconciling(), ("True".to_owned(), unseen.clone()));
    finish_gateways(&api);
    until(&api, &operator, || reconciling().0 == "False").await;

    // They are asked for again.
    ask(&api, "gateway", json!({"enabled": false}));
    until(&api, &operator, || {
        deployment(&api).is_none() && reconciling().0 == "False"
    })
    .await;
    api.break_watches();
    ask(&api, "gateway", json!({}));
    reconcile(Arc::new(cluster(&api)), Arc::clone(&operator))
        .await
        .unwrap();
    assert_eq!(reconciling(), ("True".to_owned(), unseen));
}

/// The spec changes while its former one is still being worked on.
#[tokio::test]
async fn what_was_asked_for_in_between_is_not_told_to_be_there_before_it_is_applied() {
    let api = api();
    let operator = operator(&api, &FakeMemgraph::fresh(3)).await;
    settle(&api, &operator).await;
    finish_gateways(&api);
    until(&api, &operator, || condition(&api, "Reconciling").0 == "False").await;
    ask(&api, "switchover", json!({"requestId": "1"}));
    let former = cluster(&api);
    ask(&api, "gateway", json!({"resources": {"requests": {"cpu": "2"}}}));
    reconcile(Arc::new(former), Arc::clone(&operator)).await.unwrap();
    let status = cluster(&api).status.unwrap();
    assert_eq!(status.ledger.unwrap().main.instance, "demo-1");
    assert_ne!(status.observed_generation, cluster(&api).metadata.generation);
    assert_eq!(condition(&api, "Reconciling").0, "True");
    until(&api, &operator, || {
        deployment(&api).unwrap()["spec"]["template"]["spec"]["containers"][0]["resources"]["requests"]["cpu"]
            == "2"
    })
    .await;
}
