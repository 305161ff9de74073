//! The loss of processes. Writers are idle when MAIN dies: a copy of a MAIN that was killed in the middle of a commit may
//! hold a write that nobody else has.

use std::sync::Arc;
use std::time::Instant;

use anyhow::{Result, ensure};
use e2e_node::database::{Database, SETTLE_LIMIT, condition, ledger, tokens};
use e2e_node::node::{OPERATOR_NAMESPACE, wait_for_operator};
use e2e_node::scene::Scene;
use e2e_node::wait::until;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, ListParams};
use kube::{Api, ResourceExt};
use memgraph_operator::api::ledger::Route;
use memgraph_operator::api::{InstanceRole, MemgraphCluster};
use serde_json::json;

pub async fn a_killed_main_is_replaced_and_comes_back_as_a_replica(scene: Arc<Scene>) -> Result<()> {
    let database = scene.start("demo", json!({})).await?;
    database.write("before").await?;
    let before = database.ledger().await?;
    let killed = Instant::now();
    scene.node.kill(&database.pod("demo-0").await?)?;
    database.write("after").await?;
    eprintln!(
        "          MAIN killed, next write acknowledged after {:.2} s",
        killed.elapsed().as_secs_f64()
    );

    let cluster = database.settled_after(before.term).await?;
    let now = database.ledger().await?;
    ensure!(
        now.main.instance == "demo-1",
        "the in-sync replica is promoted, not {}",
        now.main.instance
    );
    eprintln!("          terms: {} -> {}", before.term, now.term);
    ensure!(now.lineage == before.lineage, "the lineage has changed");
    let status = database.status().await?;
    ensure!(
        status.in_sync_replicas == 1,
        "{} in sync",
        status.in_sync_replicas
    );
    let old = status.instances.iter().find(|instance| instance.name == "demo-0");
    ensure!(
        old.is_some_and(|i| i.role == InstanceRole::Replica),
        "the old MAIN: {old:?}"
    );
    let record = status.last_failover;
    ensure!(
        record
            .as_ref()
            .is_some_and(|r| (r.from.as_deref(), r.to.as_str()) == (Some("demo-0"), "demo-1")),
        "lastFailover: {record:?}"
    );
    ensure!(
        condition(&cluster, "Durable").is_some_and(|(status, _)| status == "True"),
        "not durable"
    );
    database.expect_everywhere(&["before", "after"]).await
}

pub async fn a_killed_replica_heals_without_a_new_term(scene: Arc<Scene>) -> Result<()> {
    let database = scene.start("demo", json!({})).await?;
    database.write("before").await?;
    let term = database.ledger().await?.term;
    for replica in ["demo-2", "demo-1"] {
        let pod = database.pod(replica).await?;
        scene.node.kill(&pod)?;
        restarted(&database, replica, &pod).await?;
        database.settled().await?;
        database.write(&format!("after-{replica}")).await?;
    }
    database.settled().await?;
    database
        .expect_everywhere(&["before", "after-demo-2", "after-demo-1"])
        .await?;
    let now = database.ledger().await?;
    ensure!(
        now.main.instance == "demo-0",
        "MAIN has moved to {}",
        now.main.instance
    );
    eprintln!("          terms: {term} -> {}", now.term);
    ensure!(
        now.term == term,
        "a replica's restart has begun term {}",
        now.term
    );
    Ok(())
}

/// Waits until the kubelet has started an instance's container again.
async fn restarted(database: &Database, instance: &str, before: &Pod) -> Result<()> {
    let id = |pod: &Pod| {
        let statuses = pod.status.as_ref()?.container_statuses.as_ref()?;
        let running = statuses.first()?.state.as_ref()?.running.is_some();
        running.then(|| statuses.first()?.container_id.clone())?
    };
    let old = id(before);
    until(
        &format!("{instance} to be started again"),
        SETTLE_LIMIT,
        async || {
            let now = id(&database.pod(instance).await?);
            Ok((now.is_some() && now != old).then_some(()))
        },
    )
    .await
}

