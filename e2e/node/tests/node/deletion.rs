//! What goes with a cluster and what stays.

use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use e2e_node::database::{SETTLE_LIMIT, condition, run};
use e2e_node::scene::Scene;
use e2e_node::wait::until;
use k8s_openapi::api::core::v1::Service;
use kube::api::{DeleteParams, PostParams};
use kube::{Api, ResourceExt};
use memgraph_operator::api::{MemgraphCluster, Phase, names};
use serde_json::json;

const KINDS: &str = "memgraphclusters,statefulsets,deployments,replicasets,pods,services,endpointslices,serviceaccounts,configmaps,\
                     roles,rolebindings,secrets,poddisruptionbudgets,controllerrevisions";

/// Deletes cluster `demo`, waits until nothing of it is left but volume claims, and returns their names.
async fn claims_left(scene: &Scene) -> Result<Vec<String>> {
    let deletion = Api::<MemgraphCluster>::delete(&scene.api(), "demo", &DeleteParams::default()).await;
    deletion.context("cannot delete the cluster")?;
    claims_left_after(scene).await
}

/// The same once it was deleted.
async fn claims_left_after(scene: &Scene) -> Result<Vec<String>> {
    until("everything of the cluster to vanish", SETTLE_LIMIT, async || {
        let all = scene.kubectl(&["get", KINDS, "--output", "name"])?;
        let left: Vec<_> = all.lines().filter(|name| name.contains("demo")).collect();
        ensure!(left.is_empty(), "there are {left:?}");
        Ok(Some(()))
    })
    .await?;
    let claims = scene.kubectl(&["get", "persistentvolumeclaims", "--output", "name"])?;
    Ok(claims.lines().map(str::to_owned).collect())
}

pub async fn a_deleted_cluster_leaves_its_volumes_and_nothing_else(scene: Arc<Scene>) -> Result<()> {
    scene.start("demo", json!({})).await?;
    let claims = claims_left(&scene).await?;
    let expected = [0, 1, 2].map(|n| format!("persistentvolumeclaim/data-demo-{n}"));
    ensure!(claims == expected, "claims: {claims:?}");
    Ok(())
}

/// MAIN is another one than that of a new cluster, and nobody but the volumes knows of it.
pub async fn a_cluster_that_is_made_again_over_its_volumes_goes_on(scene: Arc<Scene>) -> Result<()> {
    let database = scene.start("demo", json!({})).await?;
    database.write("before").await?;
    let first = database.ledger().await?;
    scene.node.kill(&database.pod("demo-0").await?)?;
    database.write("after").await?;
    database.settled_after(first.term).await?;
    let before = database.ledger().await?;
    claims_left(&scene).await?;

    let database = scene.start("demo", json!({})).await?;
    let now = database.ledger().await?;
    ensure!(
        now.lineage == before.lineage && now.term > before.term,
        "not the same history: {before:?}, then {now:?}"
    );
    database.expect_everywhere(&["before", "after"]).await?;
    database.write("again").await?;
    database.expect_everywhere(&["before", "after", "again"]).await
}

/// The volumes' notes speak of another history than their data does: nothing is done before somebody says what is to be.
pub async fn a_state_that_tells_nothing_waits_for_a_word_and_obeys_it(scene: Arc<Scene>) -> Result<()> {
    let database = scene.start("demo", json!({})).await?;
    database.write("before").await?;
    database.expect_everywhere(&["before"]).await?;
    let first = database.ledger().await?;
    claims_left(&scene).await?;
    let note = json!({"lineage": "another", "term": first.term + 7, "main": "demo-2", "inSync": []});
    let noted = format!("{}={note}", names::NOTE_ANNOTATION);
    scene.kubectl(&[
        "annotate",
        "--overwrite",
        "persistentvolumeclaim",
        "data-demo-2",
        &noted,
    ])?;

    let database = scene.create("demo", json!({})).await?;
    let asks = |cluster: &MemgraphCluster| state_id(cluster).is_some();
    let asked = database.wait("the operator to ask", SETTLE_LIMIT, asks).await?;
    let state = state_id(&asked).context("no stateId")?;
    for instance in database.instances().await? {
        let role = run(database.bolt_of(&instance).await?, "SHOW REPLICATION ROLE").await?;
        ensure!(
            role.iter().all(|row| row.values().all(|role| role == "replica")),
            "{instance} is {role:?} although nobody was told to do anything"
        );
    }
    let word = |state: &str| {
        let recover = json!({"main": "demo-1", "stateId": state});
        let patch = json!({"spec": {"bootstrap": {"recover": recover}}}).to_string();
        scene.kubectl(&["patch", "memgraphcluster/demo", "--type=merge", "--patch", &patch])
    };
    word("of-another-state")?;
    let generation = database.get().await?.metadata.generation;
    let heard = |cluster: &MemgraphCluster| {
        let observed = cluster
            .status
            .as_ref()
            .and_then(|status| status.observed_generation);
        observed == generation && state_id(cluster).is_some()
    };
    database
        .wait("a word on another state to be passed over", SETTLE_LIMIT, heard)
        .await?;
    word(&state)?;
    database.settled().await?;
    let now = database.ledger().await?;
    ensure!(
        now.main.instance == "demo-1" && now.term > first.term + 7,
        "not what was asked for: {now:?}"
    );
    database.expect_everywhere(&["before"]).await?;
    database.write("after").await?;
    database.expect_everywhere(&["before", "after"]).await
}

