//! Two operator processes, of which one acts.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use e2e_node::node::{OPERATOR_NAMESPACE, wait_for_operator};
use e2e_node::scene::Scene;
use e2e_node::wait::until;
use k8s_openapi::api::core::v1::Pod;
use kube::api::DeleteParams;
use kube::{Api, ResourceExt};
use serde_json::json;

/// How long it may take on a busy machine until another process leads.
const LIMIT: Duration = Duration::from_secs(120);

pub async fn the_other_one_takes_over_from_one_that_dies(scene: Arc<Scene>) -> Result<()> {
    let database = scene.start("demo", json!({})).await?;
    database.write("before").await?;
    let term = database.ledger().await?.term;
    let first = scene.node.leader().await?.context("nobody leads")?;
    let killed = Instant::now();
    scene.node.kill(&scene.node.leading_pod().await?)?;
    scene.node.kill(&database.pod("demo-0").await?)?;
    scene.node.next_leader(&first, LIMIT).await?;
    let led = killed.elapsed();
    database.write("after").await?;
    eprintln!(
        "          leader and MAIN killed at once: the next one leads after {:.2} s, next write after {:.2} s",
        led.as_secs_f64(),
        killed.elapsed().as_secs_f64()
    );
    database.settled_after(term).await?;
    wait_for_operator(&scene.node.cluster)?;
    database.expect_everywhere(&["before", "after"]).await
}

pub async fn one_that_is_deleted_hands_over_at_once(scene: Arc<Scene>) -> Result<()> {
    let database = scene.start("demo", json!({})).await?;
    database.write("before").await?;
    let settled = database.settled().await?;
    let pods: Api<Pod> = Api::namespaced(scene.node.client.clone(), OPERATOR_NAMESPACE);
    let first = scene.node.leader().await?.context("nobody leads")?;
    let leading = scene.node.leading_pod().await?;
    let deleted = Instant::now();
    pods.delete(&leading.name_any(), &DeleteParams::default()).await?;
    let second = scene.node.next_leader(&first, LIMIT).await?;
    eprintln!(
        "          leader deleted: the next one leads after {:.2} s",
        deleted.elapsed().as_secs_f64()
    );
    ensure!(
        !second.starts_with(&leading.name_any()),
        "the pod that was deleted leads again: {second}"
    );
    wait_for_operator(&scene.node.cluster)?;
    database.write("after").await?;
    ensure!(
        database.settled().await?.status.and_then(|status| status.ledger)
            == settled.status.and_then(|status| status.ledger),
        "another leader alone has changed the ledger"
    );
    Ok(())
}

/// One that hangs is not dead: it must not go on where it was when it hangs no more.
pub async fn one_that_hung_starts_over(scene: Arc<Scene>) -> Result<()> {
    let database = scene.start("demo", json!({})).await?;
    database.write("before").await?;
    let term = database.ledger().await?.term;
    let first = scene.node.leader().await?.context("nobody leads")?;
    let hung = scene.node.leading_pod().await?.name_any();
    scene.freeze_in(OPERATOR_NAMESPACE, &hung)?;
    let second = scene.node.next_leader(&first, LIMIT).await?;
    scene.node.kill(&database.pod("demo-0").await?)?;
    database.write("while").await?;
    scene.thaw()?;
    until("the one that hung to start over", LIMIT, async || {
        let log = scene
            .node
            .kubectl(&["--namespace", OPERATOR_NAMESPACE, "logs", &hung])?;
        Ok(log.contains("has started over").then_some(()))
    })
    .await?;
    database.settled_after(term).await?;
    let now = scene.node.leader().await?;
    ensure!(now.as_deref() == Some(&second), "{now:?} leads, not {second}");
    wait_for_operator(&scene.node.cluster)?;
    database.write("after").await?;
    database.expect_everywhere(&["before", "while", "after"]).await
}
