//! `kubectl memgraph` with a real API server behind it.

use std::fs;
use std::io::Read as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use clap::Parser as _;
use e2e_node::database::{SETTLE_LIMIT, condition, run, tokens};
use e2e_node::scene::Scene;
use e2e_node::wait::until;
use memgraph_operator::kubectl::{self, Arguments, Outcome};
use serde_json::json;

/// What is called in place of mgconsole: it tells the port, and ends when it is told to.
const PROGRAM: &str = r#"#!/usr/bin/env bash
set -eu
cd "$(dirname "$0")"
for argument; do
    case $argument in --port=*) echo "${argument#--port=}" > port.new ;; esac
done
mv port.new port
until [[ -e over ]]; do sleep 0.1; done
"#;

/// Where the plugin is that was built for the images.
pub fn folder() -> Result<PathBuf> {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent();
    let target = target.context("there is no target folder")?;
    Ok(target.join("static/x86_64-unknown-linux-gnu/image"))
}

/// Calls the plugin. Returns what it has said meanwhile.
pub async fn call(scene: &Scene, line: &str) -> Result<String> {
    let kubeconfig = scene.node.cluster.kubeconfig();
    let kubeconfig = kubeconfig.to_str().context("a path that is no text")?;
    let own = ["--namespace", &scene.namespace, "--kubeconfig", kubeconfig];
    let words = ["kubectl-memgraph"].into_iter().chain(line.split(' ')).chain(own);
    let (mut out, mut progress) = (Vec::new(), Vec::new());
    let outcome = kubectl::run(Arguments::try_parse_from(words)?, &mut out, &mut progress).await?;
    let said = String::from_utf8(progress)?;
    ensure!(
        outcome == Outcome::Done,
        "{line} has ended with {outcome:?}: {said}"
    );
    Ok(said)
}

fn unpacked(path: &Path) -> Result<Vec<(String, String)>> {
    let mut archive = zip::ZipArchive::new(fs::File::open(path)?)?;
    let mut files = Vec::new();
    for index in 0..archive.len() {
        let mut file = archive.by_index(index)?;
        let mut content = String::new();
        file.read_to_string(&mut content)?;
        files.push((file.name()?.into_owned(), content));
    }
    Ok(files)
}

pub async fn a_console_leads_to_main_and_a_report_tells_of_the_cluster(scene: Arc<Scene>) -> Result<()> {
    let database = scene.start("demo", json!({})).await?;
    let folder = tempfile::tempdir()?;
    let path = |name: &str| folder.path().join(name);
    fs::write(path("program"), PROGRAM)?;
    fs::set_permissions(path("program"), fs::Permissions::from_mode(0o755))?;
    let line = format!("console demo --program {}", path("program").display());
    let console = call(&scene, &line);
    let talking = async {
        let port: u16 = until("the console to be open", SETTLE_LIMIT, async || {
            Ok(Some(fs::read_to_string(path("port"))?.trim().parse()?))
        })
        .await?;
        let console = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        run(console, "CREATE (:Token {id: 'by-console'})").await?;
        ensure!(
            tokens(console).await?.contains("by-console"),
            "it is not read back"
        );
        fs::write(path("over"), "")?;
        anyhow::Ok(())
    };
    let (said, talked) = tokio::join!(console, talking);
    talked?;
    ensure!(said?.contains("connecting to the gateway of demo"));
    database.expect_everywhere(&["by-console"]).await?;

    let report = path("report.zip");
    call(&scene, &format!("report demo --output {}", report.display())).await?;
    let files = unpacked(&report)?;
    let has = |name: &str, text: &str| {
        files
            .iter()
            .any(|(file, content)| file.ends_with(name) && content.contains(text))
    };
    for (name, text) in [
        ("/cluster.yaml", "kind: MemgraphCluster"),
        ("/status.txt", "MAIN      demo-0"),
        ("/events.yaml", "Bootstrapped"),
        ("/objects/statefulsets/demo.yaml", "kind: StatefulSet"),
        ("/objects/persistentvolumeclaims/data-demo-0.yaml", "demo-0"),
        ("/logs/demo-0/memgraph.log", ""),
        ("/logs/demo-0/instance-init.log", ""),
        (".log", "ledger written"),
    ] {
        let names: Vec<_> = files.iter().map(|(name, _)| name).collect();
        ensure!(has(name, text), "no {name} with {text:?} among {names:?}");
    }
    ensure!(!has("/unread.txt", ""), "something could not be read");
    // Also in base64, as Secrets have them.
    let secret = |content: &str| content.contains("PRIVATE KEY") || content.contains("LS0tLS1CRUdJTi");
    let found: Vec<_> = files
        .iter()
        .filter(|(_, content)| secret(content))
        .map(|(name, _)| name)
        .collect();
    ensure!(found.is_empty(), "there are keys in {found:?}");
    Ok(())
}

pub async fn a_pause_holds_a_failover_back(scene: Arc<Scene>) -> Result<()> {
    let database = scene.start("demo", json!({})).await?;
    database.write("before").await?;
    let term = database.ledger().await?.term;
    let said = call(&scene, "pause demo").await?;
    ensure!(said.contains("demo is paused"), "{said}");
    scene.node.kill(&database.pod("demo-0").await?)?;
    database
        .wait("clients cannot write", SETTLE_LIMIT, |cluster| {
            condition(cluster, "Ready") == Some(("False", "Paused"))
        })
        .await?;
    ensure!(
        database.ledger().await?.term == term,
        "MAIN was replaced in a pause"
    );
    call(&scene, "resume demo").await?;
    database.write("after").await?;
    database.settled_after(term).await?;
    database.expect_everywhere(&["before", "after"]).await
}
