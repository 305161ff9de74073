//! Fields about the instances, and those by which decisions are made.

use serde_json::json;

use super::{
    Does::{Asks, Decides, Is, Makes, Touches},
    GATEWAYS, INSTANCES, Row, row,
};

pub(super) fn instances() -> Vec<Row> {
    const CLAIM: &str = "/spec/volumeClaimTemplates/0/spec/resources/requests/storage";
    const CLASS: &str = "/spec/volumeClaimTemplates/0/spec/storageClassName";
    const EMPTY_DIR: &str = "/spec/template/spec/volumes/4/emptyDir";
    const DELETED: &str = "/spec/persistentVolumeClaimRetentionPolicy/whenDeleted";
    const SCALED: &str = "/spec/persistentVolumeClaimRetentionPolicy/whenScaled";
    const LICENSE: [&str; 2] = [
        "/spec/template/spec/containers/0/env/0/valueFrom/secretKeyRef/name",
        "/spec/template/spec/containers/0/env/1/valueFrom/secretKeyRef/name",
    ];
    const CONFIGURATION: &str = "/spec/template/metadata/annotations/memgraph.dev~1configuration";
    let memory = |quantity: &str| json!({"limits": {"memory": quantity}});
    let class = json!({"storage": {"storageClassName": "a"}});
    let secret = json!({"auth": {"secretRef": {"name": "a"}}});
    let certificate = json!({"tls": {"secretRef": {"name": "a"}}});
    vec![
        row(
            "replicas",
            json!({}),
            [json!(5), json!(4)],
            &[Is(INSTANCES, "/spec/replicas")],
        ),
        row(
            "image",
            json!({}),
            [json!("a:1"), json!("a:2")],
            &[Is(INSTANCES, "/spec/template/spec/containers/0/image")],
        ),
        row(
            "imagePullPolicy",
            json!({}),
            [json!("Always"), json!("Never")],
            &[Is(INSTANCES, "/spec/template/spec/containers/0/imagePullPolicy")],
        ),
        row(
            "resources",
            json!({}),
            [memory("1Gi"), memory("2Gi")],
            &[
                Is(INSTANCES, "/spec/template/spec/containers/0/resources"),
                Is(INSTANCES, "/spec/template/spec/initContainers/0/resources"),
                Makes(INSTANCES, "/spec/template/spec/containers/0/args"),
            ],
        ),
        row(
            "podTemplate.spec.terminationGracePeriodSeconds",
            json!({}),
            [json!(35), json!(600)],
            &[
                Is(INSTANCES, "/spec/template/spec/terminationGracePeriodSeconds"),
                Makes(INSTANCES, CONFIGURATION),
            ],
        ),
        row(
            "config",
            json!({}),
            [json!({"log-level": "INFO"}), json!({"log-level": "TRACE"})],
            &[Makes(INSTANCES, "/spec/template/spec/containers/0/args")],
        ),
        row(
            "storage.size",
            json!({}),
            [json!("1Gi"), json!("2Gi")],
            &[Is(INSTANCES, CLAIM), Decides],
        ),
        row(
            "storage.storageClassName",
            class,
            [json!("b"), json!("c")],
            &[Is(INSTANCES, CLASS)],
        ),
        row(
            "storage.retentionPolicy.whenDeleted",
            json!({}),
            [json!("Delete"), json!("Retain")],
            &[Is(INSTANCES, DELETED)],
        ),
        row(
            "storage.retentionPolicy.whenScaled",
            json!({}),
            [json!("Delete"), json!("Retain")],
            &[Is(INSTANCES, SCALED)],
        ),
        row(
            "storage.emptyDir",
            json!({}),
            [json!({"sizeLimit": "1Gi"}), json!({"sizeLimit": "2Gi"})],
            &[Is(INSTANCES, EMPTY_DIR), Makes(INSTANCES, CONFIGURATION)],
        ),
        row("auth.secretRef.name", secret, [json!("b"), json!("c")], &[Asks]),
        row(
            "tls.secretRef.name",
            certificate,
            [json!("b"), json!("c")],
            &[Is(INSTANCES, "/spec/template/spec/volumes/4/secret/secretName")],
        ),
        row(
            "license.secretRef.name",
            json!({"license": {"secretRef": {"name": "a"}}}),
            [json!("b"), json!("c")],
            &[
                Is(INSTANCES, LICENSE[0]),
                Is(INSTANCES, LICENSE[1]),
                Makes(INSTANCES, CONFIGURATION),
            ],
        ),
        row(
            "networkPolicy.enabled",
            json!({}),
            [json!(false), json!(true)],
            &[
                Makes("NetworkPolicy demo-instances", "/kind"),
                Makes("NetworkPolicy demo-gateway", "/kind"),
            ],
        ),
        row(
            "networkPolicy.clients",
            json!({}),
            [
                json!([{"podSelector": {}}]),
                json!([{"ipBlock": {"cidr": "10.0.0.0/8"}}]),
            ],
            &[Makes("NetworkPolicy demo-gateway", "/spec/ingress")],
        ),
        row(
            "networkPolicy.metrics",
            json!({}),
            [
                json!([{"podSelector": {}}]),
                json!([{"ipBlock": {"cidr": "10.0.0.0/8"}}]),
            ],
            &[Is("NetworkPolicy demo-gateway", "/spec/ingress/2/from")],
        ),
    ]
}