/// A gateway hangs and cannot acknowledge that it has let go of the old MAIN: the failover cannot go on before the operator
/// is killed.
pub async fn an_operator_that_starts_in_the_middle_of_a_failover_ends_it(scene: Arc<Scene>) -> Result<()> {
    let database = scene.start("demo", json!({})).await?;
    database.write("before").await?;
    let term = database.ledger().await?.term;
    let gateways = scene.gateways().await?;
    scene.freeze(&gateways[0].name_any())?;
    scene.node.kill(&database.pod("demo-0").await?)?;
    let closed = |cluster: &MemgraphCluster| {
        ledger(cluster).is_some_and(|l| l.term > term && l.route == Route::Closed && l.operation.is_some())
    };
    database
        .wait("the failover to be announced", SETTLE_LIMIT, closed)
        .await?;
    scene.node.kill(&scene.node.leading_pod().await?)?;
    if database.ledger().await?.route == Route::Open {
        eprintln!("          the failover has ended before the operator was killed");
    }
    scene.thaw()?;
    database.settled_after(term).await?;
    wait_for_operator(&scene.node.cluster)?;
    database.write("after").await?;
    database.expect_everywhere(&["before", "after"]).await
}

pub async fn a_main_that_dies_while_the_operator_is_away_is_replaced_when_it_is_back(
    scene: Arc<Scene>,
) -> Result<()> {
    let database = scene.start("demo", json!({})).await?;
    database.write("before").await?;
    let term = database.ledger().await?.term;
    let pods: Api<Pod> = Api::namespaced(scene.node.client.clone(), OPERATOR_NAMESPACE);
    for pod in pods.list(&ListParams::default()).await?.items {
        scene.node.kill(&pod)?;
    }
    scene.node.kill(&database.pod("demo-0").await?)?;
    database.write("after").await?;
    let now = database.settled_after(term).await?;
    ensure!(ledger(&now).is_some_and(|l| l.term > term), "no new term");
    // Once more, now that all is done: a restart alone changes nothing.
    let settled = database.ledger().await?;
    scene.node.kill(&scene.node.leading_pod().await?)?;
    wait_for_operator(&scene.node.cluster)?;
    database.write("later").await?;
    database.settled().await?;
    ensure!(
        database.ledger().await? == settled,
        "the restart has changed the ledger"
    );
    database.expect_everywhere(&["before", "after", "later"]).await
}

pub async fn a_gateway_that_is_replaced_serves_again(scene: Arc<Scene>) -> Result<()> {
    let database = scene.start("demo", json!({"gateway": {"replicas": 1}})).await?;
    database.write("before").await?;
    let before = database.ledger().await?;
    let gateways = scene.gateways().await?;
    ensure!(gateways.len() == 1, "{} gateway pods", gateways.len());
    // Killed: the kubelet starts it again in place.
    scene.node.kill(&gateways[0])?;
    database.write("after-kill").await?;
    // Deleted: another pod with another address and another identity.
    let deletion = DeleteParams::default();
    scene
        .api::<Pod>()
        .delete(&gateways[0].name_any(), &deletion)
        .await?;
    database.write("after-deletion").await?;
    database.settled().await?;
    database
        .expect_everywhere(&["before", "after-kill", "after-deletion"])
        .await?;
    ensure!(
        database.ledger().await?.term == before.term,
        "a gateway's restart has begun a new term"
    );
    Ok(())
}

pub async fn two_clusters_of_one_name_do_not_disturb_each_other(scene: Arc<Scene>) -> Result<()> {
    let other = Arc::new(Scene::new(Arc::clone(&scene.node), "other").await?);
    let result = side_by_side(&scene, &other).await;
    if result.is_err() {
        other.tell_state();
    }
    let removed = other.remove().await;
    result.and(removed)
}

async fn side_by_side(scene: &Arc<Scene>, other: &Arc<Scene>) -> Result<()> {
    let (one, two) =
        futures::future::try_join(scene.start("demo", json!({})), other.start("demo", json!({}))).await?;
    futures::future::try_join(one.write("of-one"), two.write("of-two")).await?;
    let (before, quiet) = (one.ledger().await?, two.ledger().await?);
    ensure!(
        before.lineage != quiet.lineage,
        "both clusters have the lineage {}",
        quiet.lineage
    );
    scene.node.kill(&one.pod("demo-0").await?)?;
    one.write("of-one-after").await?;
    one.settled_after(before.term).await?;
    ensure!(
        two.ledger().await? == quiet,
        "the other cluster's ledger has changed"
    );
    one.expect_everywhere(&["of-one", "of-one-after"]).await?;
    two.expect_everywhere(&["of-two"]).await?;
    let (of_one, of_two) = (
        tokens(one.gateway().await?).await?,
        tokens(two.gateway().await?).await?,
    );
    ensure!(
        of_one.is_disjoint(&of_two),
        "{of_one:?} and {of_two:?} have something in common"
    );
    Ok(())
}
