//! A cluster that is deleted goes with all that was made for it, by owner references: no operator is needed for it.

use std::sync::Arc;

use anyhow::{Result, ensure};
use e2e_node::database::SETTLE_LIMIT;
use e2e_node::scene::Scene;
use e2e_node::wait::until;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use kube::Api;
use kube::api::{DeleteParams, ListParams};
use memgraph_operator::api::MemgraphCluster;
use serde_json::json;

const KINDS: &str = "memgraphclusters,statefulsets,deployments,replicasets,pods,services,serviceaccounts,configmaps,roles,\
                     rolebindings,secrets,poddisruptionbudgets,networkpolicies,controllerrevisions";

/// Names of what is there of cluster `demo`, volume claims left out.
fn left(scene: &Scene) -> Result<Vec<String>> {
    let all = scene.kubectl(&["get", KINDS, "--output", "name"])?;
    Ok(all
        .lines()
        .filter(|name| name.contains("demo"))
        .map(str::to_owned)
        .collect())
}

async fn delete(scene: &Scene, params: &DeleteParams) -> Result<()> {
    Api::<MemgraphCluster>::delete(&scene.api(), "demo", params).await?;
    until("everything of the cluster to vanish", SETTLE_LIMIT, async || {
        let left = left(scene)?;
        ensure!(left.is_empty(), "there are {left:?}");
        Ok(Some(()))
    })
    .await
}

/// Waits until the cluster's objects are there, and its pods and claims.
async fn made(scene: &Scene) -> Result<()> {
    until("the pods and claims of the cluster", SETTLE_LIMIT, async || {
        let all = ListParams::default();
        let pods = Api::<Pod>::list(&scene.api(), &all).await?.items.len();
        let claims = Api::<PersistentVolumeClaim>::list(&scene.api(), &all)
            .await?
            .items
            .len();
        ensure!((pods, claims) == (5, 3), "{pods} pods and {claims} claims");
        Ok(Some(()))
    })
    .await
}

async fn claims(scene: &Scene) -> Result<usize> {
    let claims = Api::<PersistentVolumeClaim>::list(&scene.api(), &ListParams::default()).await?;
    Ok(claims.items.len())
}

pub async fn all_of_a_cluster_goes_before_and_after_an_operator_has_seen_it(scene: Arc<Scene>) -> Result<()> {
    scene.create("demo", json!({})).await?;
    delete(&scene, &DeleteParams::default()).await?;

    let _operator = scene.leader("operator").await?;
    for params in [DeleteParams::background(), DeleteParams::foreground()] {
        // As soon as its set is there: the operator is in the middle of making the rest.
        scene.create("demo", json!({})).await?;
        until("the StatefulSet", SETTLE_LIMIT, async || {
            Ok(Api::<StatefulSet>::get_opt(&scene.api(), "demo").await?)
        })
        .await?;
        delete(&scene, &params).await?;
        // When all is made.
        scene.create("demo", json!({})).await?;
        made(&scene).await?;
        delete(&scene, &params).await?;
    }
    let claims = claims(&scene).await?;
    ensure!(claims == 3, "{claims} volume claims are left");
    Ok(())
}

pub async fn a_cluster_goes_also_without_operator_and_rights(scene: Arc<Scene>) -> Result<()> {
    let operator = scene.leader("operator").await?;
    scene.create("demo", json!({})).await?;
    made(&scene).await?;
    operator.kill()?;
    let binding = ["clusterrolebinding", "memgraph-operator"];
    let kept = scene
        .node
        .kubectl(&["get", binding[0], binding[1], "--output=json"])?;
    scene.node.kubectl(&["delete", binding[0], binding[1]])?;
    let deleted = delete(&scene, &DeleteParams::default()).await;
    let mut kept: serde_json::Value = serde_json::from_str(&kept)?;
    kept["metadata"] = json!({"name": binding[1], "labels": kept["metadata"]["labels"]});
    scene.node.cluster.kubectl().apply(&kept.to_string())?;
    deleted
}

pub async fn with_the_policy_delete_the_claims_go_too(scene: Arc<Scene>) -> Result<()> {
    let _operator = scene.leader("operator").await?;
    let storage = json!({"retentionPolicy": {"whenDeleted": "Delete"}});
    scene.create("demo", json!({"storage": storage})).await?;
    made(&scene).await?;
    delete(&scene, &DeleteParams::default()).await?;
    until("the volume claims to vanish", SETTLE_LIMIT, async || {
        let claims = claims(&scene).await?;
        ensure!(claims == 0, "there are {claims}");
        Ok(Some(()))
    })
    .await
}
