//! What is done to pods and volume claims: only to the very ones that were meant.

use std::sync::Arc;

use serde_json::json;

use super::{
    super::{observe::incarnation, reconcile::reconcile},
    fake_api::FakeApi,
    fake_memgraph::FakeMemgraph,
    reconciling::{NAMESPACE, api, cluster, operator, settle},
};
use crate::api::{Phase, VolumeNote, names};

#[tokio::test]
async fn each_volume_claim_gets_a_note_of_the_ledger() {
    let api = api();
    let operator = operator(&api, &FakeMemgraph::fresh(3)).await;
    settle(&api, &operator).await;
    reconcile(Arc::new(cluster(&api)), operator).await.unwrap();
    let ledger = cluster(&api).status.unwrap().ledger.unwrap();
    for ordinal in 0..3 {
        let claim = names::data_claim(&names::instance("demo", ordinal));
        let claim = api
            .get("v1", "persistentvolumeclaims", NAMESPACE, &claim)
            .unwrap();
        let note = claim["metadata"]["annotations"][names::NOTE_ANNOTATION]
            .as_str()
            .unwrap();
        assert_eq!(
            serde_json::from_str::<VolumeNote>(note).unwrap(),
            VolumeNote::of(&ledger)
        );
        assert_eq!(
            claim["spec"]["volumeName"],
            format!("pv-demo-{ordinal}"),
            "nothing else is changed"
        );
    }
}

/// Three pods that hold their data themselves.
pub(super) fn with_data_in_pods() -> FakeApi {
    let api = api();
    let mut asked = api
        .get("memgraph.dev/v1alpha1", "memgraphclusters", NAMESPACE, "demo")
        .unwrap();
    asked["spec"] = json!({"storage": {"emptyDir": {}}});
    api.put("memgraphclusters", asked);
    for ordinal in 0..3 {
        let mut pod = api
            .get("v1", "pods", NAMESPACE, &names::instance("demo", ordinal))
            .unwrap();
        pod["spec"]["volumes"] = json!([{"name": names::DATA_VOLUME, "emptyDir": {}}]);
        let message = json!({"volume": format!("v{ordinal}"), "outcome": "None"}).to_string();
        pod["status"]["initContainerStatuses"] = json!([{
            "name": names::INIT_CONTAINER, "image": "i", "imageID": "i", "ready": true, "restartCount": 0,
            "state": {"terminated": {"exitCode": 0, "message": message}},
        }]);
        api.put("pods", pod);
    }
    api
}

/// Claims of an earlier cluster of this name are there, and hold nothing of this one.
#[tokio::test]
async fn data_in_a_pod_is_known_by_the_name_on_its_volume_and_the_note_lies_on_the_pod() {
    let api = with_data_in_pods();
    let operator = operator(&api, &FakeMemgraph::fresh(3)).await;
    settle(&api, &operator).await;
    reconcile(Arc::new(cluster(&api)), operator).await.unwrap();
    let ledger = cluster(&api).status.unwrap().ledger.unwrap();
    for ordinal in 0..3 {
        let name = names::instance("demo", ordinal);
        let pod = api.get("v1", "pods", NAMESPACE, &name).unwrap();
        let note = pod["metadata"]["annotations"][names::NOTE_ANNOTATION]
            .as_str()
            .unwrap();
        assert_eq!(
            serde_json::from_str::<VolumeNote>(note).unwrap(),
            VolumeNote::of(&ledger)
        );
        let claim = names::data_claim(&name);
        let claim = api
            .get("v1", "persistentvolumeclaims", NAMESPACE, &claim)
            .unwrap();
        assert_eq!(
            claim["metadata"]["annotations"][names::NOTE_ANNOTATION],
            json!(null)
        );
        if ledger.main.instance == name {
            let uid = pod["metadata"]["uid"].as_str().unwrap();
            assert_eq!(ledger.main.incarnation.volume, format!("{uid}/v{ordinal}"));
        }
    }
}

/// It is told of, and nothing else follows from it.
#[tokio::test]
async fn a_node_with_few_memory_maps_is_told_of() {
    let api = with_data_in_pods();
    for (ordinal, maps) in [(0, 65_530), (1, 1_048_576)] {
        let mut pod = api
            .get("v1", "pods", NAMESPACE, &names::instance("demo", ordinal))
            .unwrap();
        let message =
            json!({"volume": format!("v{ordinal}"), "outcome": "None", "maxMapCount": maps}).to_string();
        pod["status"]["initContainerStatuses"][0]["state"]["terminated"]["message"] = json!(message);
        api.put("pods", pod);
    }
    let operator = operator(&api, &FakeMemgraph::fresh(3)).await;
    settle(&api, &operator).await;
    let status = cluster(&api).status.unwrap();
    let told = |ordinal: usize| status.instances[ordinal].warning.as_deref();
    assert!(told(0).unwrap().contains("vm.max_map_count=65530"), "{status:?}");
    assert_eq!((told(1), told(2)), (None, None), "of the last one nobody tells");
    assert_eq!(status.phase, Some(Phase::Operational));
}

