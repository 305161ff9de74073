//! Which image the instances get, and what becomes of it.

use std::{slice, sync::Arc};

use serde_json::{Value, json};

use super::{
    super::{image, observe::Inventory, packed::Packed, reconcile::reconcile, writers::Writers},
    fake_api::FakeApi,
    fake_memgraph::FakeMemgraph,
    reconciling::{NAMESPACE, api, claim, cluster, operator, pod, settle, successor, until},
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
    assert_eq!(image::of_new_pods(&runs, &nothing, None), FORMER);
    assert_eq!(image::told(&runs, &nothing, None, false, || None), FORMER);
    let asked = of(
        Some("memgraph/memgraph:3.12.0"),
        json!({"image": FORMER, "version": "3.11.0"}),
    );
    assert_eq!(
        image::of_new_pods(&asked, &nothing, None),
        "memgraph/memgraph:3.12.0"
    );
}

#[test]
fn a_status_that_was_lost_changes_no_image_of_instances_that_have_run() {
    let mut cluster = of(None, json!({}));
    cluster.status = None;
    let runs = inventory(FORMER, "x");
    assert_eq!(image::of_new_pods(&cluster, &runs, None), FORMER);
    let noted = Inventory {
        instances: Vec::new(),
        claims: vec![{
            let mut claim = claim("demo-0");
            claim["metadata"]["annotations"] = json!({names::NOTE_ANNOTATION: "{}"});
            Arc::new(serde_json::from_value(claim).unwrap())
        }],
        ..inventory(FORMER, "x")
    };
    assert_eq!(image::of_new_pods(&cluster, &noted, None), FORMER);
    // Nothing has ever started from it: the spec had a typo, and has it no more.
    let never = Inventory {
        instances: Vec::new(),
        ..inventory("memgraph/memgraf:3.12.0", "x")
    };
    assert_eq!(image::of_new_pods(&cluster, &never, None), names::DEFAULT_IMAGE);
}

#[test]
fn an_image_counts_once_main_has_come_up_with_it() {
    let cluster = of(
        Some("memgraph/memgraf:3.12.0"),
        json!({"image": FORMER, "version": "3.11.0"}),
    );
    let now = || Some("new".to_owned());
    let told =
        |configuration, serves| image::told(&cluster, &inventory(FORMER, configuration), None, serves, now);
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
    assert_eq!(image::of_new_pods(&cluster, &Inventory::default(), None), FORMER);
}

const NEWER: &str = "memgraph/memgraph:3.12.0";

/// An instance's pod of this image. Without readiness its database waits to be started.
fn pod_of(instance: &str, image: &str, ready: bool) -> Value {
    let mut pod = pod(instance, names::INSTANCE, names::INSTANCE_CONTAINER, "10.0.0.0");
    pod["spec"] = json!({"containers": [{"name": names::INSTANCE_CONTAINER, "image": image}]});
    if !ready {
        let waits = json!({"waiting": {"reason": "ErrImagePull"}});
        pod["status"]["containerStatuses"][0]["ready"] = json!(false);
        pod["status"]["containerStatuses"][0]["state"] = waits;
    }
    pod
}

/// Three volumes, of which the last one has this UID, and these pods.
fn running(volume: &str, pods: &[Value]) -> Inventory {
    let claim = |(instance, uid)| {
        let mut claim = claim(instance);
        claim["metadata"]["uid"] = json!(uid);
        Arc::new(serde_json::from_value(claim).unwrap())
    };
    let pods = pods
        .iter()
        .map(|pod| Arc::new(serde_json::from_value(pod.clone()).unwrap()));
    Inventory {
        claims: [("demo-0", "v0"), ("demo-1", "v1"), ("demo-2", volume)]
            .map(claim)
            .into(),
        instances: pods.collect(),
        ..Inventory::default()
    }
}

