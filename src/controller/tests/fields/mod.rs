//! What each field of the spec does. A field that is in the definition and has no row here fails a test.

mod changes;
mod containers;
mod gateways;
mod instances;
mod live;
mod templates;

use std::collections::BTreeMap;

use kube::{CustomResourceExt, Resource};
use serde_json::{Value, json};

use crate::{
    api::{MemgraphCluster, MemgraphClusterSpec},
    controller::{image, observe::Inventory, settings::settings},
    gateway::Limits,
    plan::observation::Settings,
    resources::{self, Desired, Fingerprints, Installation, OperatorImage, OperatorPods, desired},
};

/// What a field does.
#[derive(Clone, Copy)]
enum Does {
    /// The value stands there, as it was given: the object, and the place in it.
    Is(&'static str, &'static str),
    /// Something else stands there.
    Makes(&'static str, &'static str),
    /// The Service of this name has the one that is given instead.
    Names(&'static str),
    /// The object is another one, for a reason that another row or test is about.
    Touches(&'static str),
    /// The planner decides otherwise.
    Decides,
    /// Gateways have other bounds.
    Bounds,
    /// Gateways lead clients elsewhere.
    Leads,
    /// Grants last for another time.
    Grants,
    /// The operator reads the Secret of this name.
    Asks,
}

use Does::{Asks, Bounds, Decides, Grants, Is, Leads, Makes, Names, Touches};

/// A field, what stands beside it, two values that differ from each other, the first one also from none, and what it does.
struct Row {
    path: String,
    beside: Value,
    values: [Value; 2],
    does: Vec<Does>,
}

const INSTANCES: &str = "StatefulSet demo";
const GATEWAYS: &str = "Deployment demo-gateway";

fn row(path: &str, beside: Value, values: [Value; 2], does: &[Does]) -> Row {
    Row {
        path: path.to_owned(),
        beside,
        values,
        does: does.to_vec(),
    }
}

fn rows() -> Vec<Row> {
    let mut rows = instances::instances();
    rows.extend(instances::inherited());
    rows.extend(instances::decisions());
    rows.extend(gateways::gateways());
    rows.extend(templates::template("podTemplate", INSTANCES));
    rows.extend(templates::template("gateway.podTemplate", GATEWAYS));
    rows.extend(templates::volumes());
    rows.extend(templates::container());
    rows.extend(containers::containers());
    rows
}

/// Sets a field. `[]` stands for the first item of a list.
fn put(spec: &mut Value, path: &str, value: Value) {
    let mut at = spec;
    for step in path.split('.') {
        let (name, in_list) = step.strip_suffix("[]").map_or((step, false), |name| (name, true));
        at = &mut at[name];
        if in_list {
            if !at.is_array() {
                *at = json!([{}]);
            }
            at = &mut at[0];
        }
    }
    *at = value;
}

fn cluster(spec: &Value) -> MemgraphCluster {
    let spec: MemgraphClusterSpec =
        serde_json::from_value(spec.clone()).unwrap_or_else(|error| panic!("{spec}: {error}"));
    let mut cluster = MemgraphCluster::new("demo", spec);
    cluster.meta_mut().namespace = Some("graphs".into());
    cluster.meta_mut().uid = Some("9a4f5d1c-5d0e-4a2e-9d35-0d6a3a1f7e11".into());
    cluster
}

fn operator() -> Installation {
    Installation {
        image: OperatorImage {
            name: "operator:1".into(),
            pull_policy: None,
        },
        pods: OperatorPods::new("operators", "app.kubernetes.io/name=memgraph-operator").unwrap(),
        collector: None,
    }
}

/// What a new cluster consists of.
fn built(cluster: &MemgraphCluster) -> Result<Desired, resources::Error> {
    let image = image::of_new_pods(cluster, &Inventory::default(), None);
    desired(cluster, &operator(), &image, &Fingerprints::default())
}

fn decisions(cluster: &MemgraphCluster) -> Settings {
    let image = image::wanted(cluster, &Inventory::default());
    settings(&cluster.spec, image, None)
}

/// The objects by kind and name, as they are sent.
fn objects(cluster: &MemgraphCluster) -> BTreeMap<String, Value> {
    let all = built(cluster).unwrap().objects.into_iter();
    all.map(|object| {
        let key = format!("{:?} {}", object.key().kind, object.key().name);
        (key, object.content())
    })
    .collect()
}

/// Looks at a change from one spec to another one. `given` is the field's value in the second.
fn check(row: &Row, before: &Value, after: &Value, given: Option<&Value>) {
    let path = &row.path;
    let (before, after) = (cluster(before), cluster(after));
    let (old, new) = (objects(&before), objects(&after));
    let place = |all: &BTreeMap<String, Value>, object: &str, pointer: &str| {
        all.get(object)
            .and_then(|object| object.pointer(pointer))
            .cloned()
    };
    let mut named = Vec::new();
    for does in &row.does {
        match *does {
            Is(object, pointer) => {
                named.push(object);
                let found = place(&new, object, pointer);
                assert_ne!(place(&old, object, pointer), found, "{path}: {object} {pointer}");
                if let Some(given) = given {
                    assert_eq!(found.as_ref(), Some(given), "{path}: {object} {pointer}");
                }
            }
            Makes(object, pointer) => {
                named.push(object);
                let changed = place(&old, object, pointer) != place(&new, object, pointer);
                assert!(
                    changed,
                    "{path}: {object} {pointer}: {:?}",
                    place(&new, object, pointer)
                );
            }
            Names(service) => {
                let names = |of: &BTreeMap<String, Value>, beside: &BTreeMap<String, Value>| {
                    let only = of.keys().filter(|key| !beside.contains_key(*key));
                    only.cloned().collect::<Vec<_>>()
                };
                let wanted = given.and_then(Value::as_str).unwrap_or(service);
                assert_eq!(names(&new, &old), [format!("Service {wanted}")], "{path}");
                assert_eq!(names(&old, &new).len(), 1, "{path}");
                for key in old
                    .keys()
                    .chain(new.keys())
                    .filter(|key| key.starts_with("Service "))
                {
                    if !(old.contains_key(key) && new.contains_key(key)) {
                        named.push(key);
                    }
                }
            }
            Touches(object) => {
                named.push(object);
                assert_ne!(old.get(object), new.get(object), "{path}: {object}");
            }
            Decides => assert_ne!(decisions(&before), decisions(&after), "{path}"),
            Bounds => assert_ne!(
                Limits::from(&before.spec.gateway),
                Limits::from(&after.spec.gateway),
                "{path}"
            ),
            Leads => assert_ne!(live::led(&before.spec), live::led(&after.spec), "{path}"),
            Grants => assert_ne!(live::granted(&before.spec), live::granted(&after.spec), "{path}"),
            Asks => {
                let asked = live::secrets_asked_for(&after.spec);
                for value in &row.values {
                    let name = value.as_str().unwrap_or_default();
                    assert_eq!(
                        asked.contains(name),
                        given == Some(value),
                        "{path}: {name} of {asked:?}"
                    );
                }
            }
        }
    }
    let keys = old.keys().chain(new.keys());
    for key in keys.filter(|key| old.get(*key) != new.get(*key)) {
        assert!(named.contains(&key.as_str()), "{path} changes {key} too");
    }
}

#[test]
fn l36_each_field_does_what_its_row_says() {
    for row in rows() {
        let with = |value: &Value| {
            let mut spec = row.beside.clone();
            put(&mut spec, &row.path, value.clone());
            spec
        };
        let [first, second] = &row.values;
        check(&row, &row.beside, &with(first), Some(first));
        check(&row, &with(first), &with(second), Some(second));
        // Removed, it is as if it had never been there.
        check(&row, &with(first), &row.beside, None);
    }
}

/// Fields of a type of Kubernetes' own: one row for all that is in them.
const WHOLE: [&str; 26] = [
    "resources",
    "clients",
    "networkPolicy.metrics",
    "tolerations",
    "affinity",
    "topologySpreadConstraints",
    "seLinuxOptions",
    "sysctls",
    "configMap",
    "secret",
    "persistentVolumeClaim",
    "emptyDir",
    "csi",
    "configMapKeyRef",
    "secretKeyRef",
    "fieldRef",
    "configMapRef",
    "envFrom[].secretRef",
    "ports",
    "readinessProbe",
    "livenessProbe",
    "startupProbe",
    "postStart",
    "preStop",
    "containers[].securityContext",
    "initContainers[].securityContext",
];

fn leaves(path: &str, schema: &Value, found: &mut Vec<String>) {
    let whole = |name: &str| path == name || path.ends_with(&format!(".{name}"));
    let items = &schema["items"];
    if WHOLE.iter().any(|name| whole(name)) || path.ends_with("volumes[].image") {
        found.push(path.to_owned());
    } else if let Some(fields) = schema["properties"].as_object() {
        for (name, field) in fields {
            leaves(&format!("{path}.{name}"), field, found);
        }
    } else if items["properties"].is_object() {
        leaves(&format!("{path}[]"), items, found);
    } else {
        found.push(path.to_owned());
    }
}

#[test]
fn each_field_of_the_definition_has_a_row() {
    let definition = serde_json::to_value(MemgraphCluster::crd()).unwrap();
    let spec = &definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"];
    let mut found = Vec::new();
    leaves("", spec, &mut found);
    let mut found: Vec<_> = found
        .iter()
        .map(|path| path.trim_start_matches('.').to_owned())
        .collect();
    let mut known: Vec<_> = rows().into_iter().map(|row| row.path).collect();
    found.sort();
    known.sort();
    known.dedup();
    assert!(found.len() > 80, "{found:?}");
    assert_eq!(found, known, "fields of the definition, and rows of this file");
}
