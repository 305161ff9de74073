//! The operator process that leads is killed right after each kind of step of what it does: the next one takes it up where it
//! is. Nothing in the operator is there for this; its log says what it has done.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, ensure};
use e2e_node::database::{Database, SETTLE_LIMIT};
use e2e_node::node::wait_for_operator;
use e2e_node::scene::Scene;
use e2e_node::wait::until;
use e2e_node::writer::Writer;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams};
use memgraph_operator::api::{MemgraphCluster, SwitchoverState, names};
use serde_json::json;

/// How many writes are acknowledged before each step and after the last one.
const AROUND: usize = 30;
/// How long it may take on a busy machine until a step is done.
const STEP_LIMIT: Duration = Duration::from_secs(120);

/// Name of the clusters: no other test's, whose steps would be taken for theirs.
const NAME: &str = "steps";

pub async fn of_a_failover(scene: Arc<Scene>) -> Result<()> {
    let database = scene.start(NAME, json!({})).await?;
    let mut writer = Writer::start(&database, "token").await?;
    for step in ["Fence", "Promote", "Register", "ProbeCommit", "Confirm"] {
        database.settled().await?;
        writer.goes_on(AROUND).await?;
        let before = database.ledger().await?;
        let log = scene.node.leader_log().await?;
        scene.node.kill(&database.pod(&before.main.instance).await?)?;
        log.kill_after(NAME, step, STEP_LIMIT).await?;
        database.settled_after(before.term).await?;
        wait_for_operator(&scene.node.cluster)?;
        let now = database.ledger().await?;
        eprintln!(
            "          killed after {step}: terms {} -> {}",
            before.term, now.term
        );
    }
    all_is_there(&database, writer).await
}

pub async fn of_a_switchover(scene: Arc<Scene>) -> Result<()> {
    let database = scene.start(NAME, json!({})).await?;
    let mut writer = Writer::start(&database, "token").await?;
    let steps = [
        "ReachGateways",
        "Fence",
        "Quiesce",
        "ProbeCommit",
        "Confirm",
        "StepDown",
        "Promote",
        "Register",
    ];
    for step in steps {
        database.settled().await?;
        writer.goes_on(AROUND).await?;
        let log = scene.node.leader_log().await?;
        let patch = json!({"spec": {"switchover": {"requestId": step}}}).to_string();
        scene.kubectl(&[
            "patch",
            "memgraphcluster",
            NAME,
            "--type=merge",
            "--patch",
            &patch,
        ])?;
        log.kill_after(NAME, step, STEP_LIMIT).await?;
        let over = |cluster: &MemgraphCluster| {
            let asked = cluster
                .status
                .as_ref()
                .and_then(|status| status.switchover.as_ref());
            asked.is_some_and(|asked| {
                asked.request_id == step
                    && !matches!(asked.state, SwitchoverState::Pending | SwitchoverState::Running)
            })
        };
        let cluster = database
            .wait("the switchover to be over", SETTLE_LIMIT, over)
            .await?;
        wait_for_operator(&scene.node.cluster)?;
        let state = cluster
            .status
            .and_then(|status| status.switchover)
            .map(|asked| asked.state);
        eprintln!("          killed after {step}: {state:?}");
    }
    all_is_there(&database, writer).await
}

pub async fn of_a_bootstrap(scene: Arc<Scene>) -> Result<()> {
    for step in ["Promote", "Mark", "Register", "ProbeCommit", "Confirm"] {
        let name = format!("{NAME}-{}", step.to_lowercase());
        let log = scene.node.leader_log().await?;
        let database = scene.create(&name, json!({})).await?;
        log.kill_after(&name, step, STEP_LIMIT).await?;
        database.settled().await?;
        wait_for_operator(&scene.node.cluster)?;
        database.write("first").await?;
        database.expect_everywhere(&["first"]).await?;
        eprintln!(
            "          killed after {step}: term {}",
            database.ledger().await?.term
        );
        let clusters: Api<MemgraphCluster> = scene.api();
        clusters.delete(&name, &DeleteParams::default()).await?;
    }
    Ok(())
}

/// An instance's data is set aside and filled anew.
pub async fn of_a_reset(scene: Arc<Scene>) -> Result<()> {
    let database = scene.start(NAME, json!({})).await?;
    let mut writer = Writer::start(&database, "token").await?;
    let pods: Api<Pod> = scene.api();
    let instance = format!("{NAME}-2");
    let set_aside = async || {
        let list = format!("ls {}/{}", names::DATA_MOUNT, names::SET_ASIDE);
        scene.kubectl(&["exec", &instance, "--", "bash", "-c", &list])
    };
    let mut folders = 0;
    for step in ["Drop", "DeletePod", "Register"] {
        database.settled().await?;
        writer.goes_on(AROUND).await?;
        let before = database.ledger().await?;
        let log = scene.node.leader_log().await?;
        let ask = json!({"metadata": {"annotations": {names::RESET_ANNOTATION: step}}});
        pods.patch(&instance, &PatchParams::default(), &Patch::Merge(&ask))
            .await?;
        log.kill_after(NAME, step, STEP_LIMIT).await?;
        folders = until("the data to be set aside once more", SETTLE_LIMIT, async || {
            let now = set_aside().await?.lines().count();
            Ok((now > folders).then_some(now))
        })
        .await?;
        database.settled().await?;
        wait_for_operator(&scene.node.cluster)?;
        let now = database.ledger().await?;
        ensure!(
            (now.term, &now.main) == (before.term, &before.main),
            "clients were disturbed: {before:?}, then {now:?}"
        );
        eprintln!("          killed after {step}: {folders} folders aside");
    }
    all_is_there(&database, writer).await
}

/// Whatever was acknowledged is everywhere, and further writes are.
async fn all_is_there(database: &Database, mut writer: Writer) -> Result<()> {
    writer.goes_on(AROUND).await?;
    let written = writer.stop().await?;
    eprintln!("          {written}");
    database.settled().await?;
    database.expect_everywhere(&written.tokens()).await
}