/// Two replicas have the newer release when the former one is set again.
#[test]
fn going_back_in_the_middle_makes_no_pod_of_an_older_release_than_its_data() {
    let cluster = of(Some(FORMER), json!({"image": FORMER, "version": "3.11.0"}));
    let writers = Writers::default();
    let next = |seen: &Inventory| {
        let newest = writers.newest(&cluster, seen);
        image::of_new_pods(&cluster, seen, newest.as_deref())
    };
    let main = pod_of("demo-0", FORMER, true);
    // It has never come up: nothing but the spec asks for it.
    let bogus = pod_of("demo-2", "memgraph/memgraph:3.99.0", false);
    assert_eq!(next(&running("v2", &[main.clone(), bogus])), FORMER);
    let updated = pod_of("demo-2", NEWER, true);
    assert_eq!(next(&running("v2", &[main.clone(), updated.clone()])), NEWER);
    // Its pod has ended, and the next one starts.
    assert_eq!(next(&running("v2", slice::from_ref(&main))), NEWER);
    let starts = pod_of("demo-2", NEWER, false);
    assert_eq!(next(&running("v2", &[main.clone(), starts])), NEWER);
    // What it has written is gone.
    assert_eq!(next(&running("another", slice::from_ref(&main))), FORMER);
    // Beyond the declared instances it holds up nobody.
    assert_eq!(
        next(&running("v2", &[main, pod_of("demo-7", NEWER, true)])),
        FORMER
    );
    // One that ran before this process did is named in the ledger while it is in sync.
    let mut named = cluster.clone();
    let ledger = named.status.as_mut().unwrap().ledger.as_mut().unwrap();
    ledger.main.incarnation.pod_uid = "demo-2".into();
    let seen = running("v2", &[pod_of("demo-2", NEWER, false)]);
    assert_eq!(Writers::default().newest(&named, &seen).as_deref(), Some(NEWER));
}

/// A replica that has the newer release already becomes MAIN, and the spec asks for the former one again.
#[test]
fn the_image_that_main_runs_is_told_whatever_the_spec_says_by_now() {
    let cluster = of(Some(FORMER), json!({"image": FORMER, "version": "3.11.0"}));
    let configured = |mut pod: Value, configuration: &str| {
        pod["metadata"]["annotations"] = json!({names::CONFIGURATION_ANNOTATION: configuration});
        pod
    };
    let told = |main: &str, configuration: &str, serves| {
        let main = configured(pod_of("demo-0", main, true), configuration);
        let seen = running("v2", &[main]);
        image::told(&cluster, &seen, Some(NEWER), serves, || Some("asked".to_owned()))
    };
    // It was never replaced, and is as the spec asks for.
    assert_eq!(told(FORMER, "asked", true), FORMER);
    assert_eq!(told(NEWER, "of the newer one", false), FORMER);
    assert_eq!(told(NEWER, "of the newer one", true), NEWER);
    // Pods get it from elsewhere.
    assert_eq!(told("mirror.example/memgraph:3.12.0", "asked", true), NEWER);
    // MAIN that had it is lost: what is left of the former release bars nothing.
    let lost = of(Some(FORMER), json!({"image": NEWER, "version": "3.12.0"}));
    let left = running("v2", &[]);
    assert_eq!(image::of_new_pods(&lost, &left, Some(FORMER)), NEWER);
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

#[tokio::test]
async fn the_template_stays_with_the_release_that_a_replica_has_by_now() {
    let api = api();
    for ordinal in 0..3 {
        let mut claim = claim(&names::instance("demo", ordinal));
        claim["metadata"]["uid"] = json!(format!("v{ordinal}"));
        api.put("persistentvolumeclaims", claim);
    }
    let operator = operator(&api, &FakeMemgraph::fresh(3)).await;
    settle(&api, &operator).await;
    let asks_for = |image: &str| {
        let mut changed = api
            .get("memgraph.dev/v1alpha1", "memgraphclusters", NAMESPACE, "demo")
            .unwrap();
        changed["spec"]["image"] = json!(image);
        api.put("memgraphclusters", changed);
    };
    let newer = "memgraph/memgraph:3.99.0";
    asks_for(newer);
    until(&api, &operator, || *image_in(&set(&api)) == newer).await;
    let mut replica = pod_of("demo-2", newer, true);
    replica["status"]["podIP"] = json!("10.0.0.2");
    api.put("pods", replica);
    asks_for(names::DEFAULT_IMAGE);
    let seen = || {
        operator
            .inventory(&cluster(&api))
            .pod("demo-2")
            .is_some_and(|pod| pod.spec.is_some())
    };
    until(&api, &operator, seen).await;
    api.remove("v1", "pods", NAMESPACE, "demo-2");
    let gone = || operator.inventory(&cluster(&api)).pod("demo-2").is_none();
    while !gone() {
        tokio::task::yield_now().await;
    }
    reconcile(Arc::new(cluster(&api)), Arc::clone(&operator))
        .await
        .ok();
    assert_eq!(image_in(&set(&api)), newer);
    assert_eq!(
        cluster(&api).status.unwrap().image.as_deref(),
        Some(names::DEFAULT_IMAGE)
    );
}
