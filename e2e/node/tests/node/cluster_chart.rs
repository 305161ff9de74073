//! The Helm chart of a cluster, and what `helm test` finds out.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Result, ensure};
use e2e_cluster::process;
use e2e_node::database::Database;
use e2e_node::guide::Desk;
use e2e_node::installation::PROJECT;
use e2e_node::policies::Enforcement;
use e2e_node::scene::Scene;
use serde_json::{Value, json};

use super::chart::desk_with_helm;
use super::tls::Authority;

pub async fn its_test_asks_main_by_tls_and_as_a_user_and_fails_for_whoever_is_kept_out(
    scene: Arc<Scene>,
) -> Result<()> {
    let enforcement = Enforcement::begin(&scene).await?;
    let desk = desk_with_helm(&scene)?;
    let host = format!("demo-gateway.{}.svc", scene.namespace);
    Authority::new("clients")?.sign(&scene, "gateway-tls", &[&host])?;
    let user = [
        "--from-literal=username=app",
        "--from-literal=password=a-password",
    ];
    scene.kubectl(&[&["create", "secret", "generic", "graph-user"], &user[..]].concat())?;
    let images = &scene.node.images;
    let plain = json!({
        "image": images.memgraph,
        "storage": {"size": "1Gi"},
        "networkPolicy": {"clients": [{"podSelector": {"matchLabels": {"app": "shop"}}}]},
        "test": {"image": images.operator},
    });
    release(&desk, "install", &plain)?;
    let database = Database::new(Arc::clone(&scene), "demo");
    database.settled().await?;
    // Its pod goes on to try meanwhile: it says nothing yet.
    let kept_out = test(&desk, "--timeout 10s");
    ensure!(
        kept_out.is_err(),
        "the test's pod is let in without the label: {kept_out:?}"
    );

    let mut let_in = plain.clone();
    let_in["test"]["labels"] = json!({"app": "shop"});
    release(&desk, "upgrade", &let_in)?;
    expect(&desk, &host, "answers\n")?;

    let mut protected = let_in;
    protected["auth"] = json!({"secretRef": {"name": "graph-user"}});
    protected["gateway"] = json!({"tls": {"secretRef": {"name": "gateway-tls"}}});
    release(&desk, "upgrade", &protected)?;
    database.settled().await?;
    expect(&desk, &host, "answers the user app\n")?;

    // Nobody vouches for it any more: without that, no password is told.
    let patch = json!([{"op": "remove", "path": "/data/ca.crt"}]).to_string();
    scene.kubectl(&["patch", "secret", "gateway-tls", "--type=json", "--patch", &patch])?;
    expect(
        &desk,
        &host,
        "completes handshakes of TLS and Bolt; nothing was asked",
    )?;
    drop(enforcement);
    process::output(&mut desk.command(&format!(
        "helm uninstall demo --namespace {} --wait",
        scene.namespace
    ))?)
    .map(drop)
}

/// Installs or upgrades the cluster `demo` with these values.
fn release(desk: &Desk, command: &str, values: &Value) -> Result<()> {
    let file: PathBuf = desk.folder().join("values.json");
    fs::write(&file, values.to_string())?;
    let namespace = &desk.scene().namespace;
    let script = format!(
        "helm {command} demo '{PROJECT}/charts/memgraph-cluster' --namespace {namespace} --values '{}'",
        file.display()
    );
    process::output(&mut desk.command(&script)?).map(drop)
}

/// Runs `helm test`, and returns what it and the pod say.
fn test(desk: &Desk, more: &str) -> Result<String> {
    let script = format!(
        "helm test demo --namespace {} --logs {more}",
        desk.scene().namespace
    );
    tokio::task::block_in_place(|| process::output(&mut desk.command(&script)?))
}

fn expect(desk: &Desk, host: &str, answer: &str) -> Result<()> {
    let said = test(desk, "--timeout 3m")?;
    let wanted = format!("{host}:7687 {answer}");
    ensure!(said.contains(&wanted), "the test does not say {wanted:?}: {said}");
    Ok(())
}
