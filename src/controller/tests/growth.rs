//! Volumes that are to be larger.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{
    super::reconcile::reconcile,
    fake_api::FakeApi,
    fake_memgraph::FakeMemgraph,
    reconciling::{NAMESPACE, api, cluster, operator, refused, settle},
};
use crate::api::names;

/// Has the cluster's spec be `spec`.
pub(super) fn ask(api: &FakeApi, spec: Value) {
    let mut asked = api
        .get("memgraph.dev/v1alpha1", "memgraphclusters", NAMESPACE, "demo")
        .unwrap();
    asked["spec"] = spec;
    asked["metadata"]["generation"] = json!(asked["metadata"]["generation"].as_i64().unwrap() + 1);
    api.put("memgraphclusters", asked);
}

/// Until whoever watches has heard of everything.
pub(super) async fn caches_follow() {
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
}

pub(super) fn set(api: &FakeApi) -> Option<Value> {
    api.get("apps/v1", "statefulsets", NAMESPACE, "demo")
}

/// What each claim asks for.
pub(super) fn requests(api: &FakeApi) -> Vec<Value> {
    let request = |ordinal| {
        let claim = names::data_claim(&names::instance("demo", ordinal));
        let claim = api.get("v1", "persistentvolumeclaims", NAMESPACE, &claim);
        claim.unwrap()["spec"]["resources"]["requests"]["storage"].clone()
    };
    (0..3).map(request).collect()
}

pub(super) fn condition(api: &FakeApi, wanted: &str) -> (String, String, String) {
    let conditions = cluster(api).status.unwrap().conditions;
    let condition = conditions.into_iter().find(|c| c.type_ == wanted).unwrap();
    (condition.status, condition.reason, condition.message)
}

pub(super) const TEMPLATE: &str = "/spec/volumeClaimTemplates/0/spec/resources/requests/storage";

#[tokio::test]
async fn claims_ask_for_more_and_another_stateful_set_takes_the_place_of_the_first() {
    let api = api();
    let operator = operator(&api, &FakeMemgraph::fresh(3)).await;
    settle(&api, &operator).await;
    api.observe_sets();
    caches_follow().await;
    let before = set(&api).unwrap();
    api.take_requests();
    ask(&api, json!({"storage": {"size": "20Gi"}}));
    let reconcile_once = async || {
        reconcile(Arc::new(cluster(&api)), Arc::clone(&operator))
            .await
            .unwrap();
        caches_follow().await;
    };
    reconcile_once().await;
    assert_eq!(requests(&api), ["20Gi", "20Gi", "20Gi"]);
    assert!(!set(&api).unwrap()["metadata"]["deletionTimestamp"].is_null());
    assert_eq!(condition(&api, "StorageReady").1, "Expanding");
    // For as long as it is there, it is waited for.
    let sent = |requests: Vec<String>| {
        let changes = |request: &String| !request.starts_with("GET") && !request.contains("memgraphclusters");
        requests.into_iter().filter(changes).collect::<Vec<_>>()
    };
    let changes = sent(api.take_requests());
    assert_eq!(changes.len(), 7, "{changes:?}");
    reconcile_once().await;
    assert_eq!(sent(api.take_requests()), Vec::<String>::new());
    api.collect_garbage();
    caches_follow().await;
    reconcile_once().await;
    let after = set(&api).unwrap();
    assert_ne!(before["metadata"]["uid"], after["metadata"]["uid"]);
    assert_eq!(
        (before.pointer(TEMPLATE), after.pointer(TEMPLATE)),
        (Some(&json!("10Gi")), Some(&json!("20Gi")))
    );
    assert_eq!(before["spec"]["template"], after["spec"]["template"]);
    // The volumes have grown.
    for ordinal in 0..3 {
        let claim = names::data_claim(&names::instance("demo", ordinal));
        let mut claim = api
            .get("v1", "persistentvolumeclaims", NAMESPACE, &claim)
            .unwrap();
        claim["status"]["capacity"]["storage"] = json!("20Gi");
        api.put("persistentvolumeclaims", claim);
    }
    for _ in 0..3 {
        reconcile_once().await;
    }
    assert_eq!(condition(&api, "StorageReady").1, "AsExpected");
    assert_eq!(condition(&api, "Reconciling").0, "False");
    assert!(!api.take_requests().iter().any(|request| request.contains("pods")));
}

