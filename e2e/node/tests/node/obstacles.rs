//! Pods that cannot run: the status says what Kubernetes says of them.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, ensure};
use e2e_node::database::{Database, SETTLE_LIMIT};
use e2e_node::scene::Scene;
use kube::ResourceExt;
use memgraph_operator::api::MemgraphCluster;
use serde_json::{Value, json};

/// The kubelet tries an image again after 10 s, 20 s and 40 s: the status must not follow it.
const ATTEMPTS: Duration = Duration::from_secs(45);

async fn obstructed(scene: &Arc<Scene>, name: &str, spec: Value, said: &str) -> Result<Database> {
    let database = scene.create(name, spec).await?;
    let told = |cluster: &MemgraphCluster| {
        let status = cluster.status.as_ref();
        status.is_some_and(|status| {
            let mut instances = status.instances.iter();
            let ready = status
                .conditions
                .iter()
                .find(|condition| condition.type_ == "Ready");
            instances.all(|i| i.obstacle.as_deref().is_some_and(|told| told.contains(said)))
                && ready.is_some_and(|ready| ready.message.contains(said))
        })
    };
    database
        .wait(&format!("the status to say '{said}'"), SETTLE_LIMIT, told)
        .await?;
    Ok(database)
}

pub async fn are_told_and_the_status_stays_still(scene: Arc<Scene>) -> Result<()> {
    let missing = json!({"replicas": 1, "image": "localhost/there-is-none:1"});
    let missing = obstructed(
        &scene,
        "missing",
        missing,
        "its image localhost/there-is-none:1 cannot be pulled",
    )
    .await?;
    let large = json!({"replicas": 1, "resources": {"requests": {"memory": "4Ti"}}});
    let large = obstructed(&scene, "large", large, "no node takes it: Insufficient memory").await?;
    let versions = async || {
        let (missing, large) = (missing.get().await?, large.get().await?);
        anyhow::Ok((missing.resource_version(), large.resource_version(), missing))
    };
    let before = versions().await?;
    tokio::time::sleep(ATTEMPTS).await;
    let after = versions().await?;
    ensure!(
        (&before.0, &before.1) == (&after.0, &after.1),
        "the status is written again and again: {:?}",
        after.2.status
    );
    Ok(())
}
