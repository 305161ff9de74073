//! A changed spec reaches the instances that run.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use e2e_node::database::{Database, SETTLE_LIMIT, condition, is_settled};
use e2e_node::scene::Scene;
use e2e_node::writer::Writer;
use kube::ResourceExt;
use memgraph_operator::api::MemgraphCluster;
use serde_json::json;

/// The UID of each instance's pod.
async fn pods(database: &Database) -> Result<BTreeMap<String, String>> {
    let mut pods = BTreeMap::new();
    for instance in database.instances().await? {
        let uid = database.pod(&instance).await?.uid();
        pods.insert(instance, uid.context("a pod without a UID")?);
    }
    Ok(pods)
}

/// What the condition UpToDate says.
fn is_up_to_date(cluster: &MemgraphCluster) -> Option<bool> {
    condition(cluster, "UpToDate").map(|(status, _)| status == "True")
}

pub async fn a_changed_configuration_reaches_one_instance_after_the_other(scene: Arc<Scene>) -> Result<()> {
    let database = scene.start("demo", json!({})).await?;
    let before = pods(&database).await?;
    let writer = Writer::start(&database, "update").await?;
    let patch = json!({"spec": {"config": {"query-execution-timeout-sec": "601"}}}).to_string();
    scene.kubectl(&["patch", "memgraphcluster/demo", "--type=merge", "--patch", &patch])?;
    database
        .wait("the update to begin", SETTLE_LIMIT, |cluster| {
            is_up_to_date(cluster) == Some(false)
        })
        .await?;
    // Each instance waits for 5 s before it ends, and for its replication to be well before the next one.
    database
        .wait("the update to end", SETTLE_LIMIT * 3, |cluster| {
            is_up_to_date(cluster) == Some(true) && is_settled(cluster)
        })
        .await?;
    let written = writer.stop().await?;
    eprintln!("          update: {written}");
    let after = pods(&database).await?;
    for (instance, uid) in &before {
        ensure!(
            after.get(instance) != Some(uid),
            "{instance} still has its old pod"
        );
        let pod = database.pod(instance).await?;
        let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
        let mut arguments = containers.flat_map(|container| container.args.iter().flatten());
        ensure!(
            arguments.any(|argument| argument == "--query-execution-timeout-sec=601"),
            "{instance} was not started with the new configuration"
        );
    }
    let main = database.main().await?;
    ensure!(main != "demo-0", "MAIN has not moved before its pod was replaced");
    let tokens: Vec<_> = written.acknowledged.iter().map(String::as_str).collect();
    database.expect_everywhere(&tokens).await
}
