//! Containers of the user's in the pods of instances.

use std::sync::Arc;

use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use serde_json::{Value, json};

use super::{
    super::{observe::incarnation, obstacle::obstacle, reconcile::reconcile},
    fake_memgraph::FakeMemgraph,
    reconciling::{NAMESPACE, api, cluster, operator, settle, until},
};
use crate::api::names;

fn status(name: &str, id: &str, restarts: i32, state: Value) -> Value {
    json!({
        "name": name, "image": "i", "imageID": "i", "ready": true, "restartCount": restarts, "containerID": id, "state": state,
    })
}

fn pod(beside: Value, native: Value) -> Value {
    let ended = json!({"terminated": {"exitCode": 0, "message": json!({"volume": "", "outcome": "None", "bootId": "b"}).to_string()}});
    json!({
        "metadata": {"name": "demo-0", "uid": "u"},
        "spec": {"containers": [{"name": names::INSTANCE_CONTAINER}, {"name": "beside"}]},
        "status": {
            "phase": "Running",
            "initContainerStatuses": [status(names::INIT_CONTAINER, "init", 0, ended), native],
            // Kubernetes sorts them by name.
            "containerStatuses": [beside, status(names::INSTANCE_CONTAINER, "database", 0, json!({"running": {}}))],
        },
    })
}

#[test]
fn one_that_is_started_again_is_no_restart_of_memgraph() {
    let claim: PersistentVolumeClaim = serde_json::from_value(json!({
        "metadata": {"name": "data-demo-0", "uid": "c"}, "spec": {"volumeName": "v"},
    }))
    .unwrap();
    let life = |pod: &Value| {
        incarnation(
            &serde_json::from_value(pod.clone()).unwrap(),
            std::slice::from_ref(&claim),
        )
    };
    let running = || json!({"running": {}});
    let first = pod(
        status("beside", "first", 0, running()),
        status("native", "first", 0, running()),
    );
    let alive = life(&first).unwrap();
    assert_eq!(alive.container_id, "database");
    for other in [
        pod(
            status("beside", "second", 1, running()),
            status("native", "second", 1, running()),
        ),
        pod(
            status(
                "beside",
                "second",
                9,
                json!({"waiting": {"reason": "CrashLoopBackOff"}}),
            ),
            status("native", "second", 1, json!({"terminated": {"exitCode": 1}})),
        ),
    ] {
        assert_eq!(life(&other).as_ref(), Some(&alive));
    }
}

#[test]
fn what_keeps_one_from_running_is_told_with_its_name() {
    let waiting = json!({"waiting": {"reason": "CrashLoopBackOff"}});
    let told = |pod: Value| obstacle(&serde_json::from_value(pod).unwrap()).unwrap();
    let fine = || status("native", "n", 0, json!({"running": {}}));
    let beside = told(pod(status("beside", "b", 9, waiting.clone()), fine()));
    assert!(
        beside.starts_with("its container beside ends again and again"),
        "{beside}"
    );
    let native = told(pod(
        status("beside", "b", 0, json!({"running": {}})),
        status("native", "n", 9, waiting),
    ));
    assert!(
        native.starts_with("its container native ends again and again"),
        "{native}"
    );
}

/// Such as a field of a feature that is switched off there.
#[tokio::test]
async fn what_the_api_server_makes_something_else_of_is_not_applied_again_and_again() {
    let api = api();
    api.prune("statefulsets", "/spec/template/spec/containers/1", "workingDir");
    let mut asked = api
        .get("memgraph.dev/v1alpha1", "memgraphclusters", NAMESPACE, "demo")
        .unwrap();
    let beside = json!({"name": "beside", "image": "i", "workingDir": "/a"});
    asked["spec"]["podTemplate"] = json!({"spec": {"containers": [beside]}});
    api.put("memgraphclusters", asked);
    let operator = operator(&api, &FakeMemgraph::fresh(3)).await;
    settle(&api, &operator).await;
    let container = || {
        let set = api.get("apps/v1", "statefulsets", NAMESPACE, "demo").unwrap();
        set["spec"]["template"]["spec"]["containers"][1].clone()
    };
    assert_eq!(
        (&container()["name"], &container()["workingDir"]),
        (&json!("beside"), &Value::Null)
    );
    let applied = || {
        let requests = api.take_requests();
        requests
            .into_iter()
            .filter(|r| r.starts_with("PATCH") && r.contains("statefulsets"))
            .count()
    };
    applied();
    for _ in 0..5 {
        reconcile(Arc::new(cluster(&api)), Arc::clone(&operator))
            .await
            .unwrap();
        tokio::task::yield_now().await;
    }
    assert_eq!(applied(), 0);
    // What somebody else changes is put back all the same.
    let mut edited = api.get("apps/v1", "statefulsets", NAMESPACE, "demo").unwrap();
    edited["spec"]["template"]["spec"]["containers"][1]["image"] = json!("other");
    api.put("statefulsets", edited);
    until(&api, &operator, || container()["image"] == "i").await;
}
