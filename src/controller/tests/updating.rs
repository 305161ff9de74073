//! What is said, and done, between a change of the spec and the first pod that has it.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{
    super::reconcile::reconcile,
    fake_api::FakeApi,
    fake_memgraph::FakeMemgraph,
    reconciling::{NAMESPACE, VERSION, api, cluster, operator, settle, until},
};
use crate::api::names;

fn set(api: &FakeApi) -> Value {
    api.get("apps/v1", "statefulsets", NAMESPACE, "demo").unwrap()
}

fn condition(api: &FakeApi, type_: &str) -> (String, String) {
    let conditions = cluster(api).status.unwrap().conditions;
    let condition = conditions.into_iter().find(|condition| condition.type_ == type_);
    condition.map_or_else(Default::default, |found| (found.status, found.reason))
}

fn told(status: &str, reason: &str) -> (String, String) {
    (status.to_owned(), reason.to_owned())
}

/// Who waits for a change by the status must not read that it has come before it has begun.
#[tokio::test]
async fn a_change_is_told_as_done_by_no_status_before_pods_have_it() {
    let api = api();
    let operator = operator(&api, &FakeMemgraph::fresh(3)).await;
    settle(&api, &operator).await;
    let made_with = set(&api)["spec"]["template"]["metadata"]["annotations"].clone();
    let pods = || (0..3).filter_map(|n| api.get("v1", "pods", NAMESPACE, &format!("demo-{n}")));
    for mut pod in pods() {
        pod["metadata"]["annotations"] = made_with.clone();
        api.put("pods", pod);
    }
    until(&api, &operator, || condition(&api, "UpToDate").0 == "True").await;

    // The controller of StatefulSets is behind: it may still make pods of an earlier one.
    let mut behind = set(&api);
    behind["metadata"]["generation"] = json!(2);
    api.put("statefulsets", behind);
    let mut changed = api.get(VERSION, "memgraphclusters", NAMESPACE, "demo").unwrap();
    changed["metadata"]["generation"] = json!(2);
    changed["spec"]["config"] = json!({"query-execution-timeout-sec": "601"});
    api.put("memgraphclusters", changed);
    for _ in 0..3 {
        let seen = Arc::new(cluster(&api));
        reconcile(seen, Arc::clone(&operator)).await.unwrap();
        let status = cluster(&api).status.unwrap();
        assert_eq!(status.observed_generation, Some(2));
        assert_eq!(condition(&api, "UpToDate"), told("False", "Updating"));
        assert_eq!(condition(&api, "Reconciling"), told("True", "Updating"));
        tokio::task::yield_now().await;
    }
    let configuration = |annotations: &Value| annotations[names::CONFIGURATION_ANNOTATION].clone();
    let template = || configuration(&set(&api)["spec"]["template"]["metadata"]["annotations"]);
    until(&api, &operator, || template() != configuration(&made_with)).await;
    assert_eq!(
        pods().count(),
        3,
        "a pod was replaced by one that may be made as before"
    );

    let mut seen = set(&api);
    seen["status"]["observedGeneration"] = seen["metadata"]["generation"].clone();
    api.put("statefulsets", seen);
    until(&api, &operator, || pods().count() == 2).await;
}