/// All objects have them.
pub(super) fn inherited() -> Vec<Row> {
    const OBJECTS: [&str; 16] = [
        "NetworkPolicy demo-instances",
        "ServiceAccount demo-instance",
        "Role demo-instance",
        "RoleBinding demo-instance",
        "ConfigMap demo-start-gate",
        "Service demo-instances",
        INSTANCES,
        "PodDisruptionBudget demo-instances",
        "ServiceAccount demo-gateway",
        "Role demo-gateway",
        "RoleBinding demo-gateway",
        "Service demo-gateway",
        "Service demo-gateway-read",
        "PodDisruptionBudget demo-gateway",
        GATEWAYS,
        "NetworkPolicy demo-gateway",
    ];
    let fields = [
        ("labels", "/metadata/labels/a"),
        ("annotations", "/metadata/annotations/a"),
    ];
    let rows = fields.into_iter().map(|(field, place)| {
        let does = OBJECTS.map(|object| Makes(object, place));
        let path = format!("inheritedMetadata.{field}");
        row(&path, json!({}), [json!({"a": "b"}), json!({"a": "c"})], &does)
    });
    rows.collect()
}

pub(super) fn decisions() -> Vec<Row> {
    let five = json!({"replicas": 5});
    let recover = json!({"bootstrap": {"recover": {"main": "demo-0", "stateId": "a"}}});
    let rows = [
        ("replication.syncReplicas", five.clone(), [json!(2), json!(3)]),
        ("replication.electableInstances", five, [json!(3), json!(4)]),
        (
            "replication.preferredMain",
            json!({}),
            [json!("demo-1"), json!("demo-2")],
        ),
        (
            "replication.dataDurability",
            json!({}),
            [json!("Preferred"), json!("Required")],
        ),
        (
            "replication.divergedInstances",
            json!({}),
            [json!("Keep"), json!("Reset")],
        ),
        ("failover.mode", json!({}), [json!("Manual"), json!("Automatic")]),
        (
            "failover.candidates",
            json!({}),
            [json!("MostRecent"), json!("InSync")],
        ),
        ("failover.detectionTimeout", json!({}), [json!("2s"), json!("3s")]),
        ("failover.hangTimeout", json!({}), [json!("70s"), json!("80s")]),
        ("failover.delay", json!({}), [json!("1s"), json!("2s")]),
        ("failover.maxPerHour", json!({}), [json!(7), json!(8)]),
        ("switchover.requestId", json!({}), [json!("a"), json!("b")]),
        (
            "switchover.target",
            json!({"switchover": {"requestId": "a"}}),
            [json!("demo-1"), json!("demo-2")],
        ),
        (
            "bootstrap.recover.main",
            recover.clone(),
            [json!("demo-1"), json!("demo-2")],
        ),
        ("bootstrap.recover.stateId", recover, [json!("b"), json!("c")]),
        (
            "fencedInstances",
            json!({}),
            [json!(["demo-1"]), json!(["demo-2"])],
        ),
        ("paused", json!({}), [json!(true), json!(false)]),
        (
            "updateStrategy.mainUpdate",
            json!({}),
            [json!("Supervised"), json!("Automatic")],
        ),
    ];
    let mut rows: Vec<_> = rows
        .into_iter()
        .map(|(path, beside, values)| row(path, beside, values, &[Decides]))
        .collect();
    rows.push(row(
        "hibernated",
        json!({}),
        [json!(true), json!(false)],
        &[Decides, Makes(GATEWAYS, "/spec/replicas")],
    ));
    // Only in Async is the log not flushed at each transaction.
    let modes = [json!("Async"), json!("Sync")];
    rows.push(row(
        "replication.mode",
        json!({}),
        modes,
        &[Decides, Touches(INSTANCES)],
    ));
    rows
}
