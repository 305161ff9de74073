//! A size of volumes that was too large, and is taken back.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{
    super::{observe::Inventory, reconcile::reconcile, withdraw::withdraw},
    fake_api::FakeApi,
    fake_gateways::FakeGateways,
    fake_memgraph::FakeMemgraph,
    growth::{TEMPLATE, ask, caches_follow, condition, requests, set},
    reconciling::{NAMESPACE, api, claim, cluster, operator, pod, refused, settle},
};
use crate::{
    api::{MemgraphCluster, names},
    controller::Operator,
};

const LATER: &str = "demo-3";

fn claim_of(api: &FakeApi, instance: &str) -> Option<Value> {
    api.get(
        "v1",
        "persistentvolumeclaims",
        NAMESPACE,
        &names::data_claim(instance),
    )
}

/// The claim of an instance that waits for a volume of this size, as the StatefulSet's controller makes it.
fn without_volume(instance: &str, size: &str) -> Value {
    let mut made = claim(instance);
    made["spec"] = json!({"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": size}}});
    made["status"] = json!({"phase": "Pending"});
    made
}

async fn reconcile_once(api: &FakeApi, operator: &Arc<Operator<FakeMemgraph, FakeGateways>>) {
    // What is in the way is another test's.
    reconcile(Arc::new(cluster(api)), Arc::clone(operator)).await.ok();
    caches_follow().await;
}

/// A cluster of three that was to have 100Ti and a fourth instance, which waits for its volume.
async fn too_large() -> (FakeApi, Arc<Operator<FakeMemgraph, FakeGateways>>) {
    let api = api();
    let operator = operator(&api, &FakeMemgraph::fresh(4)).await;
    settle(&api, &operator).await;
    api.observe_sets();
    caches_follow().await;
    ask(&api, json!({"replicas": 4, "storage": {"size": "100Ti"}}));
    for _ in 0..4 {
        reconcile_once(&api, &operator).await;
        api.collect_garbage();
        api.observe_sets();
        caches_follow().await;
    }
    assert_eq!(requests(&api), ["100Ti", "100Ti", "100Ti"]);
    assert_eq!(set(&api).unwrap().pointer(TEMPLATE), Some(&json!("100Ti")));
    let mut pending = pod(LATER, names::INSTANCE, names::INSTANCE_CONTAINER, "");
    pending["status"] = json!({"phase": "Pending"});
    api.put("pods", pending);
    api.put("persistentvolumeclaims", without_volume(LATER, "100Ti"));
    caches_follow().await;
    reconcile_once(&api, &operator).await;
    assert_eq!(cluster(&api).status.unwrap().volume_size.as_deref(), Some("10Gi"));
    assert!(claim_of(&api, LATER).is_some());
    (api, operator)
}

