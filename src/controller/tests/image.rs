//! Which image the instances get, and what becomes of it.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{
    super::{image, observe::Inventory, packed::Packed, reconcile::reconcile},
    fake_api::FakeApi,
    fake_memgraph::FakeMemgraph,
    reconciling::{NAMESPACE, api, claim, cluster, operator, pod, settle, successor},
};
use crate::{
    api::{MemgraphCluster, names},
    leader::Leadership,
};

/// A release that no operator has by default any more.
const FORMER: &str = "memgraph/memgraph:3.11.0";

/// A cluster whose MAIN is `demo-0`, as it stands in the API server.
fn of(asked: Option<&str>, told: Value) -> MemgraphCluster {
    let mut status = json!({
        "ledger": {"lineage": "l", "term": 1, "main": copy(), "route": "Open", "generation": 3},
    });
    status
        .as_object_mut()
        .unwrap()
        .extend(told.as_object().unwrap().clone());
    serde_json::from_value(json!({
        "apiVersion": "memgraph.dev/v1alpha1",
        "kind": "MemgraphCluster",
        "metadata": {"name": "demo", "namespace": NAMESPACE, "uid": "u"},
        "spec": {"image": asked},
        "status": status,
    }))
    .unwrap()
}

fn copy() -> Value {
    let incarnation =
        json!({"podUID": "p", "containerID": "c", "volume": "v", "bootID": "b", "flushesAll": true});
    json!({"instance": "demo-0", "incarnation": incarnation})
}

/// What Kubernetes holds of a cluster whose StatefulSet has this image, and whose only pod this configuration.
fn inventory(image: &str, configuration: &str) -> Inventory {
    let set: Packed = serde_json::from_value(json!({
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": {"name": "demo"},
        "spec": {"template": {"spec": {"containers": [{"name": names::INSTANCE_CONTAINER, "image": image}]}}},
    }))
    .unwrap();
    let mut pod = pod("demo-0", names::INSTANCE, names::INSTANCE_CONTAINER, "10.0.0.0");
    pod["metadata"]["annotations"] = json!({names::CONFIGURATION_ANNOTATION: configuration});
    Inventory {
        instances: vec![Arc::new(serde_json::from_value(pod).unwrap())],
        stateful_set: Some(Arc::new(set)),
        ..Inventory::default()
    }
}

#[test]
fn where_the_spec_names_none_it_stays_the_one_that_runs() {
    let runs = of(None, json!({"image": FORMER, "version": "3.11.0"}));
    let nothing = Inventory::default();
    assert_eq!(image::wanted(&runs, &nothing), FORMER);
    assert_eq!(image::of_new_pods(&runs, &nothing), FORMER);
    assert_eq!(image::told(&runs, &nothing, false, || None), FORMER);
    let asked = of(
        Some("memgraph/memgraph:3.12.0"),
        json!({"image": FORMER, "version": "3.11.0"}),
    );
    assert_eq!(image::of_new_pods(&asked, &nothing), "memgraph/memgraph:3.12.0");
}

#[test]
fn a_status_that_was_lost_changes_no_image_of_instances_that_have_run() {
    let mut cluster = of(None, json!({}));
    cluster.status = None;
    let runs = inventory(FORMER, "x");
    assert_eq!(image::of_new_pods(&cluster, &runs), FORMER);
    let noted = Inventory {
        instances: Vec::new(),
        claims: vec![{
            let mut claim = claim("demo-0");
            claim["metadata"]["annotations"] = json!({names::NOTE_ANNOTATION: "{}"});
            Arc::new(serde_json::from_value(claim).unwrap())
        }],
        ..inventory(FORMER, "x")
    };
    assert_eq!(image::of_new_pods(&cluster, &noted), FORMER);
    // Nothing has ever started from it: the spec had a typo, and has it no more.
    let never = Inventory {
        instances: Vec::new(),
        ..inventory("memgraph/memgraf:3.12.0", "x")
    };
    assert_eq!(image::of_new_pods(&cluster, &never), names::DEFAULT_IMAGE);
}

#[test]
fn an_image_counts_once_main_has_come_up_with_it() {
    let cluster = of(
        Some("memgraph/memgraf:3.12.0"),
        json!({"image": FORMER, "version": "3.11.0"}),
    );
    let now = || Some("new".to_owned());
    let told = |configuration, serves| image::told(&cluster, &inventory(FORMER, configuration), serves, now);
    assert_eq!(told("old", true), FORMER);
    assert_eq!(told("new", false), FORMER);
    assert_eq!(told("new", true), "memgraph/memgraf:3.12.0");
}

#[test]
fn an_older_release_is_for_no_pod() {
    let cluster = of(
        Some("memgraph/memgraph:3.5.0"),
        json!({"image": FORMER, "version": "3.11.0"}),
    );
    assert_eq!(
        image::wanted(&cluster, &Inventory::default()),
        "memgraph/memgraph:3.5.0"
    );
    assert_eq!(image::of_new_pods(&cluster, &Inventory::default()), FORMER);
}

fn set(api: &FakeApi) -> Value {
    api.get("apps/v1", "statefulsets", NAMESPACE, "demo").unwrap()
}

fn image_in(set: &Value) -> &Value {
    &set["spec"]["template"]["spec"]["containers"][0]["image"]
}

/// The cluster was made by an operator that had another default.
#[tokio::test]
async fn a_newer_operator_mixes_nothing() {
    let api = api();
    let memgraph = FakeMemgraph::fresh(3);
    let first = operator(&api, &memgraph).await;
    settle(&api, &first).await;
    let mut before = api
        .get("memgraph.dev/v1alpha1", "memgraphclusters", NAMESPACE, "demo")
        .unwrap();
    before["status"]["image"] = json!(FORMER);
    api.put("memgraphclusters", before);
    let newer = successor(&first, &memgraph, Leadership::for_ever()).await;
    let look = async |times: usize| {
        for _ in 0..times {
            reconcile(Arc::new(cluster(&api)), Arc::clone(&newer)).await.ok();
            tokio::task::yield_now().await;
        }
    };
    look(3).await;
    let template = set(&api)["spec"]["template"].clone();
    assert_eq!(image_in(&set(&api)), FORMER);
    assert_eq!(cluster(&api).status.unwrap().image.as_deref(), Some(FORMER));
    api.remove("v1", "pods", NAMESPACE, "demo-2");
    look(5).await;
    assert_eq!(set(&api)["spec"]["template"], template);
    assert_eq!(cluster(&api).status.unwrap().image.as_deref(), Some(FORMER));
}

#[tokio::test]
async fn an_older_image_holds_back_itself_and_nothing_else() {
    let api = api();
    let operator = operator(&api, &FakeMemgraph::fresh(3)).await;
    settle(&api, &operator).await;
    let mut changed = api
        .get("memgraph.dev/v1alpha1", "memgraphclusters", NAMESPACE, "demo")
        .unwrap();
    changed["spec"] = json!({"image": "memgraph/memgraph:3.5.0", "replicas": 4});
    api.put("memgraphclusters", changed);
    reconcile(Arc::new(cluster(&api)), Arc::clone(&operator))
        .await
        .ok();
    let set = set(&api);
    assert_eq!(
        (image_in(&set), &set["spec"]["replicas"]),
        (&json!(names::DEFAULT_IMAGE), &json!(4))
    );
    assert_eq!(
        cluster(&api).status.unwrap().image.as_deref(),
        Some(names::DEFAULT_IMAGE)
    );
}
