//! More instances and fewer.

use std::sync::Arc;

use anyhow::{Result, ensure};
use e2e_node::application::Application;
use e2e_node::database::{SETTLE_LIMIT, is_settled};
use e2e_node::scene::Scene;
use e2e_node::wait::until;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use memgraph_operator::api::MemgraphCluster;
use serde_json::json;

/// How many transactions are acknowledged before a change and after it.
const AROUND: usize = 50;

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

/// The instances that are removed may be MAIN, or hold what was acknowledged: the others take their places first.
pub async fn under_load_from_three_to_five_and_back(scene: Arc<Scene>) -> Result<()> {
    let database = scene.start("demo", json!({})).await?;
    let mut application = Application::start(&database, "scaling").await?;
    for replicas in [5, 3] {
        application.goes_on(AROUND).await?;
        if replicas == 3 {
            let patch =
                json!({"spec": {"switchover": {"requestId": "last", "target": "demo-4"}}}).to_string();
            scene.kubectl(&["patch", "memgraphcluster/demo", "--type=merge", "--patch", &patch])?;
            let moved = |cluster: &MemgraphCluster| {
                let main = cluster.status.as_ref().and_then(|status| status.main.as_deref());
                main == Some("demo-4") && is_settled(cluster)
            };
            database.wait("demo-4 to be MAIN", SETTLE_LIMIT, moved).await?;
            application.goes_on(AROUND).await?;
        }
        scene.kubectl(&["scale", "memgraphcluster/demo", &format!("--replicas={replicas}")])?;
        database
            .wait(&format!("{replicas} instances"), SETTLE_LIMIT, |cluster| {
                let instances = cluster.status.as_ref().map(|status| status.instances.len());
                cluster.spec.replicas == replicas
                    && usize::try_from(replicas).ok() == instances
                    && is_settled(cluster)
            })
            .await?;
    }
    application.goes_on(AROUND).await?;
    let transactions = application.stop().await?;
    eprintln!("          {transactions}");
    transactions.expect_all(&database).await
}
