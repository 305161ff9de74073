//! More instances and fewer.

use std::sync::Arc;

use anyhow::{Result, ensure};
use e2e_node::database::{SETTLE_LIMIT, is_settled};
use e2e_node::scene::Scene;
use e2e_node::wait::until;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use serde_json::json;

pub async fn instances_are_added_and_removed(scene: Arc<Scene>) -> Result<()> {
    let database = scene.start("demo", json!({})).await?;
    database.write("of-three").await?;
    let before = database.ledger().await?;

    scene.kubectl(&["scale", "memgraphcluster/demo", "--replicas=4"])?;
    database
        .wait("four instances", SETTLE_LIMIT, |cluster| {
            cluster.spec.replicas == 4 && is_settled(cluster)
        })
        .await?;
    database.write("of-four").await?;
    database.expect_everywhere(&["of-three", "of-four"]).await?;

    scene.kubectl(&["scale", "memgraphcluster/demo", "--replicas=3"])?;
    let three = database
        .wait("three instances", SETTLE_LIMIT, |cluster| {
            cluster.spec.replicas == 3 && is_settled(cluster)
        })
        .await?;
    let names: Vec<_> = three
        .status
        .iter()
        .flat_map(|s| &s.instances)
        .map(|i| i.name.as_str())
        .collect();
    ensure!(
        names == ["demo-0", "demo-1", "demo-2"],
        "instances in the status: {names:?}"
    );
    until("pod demo-3 to be gone", SETTLE_LIMIT, async || {
        Ok(scene
            .api::<Pod>()
            .get_opt("demo-3")
            .await?
            .is_none()
            .then_some(()))
    })
    .await?;
    let claim = scene
        .api::<PersistentVolumeClaim>()
        .get_opt("data-demo-3")
        .await?;
    ensure!(
        claim.is_some(),
        "whenScaled is Retain, but the volume claim is gone"
    );
    database.write("of-three-again").await?;
    database
        .expect_everywhere(&["of-three", "of-four", "of-three-again"])
        .await?;
    let now = database.ledger().await?;
    ensure!(
        (now.term, &now.main) == (before.term, &before.main),
        "scaling has moved MAIN: {now:?}"
    );
    Ok(())
}