/// One whose name was not told may be another one than before.
#[test]
fn data_in_a_pod_whose_volume_has_no_name_is_in_no_known_life() {
    let pod = json!({
        "metadata": {"name": "demo-0", "uid": "u"},
        "spec": {"containers": [], "volumes": [{"name": names::DATA_VOLUME, "emptyDir": {}}]},
        "status": {"containerStatuses": [{
            "name": names::INSTANCE_CONTAINER, "image": "i", "imageID": "i", "ready": true, "restartCount": 0,
            "containerID": "c", "state": {"running": {}},
        }]},
    });
    let life = |pod: serde_json::Value| incarnation(&serde_json::from_value(pod).unwrap(), &[]);
    assert_eq!(life(pod.clone()), None);
    let mut told = pod;
    told["status"]["initContainerStatuses"] = json!([{
        "name": names::INIT_CONTAINER, "image": "i", "imageID": "i", "ready": true, "restartCount": 0,
        "state": {"terminated": {"exitCode": 0, "message": json!({"volume": "v", "outcome": "None"}).to_string()}},
    }]);
    assert_eq!(life(told).unwrap().volume, "u/v");
}

#[tokio::test]
async fn the_pod_of_an_instance_whose_data_is_to_be_set_aside_is_deleted_after_the_order_stands() {
    let api = api();
    let operator = operator(&api, &FakeMemgraph::fresh(3)).await;
    settle(&api, &operator).await;
    let mut pod = api.get("v1", "pods", NAMESPACE, "demo-2").unwrap();
    let uid = pod["metadata"]["uid"].clone();
    pod["metadata"]["annotations"] = json!({names::RESET_ANNOTATION: "yes"});
    api.put("pods", pod);
    api.take_requests();
    let deleted = format!("DELETE /api/v1/namespaces/{NAMESPACE}/pods/demo-2");
    let mut requests = Vec::new();
    for _ in 0..100 {
        reconcile(Arc::new(cluster(&api)), Arc::clone(&operator))
            .await
            .ok();
        tokio::task::yield_now().await;
        requests.extend(api.take_requests());
        if requests.contains(&deleted) {
            break;
        }
    }
    let position = |wanted: &str| requests.iter().position(|request| request.contains(wanted));
    let (ordered, replaced) = (position("demo/status"), position("pods/demo-2"));
    assert!(ordered.is_some() && ordered < replaced, "{requests:?}");
    assert_eq!(
        requests
            .iter()
            .filter(|request| request.starts_with("DELETE"))
            .count(),
        1
    );
    let order = cluster(&api).status.unwrap().ledger.unwrap().resets.remove(0);
    assert_eq!((order.instance.as_str(), json!(order.pod_uid)), ("demo-2", uid));
    assert!(!order.at.is_empty());
}

/// In a pause nobody fills what a drain has emptied.
#[tokio::test]
async fn no_further_instance_is_drained_in_a_pause_while_one_does_not_follow() {
    let api = with_data_in_pods();
    let memgraph = FakeMemgraph::fresh(3);
    let operator = operator(&api, &memgraph).await;
    settle(&api, &operator).await;
    let most = || {
        let budget = api.get(
            "policy/v1",
            "poddisruptionbudgets",
            NAMESPACE,
            &names::instances_budget("demo"),
        );
        budget.map(|budget| budget["spec"]["maxUnavailable"].clone())
    };
    let settled = async |wanted: i32| {
        for _ in 0..20 {
            reconcile(Arc::new(cluster(&api)), Arc::clone(&operator))
                .await
                .ok();
            tokio::task::yield_now().await;
            if most() == Some(json!(wanted)) {
                return true;
            }
        }
        false
    };
    assert!(settled(1).await, "{:?}", most());
    let mut paused = api
        .get("memgraph.dev/v1alpha1", "memgraphclusters", NAMESPACE, "demo")
        .unwrap();
    paused["spec"]["paused"] = json!(true);
    api.put("memgraphclusters", paused);
    memgraph.stop(2);
    assert!(settled(0).await, "{:?}", most());
}

/// The garbage collector deletes the former cluster's StatefulSet first, and marks its pods later.
#[tokio::test]
async fn a_cluster_is_not_set_up_on_pods_that_go_with_a_former_one() {
    let api = with_data_in_pods();
    let owned_by = |owner: serde_json::Value| {
        for ordinal in 0..3 {
            let name = names::instance("demo", ordinal);
            let mut pod = api.get("v1", "pods", NAMESPACE, &name).unwrap();
            pod["metadata"]["ownerReferences"] = owner.clone();
            api.put("pods", pod);
        }
    };
    owned_by(json!([{
        "apiVersion": "apps/v1", "kind": "StatefulSet", "name": "demo", "uid": "former", "controller": true,
    }]));
    let operator = operator(&api, &FakeMemgraph::fresh(3)).await;
    for _ in 0..20 {
        reconcile(Arc::new(cluster(&api)), Arc::clone(&operator))
            .await
            .unwrap();
        tokio::task::yield_now().await;
    }
    let status = cluster(&api).status.unwrap();
    assert!(status.ledger.is_none());
    let told = |text: &str| status.conditions.iter().any(|c| c.message.contains(text));
    assert!(told("waiting for the pod of demo-0 to end"), "{status:?}");
    owned_by(json!([]));
    settle(&api, &operator).await;
}