/// Pods by name, with the UIDs of their owners.
fn owners(api: &FakeApi) -> Vec<(String, Vec<Value>)> {
    let pods = api
        .objects()
        .into_iter()
        .filter(|((_, plural, _, _), _)| plural == "pods");
    let instances =
        pods.filter(|(_, pod)| pod["metadata"]["labels"][names::COMPONENT_LABEL] == names::INSTANCE);
    let owners = |pod: &Value| {
        let owners = pod["metadata"]["ownerReferences"].as_array().cloned();
        owners
            .unwrap_or_default()
            .iter()
            .map(|owner| owner["uid"].clone())
            .collect()
    };
    instances
        .map(|((_, _, _, name), pod)| (name, owners(&pod)))
        .collect()
}

#[tokio::test]
async fn a_cluster_that_is_deleted_without_a_stateful_set_leaves_no_pod_behind() {
    let api = api();
    let operator = operator(&api, &FakeMemgraph::fresh(3)).await;
    settle(&api, &operator).await;
    let uid = set(&api).unwrap()["metadata"]["uid"].clone();
    for ordinal in 0..3 {
        let mut pod = api
            .get("v1", "pods", NAMESPACE, &names::instance("demo", ordinal))
            .unwrap();
        pod["metadata"]["ownerReferences"] = json!([{"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "demo", "uid": uid, "controller": true}]);
        api.put("pods", pod);
    }
    api.observe_sets();
    caches_follow().await;
    ask(&api, json!({"storage": {"size": "20Gi"}}));
    reconcile(Arc::new(cluster(&api)), Arc::clone(&operator))
        .await
        .unwrap();
    api.collect_garbage();
    assert_eq!(set(&api), None);
    let of_cluster = json!(cluster(&api).metadata.uid);
    for (pod, owners) in owners(&api) {
        assert_eq!(owners, std::slice::from_ref(&of_cluster), "{pod}");
    }
    assert_eq!(owners(&api).len(), 3);
    api.remove("memgraph.dev/v1alpha1", "memgraphclusters", NAMESPACE, "demo");
    api.collect_garbage();
    assert_eq!(owners(&api), []);
}

#[tokio::test]
async fn whoever_refuses_a_larger_volume_is_quoted_and_is_not_asked_all_the_time() {
    let api = api();
    let operator = operator(&api, &FakeMemgraph::fresh(3)).await;
    settle(&api, &operator).await;
    api.observe_sets();
    caches_follow().await;
    api.refuse_growth("the storageclass must support resize");
    ask(&api, json!({"storage": {"size": "20Gi"}}));
    api.take_requests();
    for _ in 0..3 {
        assert_eq!(refused(&api, &operator).await.kind(), "object");
        caches_follow().await;
        // A volume that is made from now on is larger all the same.
        api.collect_garbage();
    }
    assert_eq!(requests(&api), ["10Gi", "10Gi", "10Gi"]);
    let asked = api.take_requests();
    let asked = asked
        .iter()
        .filter(|request| request.starts_with("PATCH") && request.contains("persistentvolumeclaims"));
    assert_eq!(asked.count(), 3);
    let (status, reason, message) = condition(&api, "StorageReady");
    assert_eq!((status.as_str(), reason.as_str()), ("False", "ExpansionRefused"));
    for part in [
        "data-demo-0, data-demo-1, data-demo-2 cannot grow to 20Gi",
        "the storageclass must support resize",
    ] {
        assert!(message.contains(part), "{message}");
    }
    assert_eq!(condition(&api, "Stalled").1, "ExpansionRefused");
    assert_eq!(condition(&api, "Ready").0, "True");
    assert_eq!(set(&api).unwrap().pointer(TEMPLATE), Some(&json!("20Gi")));
}
