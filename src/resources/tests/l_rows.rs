//! Failures of comparable systems that lie in the objects alone. The number is that of `docs/scenarios.md`.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::*;

/// The objects of a cluster with this name in this namespace.
fn of(name: &str, namespace: &str) -> Vec<Object> {
    let mut cluster = stored(name, defaults());
    cluster.meta_mut().namespace = Some(namespace.into());
    let desired = desired(
        &cluster,
        &operator(),
        names::DEFAULT_IMAGE,
        &Fingerprints::default(),
    );
    desired.unwrap().objects
}

/// Whom an object selects: all pods that have these labels.
fn selectors(object: &Object) -> Vec<BTreeMap<String, String>> {
    let spec = &object.content()["spec"];
    let places = match object.key().kind {
        Kind::Service => vec![&spec["selector"]],
        Kind::StatefulSet | Kind::Deployment | Kind::PodDisruptionBudget => {
            vec![&spec["selector"]["matchLabels"]]
        }
        Kind::NetworkPolicy => vec![&spec["podSelector"]["matchLabels"]],
        _ => Vec::new(),
    };
    let read = |place: &Value| serde_json::from_value(place.clone()).unwrap();
    places.into_iter().map(read).collect()
}

/// The pod templates of these objects.
fn templates(objects: &[Object]) -> Vec<Value> {
    let made = objects
        .iter()
        .filter(|object| matches!(object.key().kind, Kind::StatefulSet | Kind::Deployment));
    made.map(|object| object.content()["spec"]["template"].take())
        .collect()
}

fn are_selected(selector: &BTreeMap<String, String>, template: &Value) -> bool {
    let labels = &template["metadata"]["labels"];
    selector.iter().all(|(key, value)| labels[key] == json!(value))
}

/// Elsewhere: one cluster a namespace, and one a controller, since names are fixed.
#[test]
fn l21_clusters_share_nothing_beside_each_other_nor_in_two_namespaces() {
    let (one, other) = (of("one", "graphs"), of("other", "graphs"));
    for object in &one {
        assert!(
            other.iter().all(|theirs| theirs.key() != object.key()),
            "{:?} is of both",
            object.key()
        );
        for selector in selectors(object) {
            let selects =
                |objects: &[Object]| templates(objects).iter().any(|pod| are_selected(&selector, pod));
            assert!(
                !selects(&other),
                "{:?} selects pods of the other one",
                object.key()
            );
            assert!(selects(&one), "{:?} selects nobody", object.key());
        }
    }
    // Of the same name elsewhere it is the same but for the namespace: nothing in it is an address that all share.
    let told = |objects: &[Object]| {
        let texts = objects.iter().map(|object| {
            let mut content = object.content();
            // A hash of all the rest.
            content["metadata"]["annotations"] = Value::Null;
            content.to_string()
        });
        texts.collect::<Vec<_>>().join("\n")
    };
    let elsewhere = told(&of("one", "shop"));
    assert!(!elsewhere.contains("graphs"), "{elsewhere}");
    assert_eq!(elsewhere.replace("\"shop\"", "\"graphs\""), told(&one));
}

/// Elsewhere: nothing holds a drain up.
#[test]
fn l23_a_budget_covers_instances_and_another_one_the_gateways() {
    let objects = of("demo", "graphs");
    let budgets: Vec<_> = objects
        .iter()
        .filter(|object| object.key().kind == Kind::PodDisruptionBudget)
        .collect();
    for template in templates(&objects) {
        let covering = budgets.iter().filter(|budget| {
            let selectors = selectors(budget);
            selectors.iter().any(|selector| are_selected(selector, &template))
        });
        // The API server evicts no pod that two of them select.
        let covering: Vec<_> = covering
            .map(|budget| budget.content()["spec"]["maxUnavailable"].take())
            .collect();
        assert_eq!(covering, [json!(1)], "{}", template["metadata"]["labels"]);
    }
}

/// Elsewhere: the names of instances come and go with their readiness, or are not there at all.
#[test]
fn l24_an_instance_has_its_name_also_while_it_is_not_ready() {
    let objects = of("demo", "graphs");
    let find = |kind: Kind, name: &str| {
        let object = objects
            .iter()
            .find(|o| o.key().kind == kind && o.key().name == name);
        object.unwrap_or_else(|| panic!("there is no {kind:?} {name}"))
    };
    let set = find(Kind::StatefulSet, "demo");
    let spec = &set.content()["spec"];
    let governing = spec["serviceName"].as_str().unwrap();
    let service = find(Kind::Service, governing);
    assert_eq!(service.content()["spec"]["clusterIP"], "None");
    assert_eq!(service.content()["spec"]["publishNotReadyAddresses"], true);
    let [selector] = &selectors(service)[..] else {
        panic!("one selector");
    };
    assert!(are_selected(selector, &spec["template"]));
}

/// Elsewhere: three init containers run as root, one of them privileged, and own each file anew at each start.
#[test]
fn l41_no_container_is_root_or_has_any_privilege() {
    let objects = of("demo", "graphs");
    for template in templates(&objects) {
        let pod = &template["spec"];
        let context = &pod["securityContext"];
        assert_eq!(context["runAsNonRoot"], true);
        assert_eq!(context["seccompProfile"]["type"], "RuntimeDefault");
        for field in ["hostNetwork", "hostPID", "hostIPC"] {
            assert_eq!(pod[field], Value::Null, "{field}");
        }
        let hosts = pod["volumes"].as_array().unwrap().iter();
        assert!(hosts.into_iter().all(|volume| volume.get("hostPath").is_none()));
        let lists = [&pod["initContainers"], &pod["containers"]];
        for container in lists
            .into_iter()
            .flat_map(|list| list.as_array().into_iter().flatten())
        {
            let wanted = json!({
                "allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}, "readOnlyRootFilesystem": true,
            });
            assert_eq!(container["securityContext"], wanted, "{}", container["name"]);
        }
    }
    let instance = &templates(&objects)[0]["spec"];
    let context = &instance["securityContext"];
    // Those of Memgraph's image. Kubernetes gives a volume to the group, once.
    assert_eq!(
        (&context["runAsUser"], &context["runAsGroup"]),
        (&json!(101), &json!(103))
    );
    assert_eq!(
        (&context["fsGroup"], &context["fsGroupChangePolicy"]),
        (&json!(103), &json!("OnRootMismatch"))
    );
    let init: Vec<_> = instance["initContainers"]
        .as_array()
        .unwrap()
        .iter()
        .map(|c| &c["name"])
        .collect();
    assert_eq!(
        init.len(),
        1,
        "nobody but the operator's own program runs before Memgraph: {init:?}"
    );
}
