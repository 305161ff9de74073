//! What somebody else changes about the operator's objects.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{
    super::reconcile::reconcile,
    fake_memgraph::FakeMemgraph,
    reconciling::{NAMESPACE, api, cluster, operator, settle, until},
};

/// L36, and F10: what is ours is put back by one request, and what is not ours stays.
#[tokio::test]
async fn l36_what_is_changed_by_hand_is_put_back_and_what_others_add_stays() {
    const CONTAINER: &str = "/spec/template/spec/containers/0";
    for (version, path, plural, parent, field, by_hand) in [
        (
            "v1",
            "api/v1",
            "services",
            "/spec/ports/0",
            "port",
            Some(json!(7)),
        ),
        ("v1", "api/v1", "services", "/spec", "selector", None),
        (
            "apps/v1",
            "apis/apps/v1",
            "deployments",
            "/spec",
            "replicas",
            Some(json!(7)),
        ),
        (
            "apps/v1",
            "apis/apps/v1",
            "deployments",
            CONTAINER,
            "image",
            Some(json!("other:1")),
        ),
        (
            "apps/v1",
            "apis/apps/v1",
            "deployments",
            CONTAINER,
            "readinessProbe",
            None,
        ),
    ] {
        let pointer = format!("{parent}/{field}");
        let api = api();
        let operator = operator(&api, &FakeMemgraph::fresh(3)).await;
        settle(&api, &operator).await;
        reconcile(Arc::new(cluster(&api)), Arc::clone(&operator))
            .await
            .unwrap();
        let live = || api.get(version, plural, NAMESPACE, "demo-gateway").unwrap();
        let before = live();
        let mut edited = before.clone();
        assert!(before.pointer(&pointer).is_some(), "{pointer}");
        let fields = edited.pointer_mut(parent).and_then(Value::as_object_mut).unwrap();
        match by_hand {
            Some(value) => fields.insert(field.to_owned(), value),
            None => fields.remove(field),
        };
        edited["metadata"]["annotations"]["example.com/note"] = json!("ours");
        api.take_requests();
        api.put(plural, edited);
        until(&api, &operator, || {
            live().pointer(&pointer) == before.pointer(&pointer)
        })
        .await;
        let mut requests = api.take_requests();
        // The status may say that the controller of a Deployment has not seen it yet.
        requests.retain(|request| !request.starts_with("GET") && !request.ends_with("/demo/status"));
        let apply = format!("PATCH /{path}/namespaces/{NAMESPACE}/{plural}/demo-gateway");
        assert_eq!(requests, [apply], "{pointer}");
        assert_eq!(live()["metadata"]["annotations"]["example.com/note"], "ours");
    }
}
