//! From nothing to a cluster that serves.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use e2e_node::database::{Database, SETTLE_LIMIT, condition};
use e2e_node::scene::Scene;
use memgraph_operator::api::conditions::ConditionType;
use memgraph_operator::api::{Health, InstanceRole, MemgraphCluster, RegistrationMode};
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
        let wanted = if matches!(type_, "Reconciling" | "Stalled") {
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

/// Everything that the operator makes, and the cluster itself, by kind and name.
fn versions(scene: &Scene) -> Result<BTreeMap<String, String>> {
    let kinds =
        "memgraphclusters,statefulsets,deployments,services,serviceaccounts,configmaps,roles,rolebindings";
    let fields = r#"jsonpath={range .items[*]}{.kind}/{.metadata.name} {.metadata.generation}/{.metadata.resourceVersion}{"\n"}{end}"#;
    let selector = "--selector=memgraph.dev/cluster=demo";
    let children = scene.kubectl(&["get", kinds, selector, "--output", fields])?;
    let own = scene.kubectl(&["get", "memgraphclusters", "--output", fields])?;
    let lines = children.lines().chain(own.lines());
    Ok(lines
        .filter_map(|line| line.split_once(' '))
        .map(|(name, version)| (name.to_owned(), version.to_owned()))
        .collect())
}

pub async fn applying_the_same_cluster_again_changes_nothing(scene: Arc<Scene>) -> Result<()> {
    let cluster = scene.manifest("demo", json!({}))?;
    let manifest = serde_yaml::to_string(&cluster)?;
    scene.apply(&manifest)?;
    let database = Database::new(Arc::clone(&scene), "demo");
    database.settled().await?;
    let before = versions(&scene)?;
    ensure!(before.len() > 8, "objects: {before:?}");
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
    database.settled().await?;
    let mut after = versions(&scene)?;
    // The annotation itself has changed the version of the cluster, but not its generation.
    let generation = |all: &mut BTreeMap<String, String>| {
        all.remove("MemgraphCluster/demo")
            .map(|v| v.split('/').next().map(str::to_owned))
    };
    let mut before = before;
    ensure!(
        generation(&mut before) == generation(&mut after),
        "the generation has changed"
    );
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
