//! A cluster that sleeps, and objects that are not as they should be.

use std::{sync::Arc, time::Duration};

use serde_json::json;

use super::{
    super::reconcile::reconcile,
    fake_api::FakeApi,
    fake_memgraph::FakeMemgraph,
    growth::{ask, caches_follow, condition},
    reconciling::{NAMESPACE, api, cluster, operator, settle},
};
use crate::api::names;

/// All pods end, and have ended.
fn end_pods(api: &FakeApi) {
    for (place, _) in api.objects() {
        if place.1 == "pods" {
            api.remove(&place.0, &place.1, &place.2, &place.3);
        }
    }
}

#[tokio::test]
async fn whoever_forbids_claims_to_outlive_their_set_is_quoted_and_holds_nothing_else_up() {
    let api = api();
    let operator = operator(&api, &FakeMemgraph::fresh(3)).await;
    settle(&api, &operator).await;
    let uid = api.get("apps/v1", "statefulsets", NAMESPACE, "demo").unwrap()["metadata"]["uid"].clone();
    for ordinal in 0..3 {
        let claim = names::data_claim(&names::instance("demo", ordinal));
        let mut claim = api
            .get("v1", "persistentvolumeclaims", NAMESPACE, &claim)
            .unwrap();
        let owner = json!({"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "demo", "uid": uid});
        claim["metadata"]["ownerReferences"] = json!([owner]);
        api.put("persistentvolumeclaims", claim);
    }
    api.refuse_owners("cannot set an ownerRef on a resource you can't delete");
    ask(&api, json!({"hibernated": true, "gateway": {"enabled": false}}));
    end_pods(&api);
    caches_follow().await;
    let service = || api.get("v1", "services", NAMESPACE, "demo-gateway");
    assert!(service().is_some());
    let refused = async {
        loop {
            let done = reconcile(Arc::new(cluster(&api)), Arc::clone(&operator)).await;
            caches_follow().await;
            if let Err(error) = done {
                break error;
            }
        }
    };
    let error = tokio::time::timeout(Duration::from_secs(20), refused).await;
    assert_eq!(error.expect("it is said").kind(), "object");
    assert_eq!(service(), None, "it comes after the StatefulSet");
    let (status, reason, message) = condition(&api, "Stalled");
    assert_eq!((status.as_str(), reason.as_str()), ("True", "InvalidSpec"));
    for part in [
        "data-demo-0, data-demo-1, data-demo-2",
        "cannot set an ownerRef",
        "spec.hibernated: false",
        "delete persistentvolumeclaims",
    ] {
        assert!(message.contains(part), "{message}");
    }
    assert_eq!(condition(&api, "Hibernated").0, "True");
}

#[tokio::test(start_paused = true)]
async fn instances_come_back_as_they_were_unless_nobody_makes_them_so() {
    let api = api();
    let operator = operator(&api, &FakeMemgraph::fresh(3)).await;
    settle(&api, &operator).await;
    api.observe_sets();
    let go_on = async || {
        caches_follow().await;
        reconcile(Arc::new(cluster(&api)), Arc::clone(&operator))
            .await
            .unwrap();
    };
    ask(&api, json!({"hibernated": true}));
    end_pods(&api);
    let asleep = async {
        go_on().await;
        while condition(&api, "Hibernated").0 != "True" {
            go_on().await;
        }
    };
    let within = tokio::time::timeout(Duration::from_secs(20), asleep).await;
    within.expect("it falls asleep");
    let set = || api.get("apps/v1", "statefulsets", NAMESPACE, "demo").unwrap();
    let asks_for = || {
        let set = set();
        let debug = set["spec"]["template"].to_string().contains("--log-level=DEBUG");
        (set["spec"]["replicas"].as_i64(), debug)
    };
    go_on().await;
    assert_eq!(asks_for(), (Some(0), false));
    ask(&api, json!({"config": {"log-level": "DEBUG"}}));
    for _ in 0..5 {
        go_on().await;
        assert_eq!(asks_for(), (Some(3), false), "no pod was made yet");
        assert_eq!(condition(&api, "Hibernated").1, "Waking");
    }
    tokio::time::advance(Duration::from_secs(60)).await;
    go_on().await;
    assert_eq!(asks_for(), (Some(3), true));
}
