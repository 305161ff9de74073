//! A changed spec: what a changed cluster consists of is what a new one would, and nothing of the former spec is left in it.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use e2e_node::database::SETTLE_LIMIT;
use e2e_node::scene::Scene;
use e2e_node::wait::until;
use kube::ResourceExt;
use kube::api::DynamicObject;
use kube::core::ObjectList;
use memgraph_operator::api::names;
use serde_json::{Value, json};

/// What the operator makes of the spec alone. Secrets are made of chance.
const KINDS: &str = "statefulsets,deployments,services,serviceaccounts,configmaps,roles,rolebindings,poddisruptionbudgets,\
                     networkpolicies";

/// What belongs to one object, or is drawn anew for each: of its metadata, and of its spec.
const OWN: [&str; 5] = [
    "uid",
    "resourceVersion",
    "creationTimestamp",
    "generation",
    "managedFields",
];
const DRAWN: [&str; 3] = ["clusterIP", "clusterIPs", "healthCheckNodePort"];
const HASHES: [&str; 2] = ["memgraph.dev/applied-hash", "deployment.kubernetes.io/revision"];

fn template(label: &str) -> Value {
    json!({
        "metadata": {"labels": {"team": label, label: "true"}, "annotations": {"example.com/note": label, label: "true"}},
        "spec": {
            "nodeSelector": {"disk": label},
            "tolerations": [{"key": label, "operator": "Exists"}],
            "affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {
                "nodeSelectorTerms": [{"matchExpressions": [{"key": label, "operator": "Exists"}]}],
            }}},
            "topologySpreadConstraints": [{"maxSkew": 1, "topologyKey": label, "whenUnsatisfiable": "ScheduleAnyway"}],
            "schedulerName": label,
            "imagePullSecrets": [{"name": label}],
            "securityContext": {"supplementalGroups": [1_000]},
        },
    })
}

fn door(label: &str, port: u16) -> Value {
    json!({
        "maxConnections": 7,
        "sourceRanges": ["10.0.0.0/8"],
        "service": {
            "name": format!("graph-{port}"), "type": "LoadBalancer", "port": port, "annotations": {label: "true"},
            "labels": {"example.com/door": label}, "loadBalancerClass": "example.com/nobody",
            "loadBalancerSourceRanges": ["10.0.0.0/8"], "externalTrafficPolicy": "Local",
        },
    })
}

/// All that an application may ask for.
fn much(label: &str) -> Value {
    let peers = json!([{"podSelector": {"matchLabels": {"app": label}}}]);
    let mut instances = template(label);
    instances["spec"]["volumes"] = json!([{"name": label, "configMap": {"name": label}}]);
    instances["container"] = json!({
        "env": [{"name": "TZ", "value": label}, {"name": label, "value": "1"}],
        "volumeMounts": [{"name": label, "mountPath": format!("/opt/{label}")}],
    });
    // With zeros and amounts in words of their own, which the API server does not keep.
    let beside = |name: &str| {
        json!({
            "name": name, "image": "localhost/beside:1", "args": [label], "ports": [{"containerPort": 9_000, "hostPort": 0}],
            "resources": {"requests": {"cpu": "1000u", "memory": "1024Ki"}},
            "readinessProbe": {"tcpSocket": {"port": 9_000}, "initialDelaySeconds": 0, "periodSeconds": 5},
            "volumeMounts": [
                {"name": "data", "mountPath": "/data", "readOnly": true}, {"name": label, "mountPath": "/with", "readOnly": false},
            ],
            "securityContext": {"runAsUser": 1_000, "capabilities": {"add": []}},
        })
    };
    let mut native = beside("native");
    native["restartPolicy"] = json!("Always");
    instances["spec"]["initContainers"] = json!([{"name": "before", "image": "localhost/before:1"}, native]);
    instances["spec"]["containers"] = json!([beside(label)]);
    let mut gateways = template(label);
    gateways["container"] = json!({"env": [{"name": "LOG_LEVEL", "value": "debug"}]});
    json!({
        "config": {"log-level": "TRACE"},
        "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}, "limits": {"memory": "128Mi"}},
        "storage": {"retentionPolicy": {"whenDeleted": "Delete", "whenScaled": "Delete"}},
        "networkPolicy": {"clients": peers, "metrics": peers},
        "podTemplate": instances,
        "inheritedMetadata": {"labels": {"owner": label}, "annotations": {"example.com/owner": label}},
        "gateway": {
            "replicas": 3,
            "resources": {"requests": {"cpu": "10m"}, "limits": {"memory": "32Mi"}},
            "podTemplate": gateways,
            "readWrite": door(label, 7_000),
            "read": door(label, 7_001),
        },
    })
}

/// What can be switched off.
fn little() -> Value {
    json!({
        "networkPolicy": {"enabled": false},
        "replication": {"mode": "Async"},
        "podTemplate": {"metadata": {"labels": {"team": "other"}}},
        "gateway": {"replicas": 1, "read": {"enabled": false}},
    })
}

