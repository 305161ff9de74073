//! The Helm chart, by the commands of its README.md.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use e2e_cluster::process;
use e2e_node::database::{Database, SETTLE_LIMIT};
use e2e_node::guide::Desk;
use e2e_node::installation::PROJECT;
use e2e_node::node::OPERATOR_NAMESPACE;
use e2e_node::scene::Scene;
use e2e_node::wait::until;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::Api;
use kube::api::ListParams;
use serde_json::json;

const GUIDE: &str = "charts/memgraph-operator/README.md";

/// Where Helm keeps what it knows of its user.
const HELM_FOLDERS: [&str; 3] = ["HELM_CACHE_HOME", "HELM_CONFIG_HOME", "HELM_DATA_HOME"];

pub async fn the_chart_is_installed_upgraded_and_removed_as_it_says(scene: Arc<Scene>) -> Result<()> {
    let desk = desk_with_helm(&scene)?;
    let there: Vec<_> = desk
        .guide()
        .boxes()
        .into_iter()
        .map(|(heading, _)| heading.to_owned())
        .collect();
    let tried = [
        "Install",
        "Install",
        "Upgrade",
        "Upgrade",
        "Uninstall",
        "Uninstall",
    ];
    ensure!(there == tried, "the boxes of {GUIDE} are {there:?}");
    in_place_of_the_operator(&desk, from_install_to_uninstall).await
}

/// Where Helm is at hand, whose user has not used it before.
pub(super) fn desk_with_helm(scene: &Arc<Scene>) -> Result<Desk> {
    let helm = process::output(&mut process::command(
        "bash",
        [format!("{PROJECT}/e2e/chart/helm.sh")],
    ))?;
    let helm = Path::new(helm.trim()).parent().context("Helm is in no folder")?;
    let desk = Desk::new(scene, GUIDE)?.with_programs(helm);
    Ok(HELM_FOLDERS.iter().fold(desk, |desk, variable| {
        let folder = desk.folder().join("helm").join(variable);
        desk.with_environment(variable, &folder)
    }))
}

/// The other tests' operator makes room for what `body` installs by Helm, and comes back when that is gone.
pub(super) async fn in_place_of_the_operator(
    desk: &Desk,
    body: impl AsyncFnOnce(&Desk) -> Result<()>,
) -> Result<()> {
    let scene = desk.scene();
    scene.alone().await?;
    scene.node.remove_operator()?;
    let result = body(desk).await;
    if result.is_err() {
        scene.tell_state();
    }
    let uninstall = format!(
        "helm uninstall memgraph-operator --namespace {OPERATOR_NAMESPACE} --ignore-not-found --wait"
    );
    let mut uninstall = desk.command(&uninstall)?;
    let uninstalled = tokio::task::block_in_place(|| process::run(&mut uninstall));
    // What Helm keeps.
    let removed = scene.node.remove_operator();
    let installed = scene.node.install_operator();
    result.and(uninstalled).and(removed).and(installed)
}

async fn from_install_to_uninstall(desk: &Desk) -> Result<()> {
    let scene = desk.scene();
    an_older_chart(desk)?;
    desk.run("Install", 0)?;
    ensure!(operators(scene).await? == 2, "no two operator processes");
    let tested = desk.run("Install", 1)?;
    ensure!(tested.contains("Succeeded"), "the chart's test: {tested}");
    ensure!(
        scene.kubectl(&["get", "mgc"]).is_err(),
        "this is not the older chart"
    );
    let database = scene.start("demo", json!({})).await?;
    database.write("before").await?;
    database.settled().await?;
    let (pods, ledger) = (database.lives().await?, database.ledger().await?);

    this_chart(desk)?;
    desk.run("Upgrade", 0)?;
    let listed = scene.kubectl(&["get", "mgc"])?;
    ensure!(
        listed.contains("Operational"),
        "the new chart's short name: {listed}"
    );
    desk.run("Upgrade", 1)?;
    ensure!(operators(scene).await? == 5, "no five operator processes");
    database.write("upgraded").await?;
    database.settled().await?;
    ensure!(
        database.lives().await? == pods,
        "the upgrade has restarted instances"
    );
    ensure!(
        database.ledger().await? == ledger,
        "the upgrade has changed the ledger"
    );
    scene.node.kill(&database.pod("demo-0").await?)?;
    database.write("failed-over").await?;
    database.settled_after(ledger.term).await?;

    the_wrong_order(desk, &database).await?;
    removal(desk).await
}

