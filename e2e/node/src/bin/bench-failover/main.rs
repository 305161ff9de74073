//! Measures for how long clients cannot write when MAIN is lost or moved, on a real Kubernetes node, and prints tables in
//! Markdown. It needs root and the images of `make images`: `make bench-failover`.
//!
//! A client writes through the gateway, each write on a connection of its own, and tries again at once. What is measured is
//! the time from the fault to the next acknowledgement. Every cluster loses MAIN a few times only: the operator takes its
//! time before it changes MAIN once more where that happens often.

mod measure;
mod requests;
mod table;

use std::env;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use e2e_cluster::interrupt::Interrupt;
use e2e_node::database::Database;
use e2e_node::node::Node;
use e2e_node::scene::Scene;
use serde_json::json;

use measure::{Loss, Move};

/// How often MAIN is killed, unless `RUNS` says otherwise. It is cut off a quarter as often, and moved half as often.
const RUNS: usize = 200;

/// What is measured, unless `PARTS` names only some of it.
const PARTS: [&str; 3] = ["kill", "black-hole", "switchover"];

/// Losses for one cluster: before the fourth one within ten minutes the operator waits.
const LOSSES_OF_A_CLUSTER: usize = 3;

/// Moves for one cluster, which are not held back.
const MOVES_OF_A_CLUSTER: usize = 20;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("cannot measure: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    // Only a second call could fail.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runs = match env::var("RUNS") {
        Ok(text) => text.parse().context("RUNS is no number")?,
        Err(_) => RUNS,
    };
    let images = env::args_os()
        .nth(1)
        .context("the folder of the images is missing")?;
    let runtime = tokio::runtime::Runtime::new().context("cannot start the asynchronous runtime")?;
    let interrupt = Interrupt::on_signals()?;
    let node = Arc::new(runtime.block_on(Node::up(Path::new(&images), &interrupt))?);
    runtime.spawn(Arc::clone(&node).down_on_signal());
    let measured = runtime.block_on(all(&node, runs));
    let down = node.down();
    print!("{}", measured?);
    down
}

async fn all(node: &Arc<Node>, runs: usize) -> Result<String> {
    let parts = env::var("PARTS").unwrap_or_else(|_| PARTS.join(" "));
    let times = |part: &str, runs: usize| {
        if parts.split_whitespace().any(|p| p == part) {
            runs
        } else {
            0
        }
    };
    for part in parts.split_whitespace() {
        ensure!(PARTS.contains(&part), "there is no part {part}, only {PARTS:?}");
    }
    let mut kills = Vec::new();
    let mut holes = Vec::new();
    let mut moves = Vec::new();
    per_cluster(
        node,
        "kill",
        times("kill", runs),
        LOSSES_OF_A_CLUSTER,
        async |database, _| {
            let kill = measure::loss(database, measure::kill).await?;
            tell("killed", kills.len(), kill.pause);
            kills.push(kill);
            Ok(())
        },
    )
    .await?;
    per_cluster(
        node,
        "black-hole",
        times("black-hole", runs.div_ceil(4)),
        LOSSES_OF_A_CLUSTER,
        async |database, _| {
            let hole = measure::loss(database, measure::black_hole).await?;
            tell("cut off", holes.len(), hole.pause);
            holes.push(hole);
            Ok(())
        },
    )
    .await?;
    per_cluster(
        node,
        "switchover",
        times("switchover", runs.div_ceil(2)),
        MOVES_OF_A_CLUSTER,
        async |database, number| {
            let moved = measure::switchover(database, number).await?;
            tell("moved", moves.len(), moved.pause);
            moves.push(moved);
            Ok(())
        },
    )
    .await?;
    let asked = requests::read(&node.cluster.audit_log())?;
    let windows = |all: &[Loss]| {
        all.iter()
            .map(|loss| asked.within(&loss.window))
            .collect::<Vec<_>>()
    };
    let moved: Vec<_> = moves
        .iter()
        .map(|moved: &Move| asked.within(&moved.window))
        .collect();
    Ok(format!(
        "{}\n{}\n{}",
        table::pauses(&kills, &holes, &moves),
        table::steps(&kills, &moves),
        table::requests(&[
            ("MAIN killed", windows(&kills)),
            ("MAIN cut off", windows(&holes)),
            ("switchover", moved),
        ])
    ))
}

fn tell(what: &str, number: usize, pause: std::time::Duration) {
    eprintln!("{what} {}: {:.0} ms", number + 1, pause.as_secs_f64() * 1000.0);
}

/// Measures `runs` times, on a fresh cluster after each `share` times.
async fn per_cluster(
    node: &Arc<Node>,
    name: &str,
    runs: usize,
    share: usize,
    mut measure: impl AsyncFnMut(&Database, usize) -> Result<()>,
) -> Result<()> {
    let mut number = 0;
    while number < runs {
        let scene = Arc::new(Scene::new(Arc::clone(node), name).await?);
        let database = scene.start("demo", json!({})).await?;
        for _ in 0..share.min(runs - number) {
            if let Err(error) = measure(&database, number).await {
                scene.tell_state();
                return Err(error);
            }
            number += 1;
        }
        scene.remove().await?;
        scene.vanished().await?;
    }
    Ok(())
}
