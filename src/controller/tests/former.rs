//! A cluster that is made again under the name of one that still goes.

use std::{sync::Arc, time::Duration};

use serde_json::{Value, json};

use super::{
    super::reconcile::reconcile,
    fake_api::FakeApi,
    fake_memgraph::FakeMemgraph,
    reconciling::{NAMESPACE, VERSION, api, claim, cluster, hindered, operator, settle, successor, until},
};
use crate::{api::names, leader::Leadership};

/// Three instances' claims in the place of those that were there, as they belong to a StatefulSet with this UID; none: to nobody.
fn claims(api: &FakeApi, generation: &str, set_uid: Option<&Value>) {
    for ordinal in 0..3 {
        let mut claim = claim(&names::instance("demo", ordinal));
        claim["metadata"]["uid"] = json!(format!("{generation}-{ordinal}"));
        if let Some(uid) = set_uid {
            let owner = json!({"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "demo", "uid": uid});
            claim["metadata"]["ownerReferences"] = json!([owner]);
        }
        let name = claim["metadata"]["name"].as_str().unwrap().to_owned();
        api.remove("v1", "persistentvolumeclaims", NAMESPACE, &name);
        api.put("persistentvolumeclaims", claim);
    }
}

/// Deletes the cluster, and makes another one of its name.
fn make_again(api: &FakeApi) {
    let mut again = api.get(VERSION, "memgraphclusters", NAMESPACE, "demo").unwrap();
    again["metadata"]["uid"] = json!("another-uid");
    again.as_object_mut().unwrap().remove("status");
    api.remove(VERSION, "memgraphclusters", NAMESPACE, "demo");
    api.put("memgraphclusters", again);
    assert_eq!(cluster(api).metadata.uid.as_deref(), Some("another-uid"));
}

/// `retentionPolicy.whenDeleted: Delete`: Kubernetes deletes the StatefulSet first, and its pods and claims after it.
#[tokio::test]
async fn nothing_is_set_up_on_volumes_that_go_with_a_former_cluster() {
    let api = api();
    let memgraph = FakeMemgraph::fresh(3);
    let first = operator(&api, &memgraph).await;
    settle(&api, &first).await;
    let set = api.get("apps/v1", "statefulsets", NAMESPACE, "demo").unwrap();
    claims(&api, "former", Some(&set["metadata"]["uid"]));
    make_again(&api);
    let operator = successor(&first, &memgraph, Leadership::for_ever()).await;
    let look = async || {
        for _ in 0..5 {
            // That objects of the former cluster are in the way is an error.
            reconcile(Arc::new(cluster(&api)), Arc::clone(&operator))
                .await
                .ok();
            tokio::task::yield_now().await;
        }
        cluster(&api).status.unwrap()
    };
    let serving = memgraph.roles();
    assert_eq!(look().await.ledger, None);

    // Kubernetes has come to the claims: pods that end keep them for a while.
    api.collect_garbage();
    assert_eq!(api.get("apps/v1", "statefulsets", NAMESPACE, "demo"), None);
    let waits_for = |instance: &str| {
        let said = format!("waiting for the volume claim of {instance} to end");
        let conditions = cluster(&api).status.unwrap().conditions;
        conditions
            .iter()
            .any(|condition| condition.message.contains(&said))
    };
    let wait_for = async |instance: &str| {
        let waiting = async {
            while !waits_for(instance) {
                assert_eq!(look().await.ledger, None);
            }
        };
        let told = tokio::time::timeout(Duration::from_secs(20), waiting).await;
        told.expect("the condition tells what is waited for");
    };
    wait_for("demo-0").await;
    assert_eq!(memgraph.roles(), serving);

    // The next ones, of which somebody deletes one: its pod keeps it for as long as that runs.
    claims(&api, "next", None);
    let mut deleted = claim("demo-1");
    deleted["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    api.put("persistentvolumeclaims", deleted);
    wait_for("demo-1").await;
    claims(&api, "next", None);
    until(&api, &operator, || cluster(&api).status.unwrap().ledger.is_some()).await;
}

/// `kubectl replace --force`: Kubernetes' garbage collector comes to the objects of the former cluster a moment later.
#[tokio::test]
async fn objects_that_are_about_to_go_with_a_former_cluster_are_no_matter_for_a_human_at_once() {
    let api = api();
    let memgraph = FakeMemgraph::fresh(3);
    let first = operator(&api, &memgraph).await;
    settle(&api, &first).await;
    make_again(&api);
    let operator = successor(&first, &memgraph, Leadership::for_ever()).await;
    let mut errors = 0;
    while errors < 3 {
        if let Err(error) = reconcile(Arc::new(cluster(&api)), Arc::clone(&operator)).await {
            assert!(
                error.to_string().contains("belongs to a former cluster"),
                "{error}"
            );
            errors += 1;
        }
        let conditions = cluster(&api).status.unwrap().conditions;
        let stalled = conditions
            .iter()
            .find(|condition| condition.type_ == "Stalled")
            .unwrap();
        assert_ne!(stalled.status, "True", "{}", stalled.message);
    }
    // Where nobody comes to them, it is said.
    let state = operator.clusters.known(&cluster(&api)).unwrap();
    let stands = async {
        while state.hindered_for() < Duration::from_secs(5) {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        hindered(&api, &operator).await
    };
    let error = tokio::time::timeout(Duration::from_secs(20), stands)
        .await
        .unwrap();
    assert!(
        error.to_string().contains("where it never does, delete it"),
        "{error}"
    );
    let conditions = cluster(&api).status.unwrap().conditions;
    let stalled = conditions
        .iter()
        .find(|condition| condition.type_ == "Stalled")
        .unwrap();
    assert_eq!(stalled.reason, "ForeignObject");
}