#[tokio::test]
async fn claims_without_a_volume_are_made_again_and_all_else_stays_as_it_is() {
    let (api, operator) = too_large().await;
    let before = set(&api).unwrap();
    api.take_requests();
    ask(&api, json!({"replicas": 4, "storage": {"size": "10Gi"}}));
    // While the former StatefulSet is there, its controller would make the claim as it was.
    reconcile_once(&api, &operator).await;
    assert!(!set(&api).unwrap()["metadata"]["deletionTimestamp"].is_null());
    let deletions = |requests: &[String]| {
        let deleted = requests
            .iter()
            .filter_map(|request| request.strip_prefix("DELETE "));
        deleted
            .map(|path| path.rsplit('/').next().unwrap_or_default().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(deletions(&api.take_requests()), ["demo"]);
    reconcile_once(&api, &operator).await;
    assert_eq!(claim_of(&api, LATER), None);
    api.collect_garbage();
    caches_follow().await;
    for _ in 0..2 {
        reconcile_once(&api, &operator).await;
    }
    let after = set(&api).unwrap();
    assert_eq!(after.pointer(TEMPLATE), Some(&json!("10Gi")));
    assert_eq!(before["spec"]["template"], after["spec"]["template"]);
    // The API server would not take less from those that have a volume.
    assert_eq!(requests(&api), ["100Ti", "100Ti", "100Ti"]);
    let sent = api.take_requests();
    assert_eq!(deletions(&sent), [names::data_claim(LATER)]);
    let asked = |request: &&String| request.starts_with("PATCH") && request.contains("data-demo-");
    let asked: Vec<_> = sent.iter().filter(asked).collect();
    assert!(asked.is_empty(), "{asked:?}");
    // As its controller does.
    api.put("persistentvolumeclaims", claim(LATER));
    caches_follow().await;
    for _ in 0..3 {
        reconcile_once(&api, &operator).await;
    }
    let (status, reason, message) = condition(&api, "StorageReady");
    assert_eq!(
        (status.as_str(), reason.as_str()),
        ("True", "AsExpected"),
        "{message}"
    );
    assert_eq!(condition(&api, "Stalled").0, "False");
}

#[tokio::test]
async fn where_another_size_is_to_be_had_claims_ask_for_that() {
    let (api, operator) = too_large().await;
    ask(&api, json!({"replicas": 3, "storage": {"size": "20Gi"}}));
    reconcile_once(&api, &operator).await;
    assert_eq!(requests(&api), ["20Gi", "20Gi", "20Gi"]);
    assert_eq!(condition(&api, "StorageReady").1, "Expanding");
}

#[tokio::test]
async fn whoever_may_not_delete_claims_names_them_and_what_helps() {
    let (api, operator) = too_large().await;
    api.refuse_deletion("may not delete claims");
    ask(&api, json!({"replicas": 4, "storage": {"size": "10Gi"}}));
    reconcile_once(&api, &operator).await;
    assert_eq!(refused(&api, &operator).await.kind(), "object");
    assert!(claim_of(&api, LATER).is_some());
    let (status, reason, message) = condition(&api, "Stalled");
    assert_eq!((status.as_str(), reason.as_str()), ("True", "ObjectRefused"));
    for part in [
        "may not delete claims",
        &format!("kubectl delete persistentvolumeclaim -n {NAMESPACE} data-demo-3"),
    ] {
        assert!(message.contains(part), "{message}");
    }
}

/// Whether `withdraw` has deleted this claim, of which it knows what `seen` says, in a cluster like that.
async fn withdrawn(api: &FakeApi, cluster: &MemgraphCluster, seen: &Value) -> bool {
    withdrawn_beside(None, api, cluster, seen).await
}

/// The same where there is this StatefulSet.
async fn withdrawn_beside(
    set: Option<&Value>,
    api: &FakeApi,
    cluster: &MemgraphCluster,
    seen: &Value,
) -> bool {
    let name = seen["metadata"]["name"].as_str().unwrap();
    let pods = api.objects().into_iter().filter(|(place, _)| place.1 == "pods");
    let inventory = Inventory {
        claims: vec![Arc::new(serde_json::from_value(seen.clone()).unwrap())],
        instances: pods
            .map(|(_, mut pod)| {
                pod["spec"]["containers"] = json!([]);
                Arc::new(serde_json::from_value(pod).unwrap())
            })
            .collect(),
        stateful_set: set.map(|set| Arc::new(serde_json::from_value(set.clone()).unwrap())),
        ..Inventory::default()
    };
    withdraw(&api.client(), cluster, &inventory).await.unwrap();
    api.get("v1", "persistentvolumeclaims", NAMESPACE, name).is_none()
}

/// The claim as the API server has it.
fn put(api: &FakeApi, claim: &Value) -> Value {
    api.put("persistentvolumeclaims", claim.clone());
    let name = claim["metadata"]["name"].as_str().unwrap();
    api.get("v1", "persistentvolumeclaims", NAMESPACE, name).unwrap()
}

#[tokio::test]
async fn a_claim_that_got_its_volume_meanwhile_stays() {
    let api = api();
    let waits = put(&api, &without_volume("demo-0", "100Ti"));
    put(&api, &claim("demo-0"));
    assert!(!withdrawn(&api, &cluster(&api), &waits).await);
    let waits = put(&api, &without_volume("demo-1", "100Ti"));
    assert!(withdrawn(&api, &cluster(&api), &waits).await);
}

#[tokio::test]
async fn a_claim_that_the_stateful_set_has_not_made_so_stays() {
    let changed = |pointer: &str, field: &str, value: Value| {
        let mut claim = without_volume("demo-0", "100Ti");
        claim.pointer_mut(pointer).unwrap()[field] = value;
        claim
    };
    let labels = json!({names::CLUSTER_LABEL: "demo"});
    for claim in [
        changed("/spec", "volumeName", json!("disk-a")),
        changed("/spec", "selector", json!({"matchLabels": {"disk": "a"}})),
        changed(
            "/spec",
            "dataSource",
            json!({"kind": "VolumeSnapshot", "name": "a"}),
        ),
        changed(
            "/spec",
            "dataSourceRef",
            json!({"kind": "VolumeSnapshot", "name": "a"}),
        ),
        changed("/spec", "storageClassName", json!("slow")),
        changed("/metadata", "labels", labels),
        changed("/metadata", "deletionTimestamp", json!("2026-01-01T00:00:00Z")),
        changed("/metadata", "name", json!("data-demo-7")),
        changed("/status", "phase", json!("Lost")),
        without_volume("demo-0", "10Gi"),
    ] {
        let api = api();
        let mut cluster = cluster(&api);
        cluster.spec.storage.storage_class_name = Some("fast".to_owned());
        let mut usual = without_volume("demo-1", "100Ti");
        usual["spec"]["storageClassName"] = json!("fast");
        let mut claim = claim;
        if claim["spec"]["storageClassName"].is_null() {
            claim["spec"]["storageClassName"] = json!("fast");
        }
        let (usual, claim) = (put(&api, &usual), put(&api, &claim));
        assert!(!withdrawn(&api, &cluster, &claim).await, "{claim}");
        assert!(withdrawn(&api, &cluster, &usual).await);
    }
}

/// An admission webhook that raises it, for example, would do so again and again.
#[tokio::test]
async fn what_is_made_larger_than_it_was_asked_for_stays() {
    let api = api();
    settle(&api, &operator(&api, &FakeMemgraph::fresh(3)).await).await;
    let at = |object: &Value, second: u8| {
        let mut object = object.clone();
        object["metadata"]["creationTimestamp"] = json!(format!("2026-01-01T00:00:{second:02}Z"));
        object
    };
    let stays = at(&set(&api).unwrap(), 10);
    let mut goes = stays.clone();
    goes["metadata"]["deletionTimestamp"] = json!("2026-01-01T01:00:00Z");
    *goes.pointer_mut(TEMPLATE).unwrap() = json!("100Ti");
    for (set, second, expected) in [
        (Some(&stays), 9, true),
        (Some(&stays), 11, false),
        (Some(&goes), 9, false),
        (Some(&goes), 11, true),
        (None, 1, false),
        (None, 11, true),
    ] {
        let mut cluster = cluster(&api);
        cluster.metadata.creation_timestamp = serde_json::from_value(json!("2026-01-01T00:00:05Z")).unwrap();
        let claim = put(&api, &at(&without_volume("demo-0", "100Ti"), second));
        assert_eq!(
            withdrawn_beside(set, &api, &cluster, &claim).await,
            expected,
            "{second}: {set:?}"
        );
    }
}

#[tokio::test]
async fn a_claim_whose_pod_is_on_a_node_stays() {
    let api = api();
    let waits = put(&api, &without_volume("demo-0", "100Ti"));
    let mut pod = api.get("v1", "pods", NAMESPACE, "demo-0").unwrap();
    pod["spec"]["nodeName"] = json!("node-a");
    api.put("pods", pod);
    assert!(!withdrawn(&api, &cluster(&api), &waits).await);
}
