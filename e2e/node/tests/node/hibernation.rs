//! A cluster is put to sleep and wakes up while somebody wants to write all the time.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use e2e_node::database::{Database, SETTLE_LIMIT, condition, is_settled};
use e2e_node::scene::Scene;
use e2e_node::wait::until;
use e2e_node::writer::Writer;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use kube::api::ListParams;
use memgraph_operator::api::{MemgraphCluster, names};
use serde_json::json;

/// How many writes are acknowledged before the night and after it.
const AROUND: usize = 50;

/// Claims of the cluster by name, each with its UID.
async fn claims(scene: &Scene) -> Result<BTreeMap<String, String>> {
    let claims = scene
        .api::<PersistentVolumeClaim>()
        .list(&ListParams::default())
        .await?;
    let named = claims.items.into_iter().filter_map(|claim| {
        let leaves = claim.metadata.deletion_timestamp.is_some();
        (!leaves).then_some((claim.metadata.name?, claim.metadata.uid?))
    });
    Ok(named.collect())
}

async fn pods(scene: &Scene) -> Result<Vec<String>> {
    let of_cluster = ListParams::default().labels(&format!("{}=demo", names::CLUSTER_LABEL));
    let pods = scene.api::<Pod>().list(&of_cluster).await?;
    Ok(pods
        .items
        .into_iter()
        .filter_map(|pod| pod.metadata.name)
        .collect())
}

async fn put_to_sleep(database: &Database, asleep: bool) -> Result<()> {
    let patch = json!({"spec": {"hibernated": asleep}}).to_string();
    database
        .scene
        .kubectl(&["patch", "memgraphcluster/demo", "--type=merge", "--patch", &patch])?;
    if asleep {
        let reached =
            |cluster: &MemgraphCluster| condition(cluster, "Hibernated") == Some(("True", "Hibernated"));
        database
            .wait("the cluster to be asleep", SETTLE_LIMIT, reached)
            .await?;
    } else {
        let awake = |cluster: &MemgraphCluster| !cluster.spec.hibernated && is_settled(cluster);
        database
            .wait("the cluster to be awake", SETTLE_LIMIT, awake)
            .await?;
    }
    Ok(())
}

/// The policy is the one that would have Kubernetes delete the volumes of instances that are taken away.
pub async fn gives_all_pods_back_and_loses_no_volume_and_no_write(scene: Arc<Scene>) -> Result<()> {
    let database = scene
        .start(
            "demo",
            json!({"storage": {"retentionPolicy": {"whenScaled": "Delete"}}}),
        )
        .await?;
    let mut writer = Writer::start(&database, "day").await?;
    writer.goes_on(AROUND).await?;
    let (before, claims_before) = (database.ledger().await?, claims(&scene).await?);
    ensure!(claims_before.len() == 3, "{claims_before:?}");

    put_to_sleep(&database, true).await?;
    ensure!(pods(&scene).await?.is_empty(), "{:?}", pods(&scene).await?);
    let line = scene.kubectl(&["get", "memgraphclusters", "--no-headers"])?;
    println!("asleep: {line}");
    let columns: Vec<_> = line.split_whitespace().collect();
    // No MAIN is shown.
    ensure!(
        columns.starts_with(&["demo", "Hibernated", "3", "0", "0"]),
        "{line}"
    );
    let asleep = database.get().await?;
    for (type_, expected) in [
        ("Ready", ("False", "Hibernated")),
        ("Reconciling", ("False", "Hibernated")),
        ("Stalled", ("False", "AsExpected")),
    ] {
        let told = condition(&asleep, type_);
        ensure!(told == Some(expected), "{type_}: {told:?}");
    }
    let version = |cluster: &MemgraphCluster| cluster.metadata.resource_version.clone();
    tokio::time::sleep(std::time::Duration::from_secs(20)).await;
    let later = database.get().await?;
    ensure!(
        version(&asleep) == version(&later),
        "something is written while it sleeps: {later:?}"
    );
    ensure!(
        claims(&scene).await? == claims_before,
        "{:?}",
        claims(&scene).await?
    );

    put_to_sleep(&database, false).await?;
    writer.goes_on(AROUND).await?;
    let written = writer.stop().await?;
    println!("{written}");
    database.expect_everywhere(&written.tokens()).await?;
    ensure!(
        claims(&scene).await? == claims_before,
        "{:?}",
        claims(&scene).await?
    );
    let after = database.ledger().await?;
    ensure!(
        after.main.instance == before.main.instance,
        "MAIN has moved: {after:?}"
    );
    ensure!(
        after.main.incarnation.volume == before.main.incarnation.volume,
        "it leads on another volume: {after:?}"
    );
    let policy = scene.kubectl(&[
        "get",
        "statefulset/demo",
        "--output=jsonpath={.spec.persistentVolumeClaimRetentionPolicy.whenScaled}",
    ])?;
    ensure!(
        policy == "Delete",
        "awake, the spec's policy is in force again: {policy}"
    );
    Ok(())
}

/// Fewer instances and another configuration are asked for while it sleeps.
pub async fn what_is_changed_meanwhile_takes_effect_one_after_the_other(scene: Arc<Scene>) -> Result<()> {
    let database = scene
        .start(
            "demo",
            json!({"replicas": 4, "storage": {"retentionPolicy": {"whenScaled": "Delete"}}}),
        )
        .await?;
    let patch = json!({"spec": {"switchover": {"requestId": "last", "target": "demo-3"}}}).to_string();
    scene.kubectl(&["patch", "memgraphcluster/demo", "--type=merge", "--patch", &patch])?;
    let moved = |cluster: &MemgraphCluster| {
        let main = cluster.status.as_ref().and_then(|status| status.main.as_deref());
        main == Some("demo-3") && is_settled(cluster)
    };
    database.wait("demo-3 to be MAIN", SETTLE_LIMIT, moved).await?;
    database.write("day").await?;
    put_to_sleep(&database, true).await?;
    let patch =
        json!({"spec": {"replicas": 3, "config": {"query-execution-timeout-sec": "601"}}}).to_string();
    scene.kubectl(&["patch", "memgraphcluster/demo", "--type=merge", "--patch", &patch])?;
    put_to_sleep(&database, false).await?;
    let updated = |cluster: &MemgraphCluster| {
        is_settled(cluster) && condition(cluster, "UpToDate").is_some_and(|(status, _)| status == "True")
    };
    database
        .wait("all to have the new configuration", SETTLE_LIMIT, updated)
        .await?;
    until(
        "volumes of three instances to be left",
        SETTLE_LIMIT,
        async || Ok((claims(&scene).await?.len() == 3).then_some(())),
    )
    .await?;
    let pod = database.pod("demo-0").await?;
    let args = pod
        .spec
        .context("a pod without a spec")?
        .containers
        .remove(0)
        .args;
    ensure!(
        args.iter().flatten().any(|arg| arg.contains("601")),
        "demo-0 runs with {args:?}"
    );
    database.write("morning").await?;
    database.expect_everywhere(&["day", "morning"]).await
}