/// The `stateId` that the condition Stalled names.
fn state_id(cluster: &MemgraphCluster) -> Option<String> {
    let conditions = &cluster.status.as_ref()?.conditions;
    let stalled = conditions
        .iter()
        .find(|c| c.type_ == "Stalled" && c.status == "True" && c.reason == "AmbiguousState")?;
    let (_, state) = stalled.message.rsplit_once("stateId ")?;
    Some(state.trim().to_owned())
}

pub async fn with_the_policy_delete_the_volumes_go_too(scene: Arc<Scene>) -> Result<()> {
    let storage = json!({"retentionPolicy": {"whenDeleted": "Delete"}});
    scene
        .start("demo", json!({"replicas": 2, "storage": storage}))
        .await?;
    claims_left(&scene).await?;
    until("the volume claims to vanish", SETTLE_LIMIT, async || {
        let claims = scene.kubectl(&["get", "persistentvolumeclaims", "--output", "name"])?;
        ensure!(claims.is_empty(), "there are {claims:?}");
        Ok(Some(()))
    })
    .await
}

/// Whatever the operator is about, or waits for: nothing of it keeps an object from going, and the data stays.
pub async fn it_goes_in_every_phase(scene: Arc<Scene>) -> Result<()> {
    let phase = |cluster: &MemgraphCluster| cluster.status.as_ref().and_then(|status| status.phase);
    let expected = [0, 1, 2].map(|n| format!("persistentvolumeclaim/data-demo-{n}"));

    // Its image cannot be had: no instance has ever run.
    let database = scene
        .create("demo", json!({"image": "localhost/there-is-none:99.0.0"}))
        .await?;
    let is_reported = |cluster: &MemgraphCluster| phase(cluster) == Some(Phase::Pending);
    database.wait("its beginning", SETTLE_LIMIT, is_reported).await?;
    claims_left(&scene).await?;

    // A failover is under way that cannot end: nobody is left to lead.
    let database = scene.start("demo", json!({})).await?;
    database.write("before").await?;
    for instance in database.instances().await? {
        scene.freeze(&instance)?;
    }
    let is_lost = |cluster: &MemgraphCluster| {
        condition(cluster, "MainAvailable").is_some_and(|(status, _)| status != "True")
    };
    database.wait("MAIN to be missed", SETTLE_LIMIT, is_lost).await?;
    scene.kubectl(&["delete", "memgraphcluster", "demo", "--wait=false"])?;
    scene.thaw()?;
    ensure!(claims_left_after(&scene).await? == expected, "volumes are gone");

    // An update waits for a pod that never comes up.
    let database = scene.start("demo", json!({})).await?;
    database.expect_everywhere(&["before"]).await?;
    let patch = json!({"spec": {"config": {"there-is-no-such-flag": "1"}}}).to_string();
    scene.kubectl(&["patch", "memgraphcluster/demo", "--type=merge", "--patch", &patch])?;
    let hangs = |cluster: &MemgraphCluster| {
        condition(cluster, "UpToDate").is_some_and(|(status, _)| status == "False")
    };
    database.wait("the update to begin", SETTLE_LIMIT, hangs).await?;
    ensure!(claims_left(&scene).await? == expected, "volumes are gone");

    // It sleeps.
    let database = scene.start("demo", json!({})).await?;
    database.expect_everywhere(&["before"]).await?;
    let patch = json!({"spec": {"hibernated": true}}).to_string();
    scene.kubectl(&["patch", "memgraphcluster/demo", "--type=merge", "--patch", &patch])?;
    let sleeps = |cluster: &MemgraphCluster| phase(cluster) == Some(Phase::Hibernated);
    database.wait("it to sleep", SETTLE_LIMIT, sleeps).await?;
    ensure!(claims_left(&scene).await? == expected, "volumes are gone");

    // And after all that the data is what it was.
    let database = scene.start("demo", json!({})).await?;
    database.expect_everywhere(&["before"]).await
}

pub async fn an_object_of_somebody_else_is_not_adopted(scene: Arc<Scene>) -> Result<()> {
    let services: Api<Service> = scene.api();
    let foreign: Service = serde_json::from_value(json!({
        "metadata": {"name": "demo-gateway", "labels": {"owner": "somebody-else"}},
        "spec": {"ports": [{"port": 80}], "selector": {"app": "other"}},
    }))?;
    let foreign = services.create(&PostParams::default(), &foreign).await?;

    let database = scene.create("demo", json!({})).await?;
    let stalled =
        |cluster: &MemgraphCluster| condition(cluster, "Stalled") == Some(("True", "ForeignObject"));
    let cluster = database
        .wait("the foreign object to be reported", SETTLE_LIMIT, stalled)
        .await?;
    let message = cluster
        .status
        .iter()
        .flat_map(|status| &status.conditions)
        .find(|condition| condition.type_ == "Stalled")
        .map(|condition| condition.message.clone())
        .unwrap_or_default();
    ensure!(
        message.contains("demo-gateway"),
        "the message does not name the object: {message}"
    );
    let now = services.get("demo-gateway").await?;
    ensure!(
        now.resource_version() == foreign.resource_version(),
        "the foreign Service was changed: {now:?}"
    );
    eprintln!("          {message}");

    services.delete("demo-gateway", &DeleteParams::default()).await?;
    database.settled().await?;
    Ok(())
}