/// The operator is removed first: its clusters go on, and an operator that is installed anew goes on with them.
async fn the_wrong_order(desk: &Desk, database: &Database) -> Result<()> {
    let before = (database.lives().await?, database.ledger().await?);
    let uninstall = format!("helm uninstall memgraph-operator --namespace {OPERATOR_NAMESPACE} --wait");
    process::output(&mut desk.command(&uninstall)?)?;
    ensure!(operators(desk.scene()).await? == 0, "the operator is still there");
    database.write("without-operator").await?;
    desk.run("Install", 0)?;
    database.write("reinstalled").await?;
    database.settled().await?;
    let after = (database.lives().await?, database.ledger().await?);
    ensure!(
        before == after,
        "reinstalling has changed {before:?} to {after:?}"
    );
    let tokens = [
        "before",
        "upgraded",
        "failed-over",
        "without-operator",
        "reinstalled",
    ];
    database.expect_everywhere(&tokens).await
}

async fn removal(desk: &Desk) -> Result<()> {
    let node = &desk.scene().node;
    let said = desk.run("Uninstall", 0)?;
    // The namespace takes along what the command for the volumes misses.
    let claim = "persistentvolumeclaim \"data-demo-0\" deleted";
    ensure!(
        said.contains(claim),
        "the claims are left to the namespace: {said}"
    );
    for namespace in [desk.scene().namespace.as_str(), OPERATOR_NAMESPACE] {
        let left = node.kubectl(&["get", "namespace", namespace, "--ignore-not-found"])?;
        ensure!(left.is_empty(), "the namespace is still there: {left}");
    }
    let claimed = |volumes: &str| volumes.contains(&desk.scene().namespace);
    until("the volumes to be gone", SETTLE_LIMIT, async || {
        Ok((!claimed(&node.kubectl(&["get", "persistentvolumes"])?)).then_some(()))
    })
    .await?;
    let kinds = "clusterroles,clusterrolebindings";
    let left = node.kubectl(&[
        "get",
        kinds,
        "--selector=app.kubernetes.io/managed-by=Helm",
        "--output=name",
    ])?;
    ensure!(left.is_empty(), "there are {left}");
    let definitions: Api<CustomResourceDefinition> = Api::all(node.client.clone());
    let name = "memgraphclusters.memgraph.dev";
    ensure!(
        definitions.get_opt(name).await?.is_some(),
        "the CustomResourceDefinition has gone with the release"
    );
    desk.run("Uninstall", 1)?;
    ensure!(definitions.get_opt(name).await?.is_none(), "it is still there");
    Ok(())
}

/// The chart in the folder where the README's commands look for it.
fn this_chart(desk: &Desk) -> Result<()> {
    let script =
        format!("rm -rf charts && mkdir charts && cp -r '{PROJECT}/charts/memgraph-operator' charts/");
    process::output(&mut desk.command(&script)?).map(drop)
}

/// The chart as an older version might have been: what it makes has no short name yet.
fn an_older_chart(desk: &Desk) -> Result<()> {
    this_chart(desk)?;
    let chart = desk.folder().join("charts/memgraph-operator");
    for (file, now, then) in [
        ("Chart.yaml", "\nversion: ", "\nversion: 0.0.1 # not "),
        (
            "files/crds/memgraphclusters.yaml",
            "    shortNames:\n    - mgc\n",
            "",
        ),
    ] {
        let text = fs::read_to_string(chart.join(file))?;
        ensure!(text.contains(now), "{file} does not have {now:?}");
        fs::write(chart.join(file), text.replace(now, then))?;
    }
    Ok(())
}

/// How many ready operator processes there are.
async fn operators(scene: &Scene) -> Result<usize> {
    let pods: Api<Pod> = Api::namespaced(scene.node.client.clone(), OPERATOR_NAMESPACE);
    let pods = pods.list(&ListParams::default()).await?;
    let ready = |pod: &&Pod| {
        let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
        let ready =
            conditions.is_some_and(|all| all.iter().any(|c| c.type_ == "Ready" && c.status == "True"));
        ready && pod.metadata.deletion_timestamp.is_none()
    };
    Ok(pods.items.iter().filter(ready).count())
}
