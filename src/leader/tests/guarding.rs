//! What may be sent without leadership.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use http::{Request, Response};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api, Client,
    api::{DeleteParams, Patch, PatchParams, PostParams},
    client::Body,
};
use tower::service_fn;

use super::super::{Leadership, guarded};

/// A client whose server answers everything, and whose leadership can be taken.
fn client() -> (Api<ConfigMap>, Arc<AtomicBool>) {
    let leads = Arc::new(AtomicBool::new(true));
    let server = service_fn(|_: Request<Body>| async {
        let map = serde_json::json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x"}});
        Ok::<_, std::convert::Infallible>(Response::new(Body::from(serde_json::to_vec(&map).unwrap())))
    });
    let leadership = Leadership::while_true(Arc::clone(&leads));
    let client = guarded(Client::new(server, "db"), leadership);
    (Api::default_namespaced(client), leads)
}

#[tokio::test]
async fn only_a_leader_changes_anything() {
    let (maps, leads) = client();
    let patch = Patch::Apply(serde_json::json!({"apiVersion": "v1", "kind": "ConfigMap"}));
    let params = PatchParams::apply("test");
    maps.patch("x", &params, &patch).await.unwrap();
    leads.store(false, Ordering::Release);
    maps.get("x").await.unwrap();
    let refused = [
        maps.patch("x", &params, &patch).await.unwrap_err(),
        maps.create(&PostParams::default(), &ConfigMap::default())
            .await
            .unwrap_err(),
        maps.replace("x", &PostParams::default(), &ConfigMap::default())
            .await
            .unwrap_err(),
        maps.delete("x", &DeleteParams::default()).await.unwrap_err(),
    ];
    for error in refused {
        assert!(
            crate::controller::chain(&error).contains("may be leading by now"),
            "{error:?}"
        );
    }
}
