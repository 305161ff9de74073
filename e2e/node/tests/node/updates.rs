//! A changed spec reaches the instances that run.

use std::sync::Arc;

use anyhow::{Result, ensure};
use e2e_node::database::{SETTLE_LIMIT, condition, is_settled};
use e2e_node::scene::Scene;
use e2e_node::writer::Writer;
use memgraph_operator::api::MemgraphCluster;
use serde_json::json;

/// What the condition UpToDate says.
pub(super) fn is_up_to_date(cluster: &MemgraphCluster) -> Option<bool> {
    condition(cluster, "UpToDate").map(|(status, _)| status == "True")
}

pub async fn a_changed_configuration_reaches_one_instance_after_the_other(scene: Arc<Scene>) -> Result<()> {
    let database = scene.start("demo", json!({})).await?;
    let before = database.lives().await?;
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
    let after = database.lives().await?;
    for (instance, (uid, _)) in &before {
        ensure!(
            after.get(instance).is_some_and(|(now, _)| now != uid),
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
