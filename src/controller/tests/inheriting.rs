//! What Secrets and volume claims have of `inheritedMetadata`.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{
    super::reconcile::reconcile,
    fake_api::FakeApi,
    fake_memgraph::FakeMemgraph,
    reconciling::{NAMESPACE, api, cluster, hindered, operator, settle, until},
};
use crate::{
    api::names,
    resources::{INHERITED_ANNOTATION, inherits},
};

fn give(api: &FakeApi, field: &str, value: Value) {
    let mut asked = api
        .get("memgraph.dev/v1alpha1", "memgraphclusters", NAMESPACE, "demo")
        .unwrap();
    asked["spec"][field] = value;
    api.put("memgraphclusters", asked);
}

fn metadata(api: &FakeApi, plural: &str, name: &str) -> Value {
    api.get("v1", plural, NAMESPACE, name).unwrap()["metadata"].take()
}

fn claim(api: &FakeApi, ordinal: i32) -> Value {
    let claim = names::data_claim(&names::instance("demo", ordinal));
    metadata(api, "persistentvolumeclaims", &claim)
}

fn all_inherit(api: &FakeApi) -> bool {
    let wanted = cluster(api);
    let inherits = |ordinal| inherits(&wanted, &serde_json::from_value(claim(api, ordinal)).unwrap());
    (0..3).all(inherits)
}

/// Requests that change something, but for the status.
fn changes(api: &FakeApi) -> Vec<String> {
    let mut requests = api.take_requests();
    requests.retain(|request| !request.starts_with("GET") && !request.ends_with("/demo/status"));
    requests
}

#[tokio::test]
async fn volume_claims_get_labels_while_the_cluster_runs_lose_them_again_and_are_left_alone_at_rest() {
    let api = api();
    let operator = operator(&api, &FakeMemgraph::fresh(3)).await;
    settle(&api, &operator).await;
    until(&api, &operator, || changes(&api).is_empty()).await;
    let before = claim(&api, 0);
    give(
        &api,
        "inheritedMetadata",
        json!({"labels": {"team": "graphs", "tier": "gold"}, "annotations": {"example.com/owner": "we"}}),
    );
    until(&api, &operator, || all_inherit(&api)).await;
    let given = claim(&api, 0);
    assert_eq!(given["labels"]["team"], "graphs");
    assert_eq!(given["annotations"]["example.com/owner"], "we");
    let note = names::NOTE_ANNOTATION;
    assert_eq!(given["annotations"][note], before["annotations"][note]);
    assert_eq!(given["labels"][names::CLUSTER_LABEL], "demo");
    until(&api, &operator, || changes(&api).is_empty()).await;
    for _ in 0..3 {
        reconcile(Arc::new(cluster(&api)), Arc::clone(&operator))
            .await
            .unwrap();
    }
    assert_eq!(changes(&api), [""; 0]);

    give(&api, "inheritedMetadata", json!({"labels": {"tier": "silver"}}));
    until(&api, &operator, || all_inherit(&api)).await;
    let labels = &claim(&api, 2)["labels"];
    assert_eq!(
        (&labels["team"], &labels["tier"]),
        (&Value::Null, &json!("silver"))
    );

    give(&api, "inheritedMetadata", Value::Null);
    until(&api, &operator, || all_inherit(&api)).await;
    let mut bare = claim(&api, 0);
    assert_eq!(bare["labels"], before["labels"]);
    bare["annotations"]
        .as_object_mut()
        .unwrap()
        .retain(|key, _| key != note);
    assert_eq!(bare["annotations"], json!({}), "{INHERITED_ANNOTATION} goes, too");
}

#[tokio::test]
async fn claims_beyond_the_declared_instances_inherit_and_none_does_in_a_pause() {
    let api = api();
    let operator = operator(&api, &FakeMemgraph::fresh(3)).await;
    settle(&api, &operator).await;
    let mut left = api
        .get("v1", "persistentvolumeclaims", NAMESPACE, "data-demo-0")
        .unwrap();
    for name in ["data-demo-7", "backup-demo-0"] {
        left["metadata"] =
            json!({"name": name, "namespace": NAMESPACE, "labels": left["metadata"]["labels"]});
        api.put("persistentvolumeclaims", left.clone());
    }
    give(&api, "paused", json!(true));
    give(&api, "inheritedMetadata", json!({"labels": {"team": "graphs"}}));
    for _ in 0..5 {
        reconcile(Arc::new(cluster(&api)), Arc::clone(&operator))
            .await
            .unwrap();
        tokio::task::yield_now().await;
    }
    assert_eq!(claim(&api, 0)["labels"]["team"], Value::Null);
    give(&api, "paused", json!(false));
    until(&api, &operator, || claim(&api, 7)["labels"]["team"] == "graphs").await;
    let other = metadata(&api, "persistentvolumeclaims", "backup-demo-0");
    assert_eq!(other["labels"]["team"], Value::Null, "it is no instance's");
}

#[tokio::test]
async fn that_claims_may_not_be_changed_is_told() {
    let api = api();
    let operator = operator(&api, &FakeMemgraph::fresh(3)).await;
    settle(&api, &operator).await;
    give(&api, "inheritedMetadata", json!({"labels": {"team": "graphs"}}));
    api.refuse("persistentvolumeclaims", 403, "denied by policy");
    let error = super::super::chain(&hindered(&api, &operator).await);
    assert!(
        error.contains("cannot apply PersistentVolumeClaim data-demo-0"),
        "{error}"
    );
    api.relent();
    until(&api, &operator, || all_inherit(&api)).await;
}

#[tokio::test(start_paused = true)]
async fn secrets_of_the_user_inherit_and_keep_what_is_in_them() {
    let api = api();
    give(&api, "auth", json!({"secretRef": {"name": "graph-user"}}));
    let declared = json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "graph-user", "namespace": NAMESPACE},
        "data": {"username": "YXBw", "password": "Zmlyc3Q="},
    });
    api.put("secrets", declared);
    give(&api, "inheritedMetadata", json!({"labels": {"team": "graphs"}}));
    let operator = operator(&api, &FakeMemgraph::fresh(3)).await;
    settle(&api, &operator).await;
    let secrets = ["demo-credentials", "demo-app"];
    let data = || secrets.map(|name| api.get("v1", "secrets", NAMESPACE, name).unwrap()["data"].take());
    let label = || secrets.map(|name| metadata(&api, "secrets", name)["labels"]["team"].take());
    let before = data();
    assert_eq!(label(), ["graphs"; 2]);
    give(&api, "inheritedMetadata", json!({"labels": {"team": "others"}}));
    until(&api, &operator, || label() == ["others"; 2]).await;
    give(&api, "inheritedMetadata", Value::Null);
    until(&api, &operator, || label() == [Value::Null, Value::Null]).await;
    assert_eq!(data(), before);
}
