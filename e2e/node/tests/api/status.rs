//! What the status says is true, also of what nobody has seen happen.

use std::pin::pin;
use std::sync::Arc;

use anyhow::{Context, Result, bail, ensure};
use e2e_node::database::{Database, SETTLE_LIMIT, condition};
use e2e_node::scene::Scene;
use e2e_node::wait::until;
use futures::StreamExt;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::{Patch, PatchParams, WatchEvent, WatchParams};
use memgraph_operator::api::MemgraphCluster;
use memgraph_operator::api::conditions::ConditionType;
use memgraph_operator::api::ledger::{DataCopy, Incarnation, Ledger, Member, Route};
use serde_json::{Value, json};
use tokio::time::timeout;

fn observed(cluster: &MemgraphCluster) -> Option<i64> {
    cluster.status.as_ref()?.observed_generation
}

fn is_seen(cluster: &MemgraphCluster) -> bool {
    observed(cluster).is_some() && observed(cluster) == cluster.metadata.generation
}

/// Its conditions are those that there are, and say that it is not ready but is being made so.
fn in_progress(cluster: &MemgraphCluster) -> Result<()> {
    for type_ in ConditionType::ALL {
        condition(cluster, type_.as_str()).with_context(|| format!("no condition {}", type_.as_str()))?;
    }
    let is = |type_| condition(cluster, type_).map(|(status, _)| status);
    ensure!(
        is("Ready") != Some("True") && is("Reconciling") == Some("True") && is("Stalled") != Some("True"),
        "Ready {:?}, Reconciling {:?}, Stalled {:?}",
        condition(cluster, "Ready"),
        condition(cluster, "Reconciling"),
        condition(cluster, "Stalled")
    );
    Ok(())
}

pub async fn nothing_is_said_before_an_operator_has_looked_and_then_what_there_is(
    scene: Arc<Scene>,
) -> Result<()> {
    let database = scene.create("demo", json!({})).await?;
    let unseen = database.get().await?;
    let conditions = unseen.status.as_ref().map(|status| status.conditions.len());
    ensure!(
        observed(&unseen) == Some(-1) && conditions == Some(0),
        "somebody has told of it: {:?}",
        unseen.status
    );
    let _operator = scene.leader("operator").await?;
    let seen = database
        .wait("the cluster to be seen", SETTLE_LIMIT, is_seen)
        .await?;
    in_progress(&seen)?;
    let pods = |cluster: &MemgraphCluster| cluster.status.as_ref().is_some_and(|status| status.replicas == 3);
    let waiting = database.wait("its pods to be seen", SETTLE_LIMIT, pods).await?;
    in_progress(&waiting)?;
    let status = waiting.status.context("no status")?;
    ensure!(
        status.ready_replicas == 0 && status.main.is_none() && status.in_sync_replicas == 0,
        "it tells of instances that do not run: {status:?}"
    );
    Ok(())
}

pub async fn a_change_that_nobody_has_seen_is_seen_by_the_next_leader(scene: Arc<Scene>) -> Result<()> {
    let first = scene.leader("first").await?;
    let database = scene.create("demo", json!({})).await?;
    database
        .wait("the cluster to be seen", SETTLE_LIMIT, is_seen)
        .await?;
    first.terminate().await?;
    scene.kubectl(&["scale", "memgraphcluster/demo", "--replicas=5"])?;
    let changed = database.get().await?;
    ensure!(
        changed.metadata.generation > observed(&changed),
        "nobody has seen generation {:?}, and the status tells of {:?}",
        changed.metadata.generation,
        observed(&changed)
    );
    let _next = scene.leader("next").await?;
    let wanted = |cluster: &MemgraphCluster| {
        is_seen(cluster) && cluster.status.as_ref().is_some_and(|s| s.replicas == 5)
    };
    let seen = database
        .wait("the change to be seen", SETTLE_LIMIT, wanted)
        .await?;
    in_progress(&seen)
}

async fn say(database: &Database, status: &Value) -> Result<()> {
    let clusters = database.scene.api::<MemgraphCluster>();
    let patch = Patch::Merge(json!({"status": status}));
    clusters
        .patch_status(&database.name, &PatchParams::default(), &patch)
        .await?;
    Ok(())
}

