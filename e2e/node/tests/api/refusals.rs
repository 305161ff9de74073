//! What the API server refuses before the operator sees it.

use std::sync::Arc;

use anyhow::{Context, Result, bail, ensure};
use e2e_node::scene::Scene;
use kube::Api;
use kube::api::{ApiResource, DynamicObject, GroupVersionKind, PostParams};
use serde_json::{Value, json};

/// Name, spec, and what the refusal says: the field and the reason.
fn wrong() -> Vec<(&'static str, Value, [&'static str; 2])> {
    vec![
        (
            "demo",
            json!({"auth": {}}),
            ["spec.auth.secretRef", "Required value"],
        ),
        (
            "demo",
            json!({"auth": {"secretRef": {"name": "Graph_User"}}}),
            ["auth.secretRef.name", "must be the name of a Secret"],
        ),
        (
            "demo",
            json!({"tls": {"secretRef": {"name": "Graph_TLS"}}}),
            ["tls.secretRef.name", "must be the name of a Secret"],
        ),
        (
            "demo",
            json!({"gateway": {"tls": {"secretRef": {"name": "a/b"}}}}),
            ["gateway.tls.secretRef.name", "must be the name of a Secret"],
        ),
        (
            "demo",
            json!({"replicas": 0}),
            ["spec.replicas", "greater than or equal to 1"],
        ),
        (
            "demo",
            json!({"replicas": "three"}),
            ["spec.replicas", "must be of type integer"],
        ),
        (
            "demo",
            json!({"switchover": {"target": "demo-1"}}),
            ["spec.switchover.requestId", "Required value"],
        ),
        (
            "demo",
            json!({"switchover": {"requestId": "a", "target": "other-1"}}),
            ["spec.switchover.target", "must be the name of an instance"],
        ),
        (
            "demo",
            json!({"gateway": {"idleTimeout": "500ms"}}),
            ["gateway.idleTimeout", "must be at least 1s"],
        ),
        (
            "demo",
            json!({"gateway": {"connectionRateLimit": {"perSecond": 0}}}),
            [
                "gateway.connectionRateLimit.perSecond",
                "greater than or equal to 1",
            ],
        ),
        (
            "demo",
            json!({"gateway": {"connectionRateLimit": {"burst": 10}}}),
            ["gateway.connectionRateLimit.perSecond", "Required value"],
        ),
        (
            "demo",
            json!({"gateway": {"readWrite": {"sourceRanges": ["10.0.0.0/8", "10.0.0.1"]}}}),
            ["gateway.readWrite.sourceRanges", "in CIDR notation"],
        ),
        (
            "demo",
            json!({"gateway": {"read": {"proxyProtocol": {}}}}),
            ["gateway.read.proxyProtocol.balancers", "Required value"],
        ),
        (
            "demo",
            json!({"gateway": {"read": {"proxyProtocol": {"balancers": ["10.0.0.0/33"]}}}}),
            ["gateway.read.proxyProtocol.balancers", "in CIDR notation"],
        ),
        (
            "demo",
            json!({"gateway": {"readWrite": {"service": {"loadBalancerSourceRanges": ["10.0.0.0/8"]}}}}),
            ["gateway.readWrite.service", "needs type LoadBalancer"],
        ),
        (
            "demo",
            json!({"gateway": {"read": {"service": {"externalTrafficPolicy": "Local"}}}}),
            ["gateway.read.service", "set type to NodePort or LoadBalancer"],
        ),
        (
            "demo",
            json!({"replication": {"mode": "Fast"}}),
            ["spec.replication.mode", "supported values: \"StrictSync\""],
        ),
        (
            "demo",
            json!({"replication": {"syncReplicas": 3}}),
            ["replication.syncReplicas", "must be less than replicas"],
        ),
        (
            "demo",
            json!({"replicas": 2, "replication": {"syncReplicas": 5}}),
            ["replication.syncReplicas", "must be less than replicas"],
        ),
        (
            "demo",
            json!({"replication": {"syncReplicas": 0}}),
            ["replication.syncReplicas", "0 is allowed only"],
        ),
        (
            "demo",
            json!({"replication": {"mode": "Async", "syncReplicas": 1}}),
            ["syncReplicas", "must be 0 or unset with mode Async"],
        ),
        (
            "demo",
            json!({"replication": {"electableInstances": 4}}),
            [
                "replication.electableInstances",
                "must not be greater than replicas",
            ],
        ),
        (
            "demo",
            json!({"replication": {"electableInstances": 1}}),
            ["electableInstances", "must be greater than syncReplicas"],
        ),
        (
            "demo",
            json!({"fencedInstances": ["other-1"]}),
            ["spec.fencedInstances", "must be the name of an instance"],
        ),
        (
            "demo",
            json!({"failover": {"hangTimeout": "30s"}}),
            ["hangTimeout", "must be at least 60s"],
        ),
        (
            "demo",
            json!({"failover": {"maxPerHour": 0}}),
            ["failover.maxPerHour", "greater than or equal to 1"],
        ),
        ("Demo", json!({}), ["metadata.name", "RFC 1123"]),
        (
            "a-name-of-41-characters-is-one-too-many-x",
            json!({}),
            ["metadata.name", "at most 40 characters"],
        ),
        ("1st", json!({}), ["metadata.name", "beginning with a letter"]),
        (
            "de.mo",
            json!({}),
            ["metadata.name", "at most 40 characters of a-z, 0-9 and '-'"],
        ),
        (
            "demo",
            json!({"config": {"data-directory": "/data"}}),
            ["spec.config", "belongs to the operator and cannot be set"],
        ),
        (
            "demo",
            json!({"config": {"--log-level": "INFO"}}),
            ["spec.config", "without leading dashes"],
        ),
        (
            "demo",
            json!({"gateway": {"enabled": false}, "replication": {"mode": "Sync"}}),
            [
                "gateway.enabled",
                "needs replication.mode StrictSync or failover.mode Manual",
            ],
        ),
        (
            "demo",
            json!({"failover": {"detectionTimeout": "soon"}}),
            ["spec.failover.detectionTimeout", "should match"],
        ),
        (
            "demo",
            json!({"storage": {"size": "much"}}),
            ["spec.storage.size", "should match"],
        ),
    ]
}

pub async fn wrong_clusters_are_refused_with_field_and_reason(scene: Arc<Scene>) -> Result<()> {
    let kind = GroupVersionKind::gvk("memgraph.dev", "v1alpha1", "MemgraphCluster");
    let clusters: Api<DynamicObject> = Api::namespaced_with(
        scene.node.client.clone(),
        &scene.namespace,
        &ApiResource::from_gvk(&kind),
    );
    for (name, spec, expected) in wrong() {
        let mut object = DynamicObject::new(name, &ApiResource::from_gvk(&kind));
        object.data = json!({"spec": spec});
        let Err(refusal) = clusters.create(&PostParams::default(), &object).await else {
            bail!("{name} was accepted with {spec}");
        };
        let refusal = refusal.to_string();
        for part in expected {
            ensure!(
                refusal.contains(part),
                "{name} {spec}: '{part}' is not in: {refusal}"
            );
        }
    }
    scene
        .create("a-name-of-40-characters-is-just-short-en", json!({}))
        .await
        .context("a name of 40 characters")?;
    Ok(())
}
