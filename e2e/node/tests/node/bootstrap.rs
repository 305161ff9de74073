//! From nothing to a cluster that serves.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use e2e_node::database::{Database, SETTLE_LIMIT, condition};
use e2e_node::scene::Scene;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt;
use kube::api::{DynamicObject, ObjectList};
use memgraph_operator::api::conditions::ConditionType;
use memgraph_operator::api::{Health, InstanceRole, MemgraphCluster, RegistrationMode, names};
use serde_json::json;

pub async fn a_new_cluster_has_a_main_a_strict_replica_and_an_asynchronous_one(
    scene: Arc<Scene>,
) -> Result<()> {
    let database = scene.start("demo", json!({})).await?;
    let cluster = database.get().await?;
    let status = cluster.status.clone().context("no status")?;
    ensure!(
        status.main.as_deref() == Some("demo-0"),
        "MAIN is {:?}",
        status.main
    );
    ensure!(
        status.in_sync_replicas == 1,
        "{} in sync",
        status.in_sync_replicas
    );
    ensure!(
        status.image.as_deref() == Some(&scene.node.images.memgraph),
        "image {:?}",
        status.image
    );
    ensure!(status.version.is_some(), "no version");
    let gateway = status.gateway.clone().context("no gateway in the status")?;
    let host = |service: &str| format!("{service}.{}.svc:7687", scene.namespace);
    ensure!(
        gateway.read_write.starts_with("demo-gateway."),
        "{} is not like {}",
        gateway.read_write,
        host("demo-gateway")
    );
    ensure!(
        gateway
            .read
            .is_some_and(|read| read.starts_with("demo-gateway-read.")),
        "no read gateway"
    );

    let seen: Vec<_> = status
        .instances
        .iter()
        .map(|i| (i.name.as_str(), i.role, i.mode, i.health))
        .collect();
    let expected = [
        ("demo-0", InstanceRole::Main, None, Health::Up),
        (
            "demo-1",
            InstanceRole::Replica,
            Some(RegistrationMode::StrictSync),
            Health::Up,
        ),
        (
            "demo-2",
            InstanceRole::Replica,
            Some(RegistrationMode::Async),
            Health::Up,
        ),
    ];
    ensure!(seen == expected, "instances: {seen:?}");

    let ledger = database.ledger().await?;
    let members: Vec<_> = ledger
        .in_sync
        .iter()
        .map(|member| member.instance.as_str())
        .collect();
    ensure!(
        (ledger.term, ledger.main.instance.as_str()) == (1, "demo-0"),
        "ledger: {ledger:?}"
    );
    ensure!(members == ["demo-1"], "in-sync set: {members:?}");

    let conditions = ConditionType::ALL.map(|type_| (type_.as_str(), condition(&cluster, type_.as_str())));
    for (type_, seen) in conditions {
        let wanted = if matches!(type_, "Reconciling" | "Stalled" | "Paused" | "Hibernated") {
            "False"
        } else {
            "True"
        };
        ensure!(seen == Some((wanted, "AsExpected")), "{type_}: {seen:?}");
    }
    columns(&scene)
}

fn columns(scene: &Scene) -> Result<()> {
    let table = scene.kubectl(&["get", "mgc"])?;
    let mut lines = table
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>());
    let head = lines.next().context("kubectl printed nothing")?;
    ensure!(
        head == [
            "NAME", "PHASE", "MAIN", "REPLICAS", "READY", "IN-SYNC", "TERM", "AGE"
        ],
        "columns: {head:?}"
    );
    let row = lines.next().context("kubectl printed no cluster")?;
    ensure!(
        row[..7] == ["demo", "Operational", "demo-0", "3", "3", "1", "1"],
        "row: {row:?}"
    );
    Ok(())
}

/// Everything that the operator makes, by kind and name: the generation, and when the operator wrote it last. The API server
/// moves the latter only when a write changes something. (A resourceVersion would move with the status, too, which belongs to
/// the controllers of Kubernetes.)
fn written(scene: &Scene) -> Result<BTreeMap<String, (i64, Vec<Time>)>> {
    let kinds = "statefulsets,deployments,services,serviceaccounts,configmaps,secrets,roles,rolebindings,poddisruptionbudgets";
    let objects = scene.kubectl(&[
        "get",
        kinds,
        "--selector=memgraph.dev/cluster=demo",
        "--output=json",
        "--show-managed-fields",
    ])?;
    let objects: ObjectList<DynamicObject> = serde_json::from_str(&objects)?;
    Ok(objects
        .items
        .into_iter()
        .map(|object| {
            let kind = object.types.as_ref().map_or("", |types| types.kind.as_str());
            let own = object
                .managed_fields()
                .iter()
                .filter(|entry| entry.manager.as_deref() == Some(names::FIELD_MANAGER));
            let times = own.filter_map(|entry| entry.time.clone()).collect();
            let generation = object.metadata.generation.unwrap_or_default();
            (format!("{kind}/{}", object.name_any()), (generation, times))
        })
        .collect())
}

pub async fn applying_the_same_cluster_again_changes_nothing(scene: Arc<Scene>) -> Result<()> {
    let cluster = scene.manifest("demo", json!({}))?;
    let manifest = serde_yaml::to_string(&cluster)?;
    scene.apply(&manifest)?;
    let database = Database::new(Arc::clone(&scene), "demo");
    let generation = database.settled().await?.metadata.generation;
    let before = written(&scene)?;
    ensure!(before.len() > 8, "objects: {before:?}");
    ensure!(
        before.values().all(|(_, times)| !times.is_empty()),
        "not written by the operator: {before:?}"
    );
    scene.apply(&manifest)?;
    // A change of something else, which the operator answers after all that came before it.
    scene.kubectl(&["annotate", "memgraphcluster", "demo", "test=1"])?;
    scene.kubectl(&["annotate", "memgraphcluster", "demo", "test-"])?;
    let is_back = |cluster: &MemgraphCluster| {
        cluster
            .metadata
            .annotations
            .as_ref()
            .is_none_or(|all| !all.contains_key("test"))
    };
    database
        .wait("the annotation to be gone", SETTLE_LIMIT, is_back)
        .await?;
    let again = database.settled().await?.metadata.generation;
    ensure!(generation == again, "generation: {generation:?}, then {again:?}");
    let after = written(&scene)?;
    ensure!(before == after, "before: {before:#?}\nafter: {after:#?}");
    Ok(())
}

pub async fn a_single_instance_serves_and_keeps_its_data_over_a_kill(scene: Arc<Scene>) -> Result<()> {
    let database = scene
        .start("solo", json!({"replicas": 1, "gateway": {"replicas": 1}}))
        .await?;
    database.write("before").await?;
    let term = database.ledger().await?.term;
    scene.node.kill(&database.pod("solo-0").await?)?;
    database.settled_after(term).await?;
    database.expect_everywhere(&["before"]).await?;
    database.write("after").await?;
    database.expect_everywhere(&["before", "after"]).await
}