/// A leader has said that all is well, and has died. So have the instances, of which nobody was left to tell.
pub async fn a_death_seen_by_nobody_is_told_by_the_next_leader(scene: Arc<Scene>) -> Result<()> {
    let first = scene.leader("first").await?;
    let database = scene.create("demo", json!({})).await?;
    let pods = |cluster: &MemgraphCluster| cluster.status.as_ref().is_some_and(|status| status.replicas == 3);
    let seen = database.wait("its pods to be seen", SETTLE_LIMIT, pods).await?;
    first.kill()?;
    let now = jiff::Timestamp::now().to_string();
    let conditions: Vec<_> = ConditionType::ALL
        .iter()
        .map(|type_| {
            let is_trouble = matches!(type_.as_str(), "Reconciling" | "Stalled" | "Paused" | "Hibernated");
            json!({
                "type": type_.as_str(), "status": if is_trouble { "False" } else { "True" }, "reason": "AsExpected",
                "message": "as the one that has died has said", "lastTransitionTime": now,
                "observedGeneration": seen.metadata.generation,
            })
        })
        .collect();
    let life = |instance: &str| Incarnation {
        pod_uid: format!("pod-of-{instance}"),
        container_id: format!("containerd://{instance}"),
        volume: format!("claim-of-{instance}/volume"),
        ..Incarnation::default()
    };
    let ledger = Ledger {
        lineage: "a1b2c3d4".to_owned(),
        term: 4,
        opened: true,
        main: DataCopy {
            instance: "demo-0".to_owned(),
            incarnation: life("demo-0"),
        },
        main_address: "192.0.2.10".to_owned(),
        route: Route::Open,
        in_sync: vec![Member {
            instance: "demo-1".to_owned(),
            incarnation: life("demo-1"),
            generation: 7,
            address: "192.0.2.11:10000".to_owned(),
            ..Member::default()
        }],
        generation: 9,
        ..Ledger::default()
    };
    let well = json!({
        "phase": "Operational", "main": "demo-0", "readyReplicas": 3, "inSyncReplicas": 1, "conditions": conditions,
        "ledger": ledger,
    });
    say(&database, &well).await?;
    let wrong = database.get().await?;
    ensure!(
        condition(&wrong, "Ready") == Some(("True", "AsExpected")),
        "the test has not said what it wanted"
    );

    // The very first thing that the next one writes corrects it: nothing else is done before, and nobody reads what is wrong twice.
    let clusters = scene.api::<MemgraphCluster>();
    let of_it = WatchParams::default().fields("metadata.name=demo").timeout(290);
    let version = wrong.resource_version().context("no version")?;
    let mut changes = pin!(clusters.watch(&of_it, &version).await?);
    let next = scene.leader("next").await?;
    let change = timeout(SETTLE_LIMIT, changes.next()).await;
    let change = change
        .context("the status is not corrected")?
        .context("the watch has ended")??;
    let WatchEvent::Modified(corrected) = change else {
        bail!("the first change is {change:?}");
    };
    let is = |type_| condition(&corrected, type_).map(|(status, _)| status);
    ensure!(
        is("Ready") != Some("True") && is("MainAvailable") != Some("True"),
        "the first word of the next leader is {:?}",
        corrected.status
    );
    let status = corrected.status.context("no status")?;
    ensure!(
        status.ready_replicas == 0 && status.in_sync_replicas == 0,
        "it tells of instances that do not run: {status:?}"
    );
    drop(next);
    Ok(())
}

/// Has a pod's status be what the kubelet says of one that cannot run.
async fn patch_pod(scene: &Scene, pod: &str, status: Value) -> Result<()> {
    let pods = scene.api::<Pod>();
    let patch = Patch::Merge(json!({"status": status}));
    pods.patch_status(pod, &PatchParams::default(), &patch).await?;
    Ok(())
}

pub async fn what_keeps_pods_from_running_is_told(scene: Arc<Scene>) -> Result<()> {
    let _operator = scene.leader("operator").await?;
    let database = scene.create("demo", json!({})).await?;
    until("the pods", SETTLE_LIMIT, async || {
        Ok(scene
            .api::<Pod>()
            .get_opt("demo-2")
            .await?
            .map(|pod| pod.name_any()))
    })
    .await?;
    let message = "0/3 nodes are available: 1 Insufficient cpu, 2 node(s) had untolerated taint {a: b}. preemption: none";
    let unschedulable = json!({"conditions": [{
        "type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message,
    }]});
    patch_pod(&scene, "demo-0", unschedulable).await?;
    let container = |status: Value| json!({"phase": "Pending", "containerStatuses": [status]});
    let waiting = |reason: &str, message: &str| {
        container(json!({
            "name": "memgraph", "image": "example.com/memgraph:1", "imageID": "", "ready": false, "restartCount": 0,
            "state": {"waiting": {"reason": reason, "message": message}},
        }))
    };
    patch_pod(
        &scene,
        "demo-1",
        waiting("ImagePullBackOff", "Back-off pulling image"),
    )
    .await?;
    let missing = "couldn't find key password in Secret db/users";
    patch_pod(&scene, "demo-2", waiting("CreateContainerConfigError", missing)).await?;

    let obstacles = |wanted: [Option<&'static str>; 3]| {
        move |cluster: &MemgraphCluster| {
            let instances = cluster.status.as_ref().map(|status| &status.instances);
            instances.is_some_and(|instances| {
                instances.len() == 3
                    && instances
                        .iter()
                        .zip(wanted)
                        .all(|(instance, wanted)| match wanted {
                            Some(wanted) => instance
                                .obstacle
                                .as_deref()
                                .is_some_and(|told| told.contains(wanted)),
                            None => instance.obstacle.is_none(),
                        })
            })
        }
    };
    let said = [
        Some("no node takes it: Insufficient cpu, node(s) had untolerated taint {a: b}"),
        Some("its image example.com/memgraph:1 cannot be pulled"),
        Some(missing),
    ];
    let told = database
        .wait("what keeps them from running", SETTLE_LIMIT, obstacles(said))
        .await?;
    in_progress(&told)?;
    // The kubelet goes on: what was in the way is not told any more.
    patch_pod(&scene, "demo-1", waiting("ContainerCreating", "")).await?;
    let two = [said[0], None, said[2]];
    database
        .wait(
            "one of them to be in the way no more",
            SETTLE_LIMIT,
            obstacles(two),
        )
        .await?;
    Ok(())
}