pub async fn a_changed_cluster_is_what_a_new_one_would_be(scene: Arc<Scene>) -> Result<()> {
    let _leader = scene.leader("leader").await?;
    let specs = [
        json!({}),
        much("first"),
        much("second"),
        little(),
        json!({"gateway": {"enabled": false}}),
    ];
    let mut others = Vec::new();
    for spec in &specs {
        let other = Scene::new(Arc::clone(&scene.node), "changes::new").await?;
        make(&other, spec)?;
        others.push(other);
    }
    make(&scene, &specs[0])?;
    // Each spec follows on another one, and the first one again on the last.
    let order = [0, 1, 2, 0, 1, 3, 2, 4, 1, 0];
    let mut sizes = Vec::new();
    for (step, next) in order.into_iter().enumerate() {
        let (spec, new) = (&specs[next], &others[next]);
        let patch = json!([{"op": "replace", "path": "/spec", "value": spec}]).to_string();
        scene.kubectl(&["patch", "memgraphcluster/demo", "--type=json", "--patch", &patch])?;
        let mut difference = String::new();
        let same = until(
            "the changed cluster to be as a new one",
            SETTLE_LIMIT,
            async || {
                // What is not complete yet is no measure.
                if !has_been_seen(new)? || !has_been_seen(&scene)? {
                    return Ok(None);
                }
                let (changed, wanted) = (objects(&scene)?, objects(new)?);
                difference = differences(&wanted, &changed);
                Ok(difference.is_empty().then_some(wanted.len()))
            },
        );
        let same = same.await;
        sizes.push(same.with_context(|| format!("step {step}, to {spec}:\n{difference}"))?);
    }
    // What is compared is there.
    ensure!(sizes.iter().all(|&size| size >= 6), "{sizes:?} objects");
    for other in others {
        other.remove().await?;
    }
    Ok(())
}

fn make(scene: &Scene, spec: &Value) -> Result<()> {
    let cluster = json!({
        "apiVersion": "memgraph.dev/v1alpha1", "kind": "MemgraphCluster", "metadata": {"name": "demo"}, "spec": spec,
    });
    scene.apply(&cluster.to_string())
}

fn has_been_seen(scene: &Scene) -> Result<bool> {
    let told = scene.kubectl(&["get", "memgraphcluster/demo", "--output=json"])?;
    let told: Value = serde_json::from_str(&told)?;
    Ok(told["metadata"]["generation"] == told["status"]["observedGeneration"])
}

/// The objects of the cluster in this namespace by kind and name, without what is each one's own.
fn objects(scene: &Scene) -> Result<BTreeMap<String, Value>> {
    let selector = format!("--selector={}=demo", names::CLUSTER_LABEL);
    let all = scene.kubectl(&["get", KINDS, &selector, "--output=json"])?;
    let all = all.replace(&scene.namespace, "NAMESPACE");
    let all: ObjectList<DynamicObject> = serde_json::from_str(&all)?;
    let mut found = BTreeMap::new();
    for object in all.items {
        let kind = object.types.as_ref().map_or("", |types| types.kind.as_str());
        let key = format!("{kind} {}", object.name_any());
        let mut object = serde_json::to_value(&object)?;
        take_away(&mut object, "", &["status"]);
        take_away(&mut object, "/metadata", &OWN);
        take_away(&mut object, "/metadata/annotations", &HASHES);
        take_away(&mut object, "/metadata/ownerReferences/0", &["uid"]);
        take_away(&mut object, "/spec", &DRAWN);
        for port in object
            .pointer_mut("/spec/ports")
            .and_then(Value::as_array_mut)
            .into_iter()
            .flatten()
        {
            take_away(port, "", &["nodePort"]);
        }
        found.insert(key, object);
    }
    Ok(found)
}

fn take_away(object: &mut Value, pointer: &str, fields: &[&str]) {
    if let Some(object) = object.pointer_mut(pointer).and_then(Value::as_object_mut) {
        object.retain(|field, _| !fields.contains(&field.as_str()));
    }
}

/// The lines in which the objects differ; nothing if they are the same.
fn differences(wanted: &BTreeMap<String, Value>, found: &BTreeMap<String, Value>) -> String {
    let mut told = String::new();
    let keys = wanted
        .keys()
        .chain(found.keys().filter(|key| !wanted.contains_key(*key)));
    for key in keys.filter(|key| wanted.get(*key) != found.get(*key)) {
        let text =
            |all: &BTreeMap<String, Value>| all.get(key).map_or_else(String::new, |o| format!("{o:#}"));
        let (new, changed) = (text(wanted), text(found));
        told.push_str(&format!("{key}\n"));
        let only = |one: &str, other: &str, sign: char| {
            let lines = one.lines().filter(|line| !other.lines().any(|l| l == *line));
            lines.map(|line| format!("{sign}{line}\n")).collect::<String>()
        };
        told.push_str(&only(&new, &changed, '-'));
        told.push_str(&only(&changed, &new, '+'));
    }
    told
}
