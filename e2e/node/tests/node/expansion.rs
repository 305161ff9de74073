//! Volumes that are made larger.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use e2e_node::database::{Database, SETTLE_LIMIT, condition, is_settled};
use e2e_node::scene::Scene;
use e2e_node::wait::until;
use e2e_node::writer::Writer;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use k8s_openapi::api::storage::v1::StorageClass;
use kube::api::PostParams;
use kube::{Api, ResourceExt};
use memgraph_operator::api::{MemgraphCluster, names};
use serde_json::json;

fn larger(scene: &Scene, cluster: &str) -> Result<String> {
    let patch = json!({"spec": {"storage": {"size": "2Gi"}}}).to_string();
    let cluster = format!("memgraphcluster/{cluster}");
    scene.kubectl(&["patch", &cluster, "--type=merge", "--patch", &patch])
}

/// The UIDs of each instance's pod and of what controls it.
async fn pods(database: &Database) -> Result<BTreeMap<String, (String, String)>> {
    let mut pods = BTreeMap::new();
    for instance in database.instances().await? {
        let pod = database.pod(&instance).await?;
        let owners = pod.owner_references().iter();
        let controls = owners.filter(|owner| owner.controller == Some(true));
        let owner = controls.map(|owner| owner.uid.clone()).collect();
        pods.insert(instance, (pod.uid().context("a pod without a UID")?, owner));
    }
    Ok(pods)
}

pub(super) async fn claim(scene: &Scene, instance: &str) -> Result<PersistentVolumeClaim> {
    Ok(scene.api().get(&names::data_claim(instance)).await?)
}

pub(super) fn requested(claim: &PersistentVolumeClaim) -> Option<&str> {
    let requests = claim.spec.as_ref()?.resources.as_ref()?.requests.as_ref()?;
    Some(&requests.get("storage")?.0)
}

/// Whether the status is about the present spec, and the volumes are as it asks.
fn is_large(cluster: &MemgraphCluster) -> bool {
    let observed = cluster
        .status
        .as_ref()
        .and_then(|status| status.observed_generation);
    observed == cluster.metadata.generation
        && condition(cluster, "StorageReady").is_some_and(|(status, _)| status == "True")
}

pub async fn they_grow_while_they_are_used_and_no_instance_restarts(scene: Arc<Scene>) -> Result<()> {
    let database = scene.start("demo", json!({})).await?;
    let sets: Api<StatefulSet> = scene.api();
    let old = sets.get("demo").await?.uid().context("a set without a UID")?;
    let before = pods(&database).await?;
    let mut writer = Writer::start(&database, "growth").await?;
    larger(&scene, "demo")?;
    database.wait("larger volumes", SETTLE_LIMIT, is_large).await?;
    let new = until(
        "another StatefulSet with the pods of the first",
        SETTLE_LIMIT,
        async || {
            let Some(set) = sets.get_opt("demo").await? else {
                return Ok(None);
            };
            let uid = set.uid().context("a set without a UID")?;
            let adopted = pods(&database).await?.values().all(|(_, owner)| *owner == uid);
            Ok((uid != old && adopted).then_some(uid))
        },
    )
    .await?;
    database
        .wait("the cluster to be as it should", SETTLE_LIMIT, is_settled)
        .await?;
    writer.goes_on(3).await?;
    let written = writer.stop().await?;
    eprintln!("          growth: {written}");
    ensure!(written.failed == 0, "writes have failed: {:?}", written.reasons);
    for (instance, (pod, owner)) in pods(&database).await? {
        ensure!(owner == new, "{instance} belongs to {owner}, not to {new}");
        let was = before.get(&instance).map(|(pod, _)| pod);
        ensure!(was == Some(&pod), "{instance} has another pod");
        let claim = claim(&scene, &instance).await?;
        ensure!(requested(&claim) == Some("2Gi"), "{instance}: {:?}", claim.spec);
        let bytes = "df --output=size --block-size=1 /var/lib/memgraph | tail -n1";
        let size = scene.kubectl(&["exec", &instance, "--", "bash", "-c", bytes])?;
        let size: u64 = size.trim().parse().context(size)?;
        ensure!(size > 19 << 26, "the file system of {instance} has {size} bytes");
    }
    database.expect_everywhere(&written.tokens()).await?;

    // An instance that comes later has the new size from the start.
    scene.kubectl(&["scale", "memgraphcluster/demo", "--replicas=4"])?;
    database.wait("four instances", SETTLE_LIMIT, is_settled).await?;
    ensure!(requested(&claim(&scene, "demo-3").await?) == Some("2Gi"));
    Ok(())
}

pub async fn a_class_that_allows_none_is_quoted_and_another_volume_is_larger(
    scene: Arc<Scene>,
) -> Result<()> {
    let classes: Api<StorageClass> = Api::all(scene.node.client.clone());
    let class = format!("{}-fixed", scene.namespace);
    let standard = classes.get("standard").await?;
    let fixed = StorageClass {
        metadata: kube::core::ObjectMeta {
            name: Some(class.clone()),
            ..Default::default()
        },
        allow_volume_expansion: None,
        ..standard
    };
    classes.create(&PostParams::default(), &fixed).await?;
    let spec = json!({"replicas": 2, "storage": {"storageClassName": class}});
    let database = scene.start("demo", spec).await?;
    database.write("before").await?;
    larger(&scene, "demo")?;
    let refused = database
        .wait("the refusal to be told", SETTLE_LIMIT, |cluster| {
            condition(cluster, "StorageReady") == Some(("False", "ExpansionRefused"))
        })
        .await?;
    let told = condition(&refused, "Ready");
    ensure!(
        told.is_some_and(|(status, _)| status == "True"),
        "Ready is {told:?}"
    );
    database.write("refused").await?;

    // As the message says: the replica's claim, and then its pod.
    scene.kubectl(&["delete", "pvc", "data-demo-1", "--wait=false"])?;
    scene.kubectl(&["delete", "pod", "demo-1"])?;
    until("a larger volume for demo-1", SETTLE_LIMIT, async || {
        let claim = scene
            .api::<PersistentVolumeClaim>()
            .get_opt("data-demo-1")
            .await?;
        let large = claim.as_ref().and_then(requested) == Some("2Gi");
        if claim.is_some_and(|claim| claim.metadata.deletion_timestamp.is_some()) {
            // The StatefulSet was faster than the removal of the claim; the new pod waits for it, too.
            let _ = scene.kubectl(&["delete", "pod", "demo-1", "--ignore-not-found"]);
        }
        Ok(large.then_some(()))
    })
    .await?;
    database
        .wait("demo-1 to follow", SETTLE_LIMIT, |cluster| {
            let status = cluster.status.as_ref();
            status.is_some_and(|status| status.ready_replicas == 2 && status.in_sync_replicas == 1)
        })
        .await?;
    database.write("after").await?;
    database
        .expect_everywhere(&["before", "refused", "after"])
        .await?;
    classes.delete(&class, &Default::default()).await?;
    Ok(())
}
