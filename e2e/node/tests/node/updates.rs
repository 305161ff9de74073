//! A changed spec reaches the instances that run.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Result, ensure};
use e2e_node::database::{Database, SETTLE_LIMIT, condition, is_settled};
use e2e_node::scene::Scene;
use e2e_node::wait::until;
use e2e_node::writer::Writer;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use kube::Api;
use kube::api::{EvictParams, ListParams};
use memgraph_operator::api::{MemgraphCluster, SwitchoverState};
use serde_json::{Value, json};

use crate::switchover::move_main;

/// What the condition UpToDate says.
pub(super) fn is_up_to_date(cluster: &MemgraphCluster) -> Option<bool> {
    condition(cluster, "UpToDate").map(|(status, _)| status == "True")
}

/// Has each instance be made anew, and waits until that is done.
async fn update(scene: &Scene, database: &Database) -> Result<()> {
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
    Ok(())
}

pub async fn data_that_lies_in_pods_outlives_an_update_a_kill_and_the_eviction_of_each_pod(
    scene: Arc<Scene>,
) -> Result<()> {
    let storage = json!({"storage": {"size": "10Gi", "emptyDir": {"sizeLimit": "1Gi"}}});
    let database = scene.start("demo", storage).await?;
    let claims: Api<PersistentVolumeClaim> = scene.api();
    let claims = claims.list(&ListParams::default()).await?.items.len();
    ensure!(claims == 0, "there are {claims} volume claims");
    let before = database.lives().await?;
    let mut writer = Writer::start(&database, "pods").await?;
    update(&scene, &database).await?;
    let after = database.lives().await?;
    for (instance, (uid, _)) in &before {
        let anew = after.get(instance).is_some_and(|(now, _)| now != uid);
        ensure!(anew, "{instance} still has its old pod");
    }

    // A process that ends in its pod keeps its data, and so does the copy that follows it.
    let term = database.ledger().await?.term;
    let main = database.main().await?;
    scene.node.kill(&database.pod(&main).await?)?;
    database.settled_after(term).await?;
    writer.goes_on(1).await?;

    // As a drain of one machine after the other that is as quick as it may be: a new pod is ready long before it is filled.
    let main = database.main().await?;
    let instances = database.instances().await?;
    let others = instances.iter().filter(|instance| **instance != main);
    for instance in [&main].into_iter().chain(others) {
        evict(&scene, instance).await?;
    }
    writer.goes_on(1).await?;
    let written = writer.stop().await?;
    eprintln!("          data in pods: {written}");
    database.settled().await?;
    database.expect_everywhere(&written.tokens()).await
}

/// Evicts an instance as soon as its cluster's budget allows it: until then the API server answers 429, and kube asks again.
async fn evict(scene: &Scene, instance: &str) -> Result<()> {
    let (pods, begun): (Api<Pod>, _) = (scene.api(), Instant::now());
    until(
        &format!("{instance} to be evicted"),
        SETTLE_LIMIT,
        async || match pods.evict(instance, &EvictParams::default()).await {
            Ok(_) => Ok(Some(())),
            Err(kube::Error::Api(answer)) if answer.code == 429 => Ok(None),
            Err(error) => Err(error.into()),
        },
    )
    .await?;
    let waited = begun.elapsed().as_secs_f64();
    eprintln!("          {instance} may be evicted after {waited:.1} s");
    Ok(())
}

pub async fn a_changed_configuration_reaches_one_instance_after_the_other(scene: Arc<Scene>) -> Result<()> {
    let database = scene.start("demo", json!({})).await?;
    let before = database.lives().await?;
    let writer = Writer::start(&database, "update").await?;
    update(&scene, &database).await?;
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

/// With `mainUpdate: Supervised` MAIN serves in its old pod until somebody says that it may move, however long that takes.
pub async fn an_update_that_somebody_supervises_waits_for_a_word_before_main_moves(
    scene: Arc<Scene>,
) -> Result<()> {
    let database = scene
        .start("demo", json!({"updateStrategy": {"mainUpdate": "Supervised"}}))
        .await?;
    let (before, main) = (database.lives().await?, database.main().await?);
    let patch = |spec: Value| {
        let patch = json!({"spec": spec}).to_string();
        scene.kubectl(&["patch", "memgraphcluster/demo", "--type=merge", "--patch", &patch])
    };
    patch(json!({"config": {"query-execution-timeout-sec": "601"}}))?;
    database
        .wait("only MAIN to be left", SETTLE_LIMIT * 3, |cluster| {
            condition(cluster, "UpToDate") == Some(("False", "WaitingForSwitchover"))
        })
        .await?;
    let is_new = |after: &BTreeMap<String, (String, i32)>, instance: &str| {
        after.get(instance).map(|(uid, _)| uid) != before.get(instance).map(|(uid, _)| uid)
    };
    let now = database.lives().await?;
    for instance in before.keys() {
        let expected = *instance != main;
        ensure!(
            is_new(&now, instance) == expected,
            "{instance}: {before:?}, then {now:?}"
        );
    }
    // It goes on like that.
    let mut writer = Writer::start(&database, "supervised").await?;
    writer.goes_on(50).await?;
    ensure!(database.main().await? == main, "MAIN has moved by itself");
    ensure!(!is_new(&database.lives().await?, &main), "MAIN has another pod");

    // It may take two attempts, of which nobody hears: Memgraph takes the old MAIN for one that has branched off where the new one has
    // restarted in the same epoch.
    let state = move_main(&scene, &database, json!({"requestId": "it-may-move"})).await?;
    ensure!(state == SwitchoverState::Succeeded, "{state:?}");
    database
        .wait("the update to end", SETTLE_LIMIT * 3, |cluster| {
            is_up_to_date(cluster) == Some(true) && is_settled(cluster)
        })
        .await?;
    let written = writer.stop().await?;
    eprintln!("          supervised: {written}");
    ensure!(database.main().await? != main, "MAIN has not moved");
    ensure!(
        is_new(&database.lives().await?, &main),
        "{main} still has its old pod"
    );
    database.expect_everywhere(&written.tokens()).await
}
