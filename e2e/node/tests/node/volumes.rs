//! The loss of a volume, and of what is on it. (A single instance, which has no copy to get its data from, shows that a kill loses nothing.)

use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use e2e_node::database::SETTLE_LIMIT;
use e2e_node::scene::Scene;
use e2e_node::wait::until;
use e2e_node::writer::Writer;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams};
use memgraph_operator::api::names;
use serde_json::json;

/// Has an instance's volume go with its pod, and waits until it runs on another one.
async fn lose(scene: &Scene, instance: &str) -> Result<()> {
    let claims: Api<PersistentVolumeClaim> = scene.api();
    let claim = names::data_claim(instance);
    let old = claims
        .get(&claim)
        .await?
        .metadata
        .uid
        .context("a claim without a uid")?;
    let pods: Api<Pod> = scene.api();
    // The claim goes with its last user.
    claims.delete(&claim, &DeleteParams::default()).await?;
    pods.delete(instance, &DeleteParams::default()).await?;
    until(
        &format!("a new volume for {instance}"),
        SETTLE_LIMIT,
        async || {
            let pod_is_ready = || async {
                let pod = pods.get_opt(instance).await?;
                let conditions = pod
                    .and_then(|pod| pod.status)
                    .and_then(|status| status.conditions)
                    .unwrap_or_default();
                anyhow::Ok(
                    conditions
                        .iter()
                        .any(|c| c.type_ == "Ready" && c.status == "True"),
                )
            };
            if !pod_is_ready().await? {
                // The StatefulSet may have been faster than the removal of the claim; then the new pod waits for it, too.
                let waiting = claims
                    .get_opt(&claim)
                    .await?
                    .is_none_or(|c| c.metadata.deletion_timestamp.is_some());
                if waiting {
                    let _ = pods.delete(instance, &DeleteParams::default()).await;
                }
                return Ok(None);
            }
            Ok(claims
                .get_opt(&claim)
                .await?
                .filter(|now| now.metadata.uid.as_ref() != Some(&old)))
        },
    )
    .await?;
    Ok(())
}

pub async fn an_instance_whose_volume_is_lost_gets_the_data_again(scene: Arc<Scene>) -> Result<()> {
    let database = scene.start("demo", json!({})).await?;
    database.write("before").await?;
    database.expect_everywhere(&["before"]).await?;
    let before = database.ledger().await?;

    lose(&scene, "demo-2").await?;
    database.settled().await?;
    database.expect_at("demo-2", &["before"]).await?;
    database.write("after").await?;
    database.expect_everywhere(&["before", "after"]).await?;
    let now = database.ledger().await?;
    ensure!(
        now.term == before.term,
        "the loss of an asynchronous replica has begun term {}",
        now.term
    );
    Ok(())
}

/// An asynchronous replica, the one that MAIN waits for, and MAIN itself, one after the other and each under load.
pub async fn whichever_volume_is_lost_no_acknowledged_write_goes_with_it(scene: Arc<Scene>) -> Result<()> {
    let database = scene.start("demo", json!({})).await?;
    let mut acknowledged = Vec::new();
    for kind in ["asynchronous", "strict", "MAIN"] {
        let ledger = database.ledger().await?;
        let is_strict = |instance: &str| ledger.in_sync.iter().any(|member| member.instance == instance);
        let is_main = |instance: &str| ledger.main.instance == instance;
        let instances = database.instances().await?;
        let lost = instances.iter().find(|instance| match kind {
            "MAIN" => is_main(instance),
            "strict" => is_strict(instance),
            _ => !is_main(instance) && !is_strict(instance),
        });
        let lost = lost.with_context(|| format!("no {kind} instance: {ledger:?}"))?;
        let mut writer = Writer::start(&database, kind).await?;
        lose(&scene, lost).await?;
        writer.goes_on(20).await?;
        let written = writer.stop().await?;
        eprintln!("          the volume of {lost} ({kind}) lost: {written}");
        acknowledged.extend(written.acknowledged);
        // An asynchronous replica need not keep up with a writer that makes no pause.
        database
            .settled()
            .await
            .with_context(|| format!("{kind}: {lost}"))?;
    }
    let tokens: Vec<_> = acknowledged.iter().map(String::as_str).collect();
    database.expect_everywhere(&tokens).await
}

pub async fn an_instance_is_filled_anew_when_somebody_asks_for_it(scene: Arc<Scene>) -> Result<()> {
    let database = scene.start("demo", json!({})).await?;
    database.write("before").await?;
    database.expect_everywhere(&["before"]).await?;
    let before = database.ledger().await?;
    let pods: Api<Pod> = scene.api();
    let ask = json!({"metadata": {"annotations": {names::RESET_ANNOTATION: "yes"}}});
    pods.patch("demo-2", &PatchParams::default(), &Patch::Merge(&ask))
        .await?;
    let told = until("the data to be set aside", SETTLE_LIMIT, async || {
        let events = scene.kubectl(&[
            "get",
            "events",
            "--field-selector=reason=DataSetAside",
            "--output=custom-columns=NOTE:.message",
            "--no-headers",
        ])?;
        Ok(events.contains("demo-2").then_some(events))
    })
    .await?;
    let list = format!("ls {}/{}", names::DATA_MOUNT, names::SET_ASIDE);
    until("the folder that the Event names", SETTLE_LIMIT, async || {
        let folders = scene.kubectl(&["exec", "demo-2", "--", "bash", "-c", &list])?;
        ensure!(
            folders.lines().any(|folder| told.contains(folder)),
            "there are {folders}, and the Event says {told}"
        );
        Ok(Some(()))
    })
    .await?;
    database.settled().await?;
    database.expect_at("demo-2", &["before"]).await?;
    database.write("after").await?;
    database.expect_everywhere(&["before", "after"]).await?;
    let now = database.ledger().await?;
    ensure!(
        (now.term, &now.main) == (before.term, &before.main),
        "clients were disturbed: {before:?}, then {now:?}"
    );
    Ok(())
}
