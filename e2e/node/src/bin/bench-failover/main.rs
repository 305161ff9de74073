//! Measures for how long clients cannot write when MAIN is lost or moved, on a real Kubernetes node, and prints tables in
//! Markdown. It needs root and the images of `make images`: `make bench-failover`.
//!
//! A client writes through the gateway, each write on a connection of its own, and tries again at once. What is measured is
//! the time from the fault to the next acknowledgement. In one part it is an application with an official driver, whose own
//! retries are to do. Every cluster loses MAIN a few times only: the operator takes its
//! time before it changes MAIN once more where that happens often. What was measured is kept until all is: a run that was
//! broken off prints what there is, and the next one goes on from there.

mod measure;
mod part;
mod requests;
mod results;
mod table;

use std::env;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use e2e_cluster::interrupt::Interrupt;
use e2e_node::node::Node;
use e2e_node::scene::Scene;
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};

use part::Part;
use requests::Requests;
use results::{Measured, Results};

/// How often MAIN is killed, unless `RUNS` says otherwise. The others come less often: [`Part::times`].
const RUNS: usize = 200;

/// Where results are kept, beside the images.
const RESULTS: &str = "bench-failover.jsonl";

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
    let parts: Vec<Part> = match env::var("PARTS") {
        Ok(text) => text.split_whitespace().map(str::parse).collect::<Result<_>>()?,
        Err(_) => Part::ALL.to_vec(),
    };
    let images = env::args_os()
        .nth(1)
        .context("the folder of the images is missing")?;
    let images = Path::new(&images);
    let runtime = tokio::runtime::Runtime::new().context("cannot start the asynchronous runtime")?;
    let interrupt = Interrupt::on_signals()?;
    let node = Arc::new(runtime.block_on(Node::up(images, &interrupt))?);
    let measured = runtime.block_on(async {
        let file = images.with_file_name(RESULTS);
        let mut results = Results::take_up(&file, &node.images.operator)?;
        let ended = tokio::select! {
            ended = measure_all(&node, &parts, runs, &mut results) => ended,
            interrupted = interrupted() => interrupted,
        };
        print!(
            "{}\n{}\n{}",
            table::pauses(&results),
            table::steps(&results),
            table::requests(&results)
        );
        match ended {
            Ok(()) => results.done(),
            Err(error) => Err(error.context("not all is measured; the next run goes on from here")),
        }
    });
    let down = node.down();
    measured.and(down)
}

/// Ends, with an error, when this process is told to end.
async fn interrupted() -> Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = tokio::signal::ctrl_c() => {}
    }
    bail!("interrupted")
}

/// Measures what is missing of each part, on a fresh cluster after some times.
async fn measure_all(node: &Arc<Node>, parts: &[Part], runs: usize, results: &mut Results) -> Result<()> {
    let mut requests = Requests::of(&node.cluster.audit_log());
    for &part in parts {
        loop {
            let there = results.of(part).count();
            let missing = part.times(runs).saturating_sub(there);
            if missing == 0 {
                break;
            }
            let scene = Arc::new(Scene::new(Arc::clone(node), part.name()).await?);
            let database = scene.start("demo", json!({})).await?;
            for number in there..there + missing.min(part.share()) {
                let observed = match measure::once(&database, part, number).await {
                    Ok(observed) => observed,
                    Err(error) => {
                        scene.tell_state();
                        return Err(error);
                    }
                };
                let (statuses, events) = requests.within(&observed.window)?;
                eprintln!(
                    "{part} {}: {:.0} ms",
                    number + 1,
                    observed.pause.as_secs_f64() * 1000.0
                );
                results.add(Measured {
                    part,
                    image: results.image().to_owned(),
                    pause: observed.pause,
                    noticed: observed.noticed,
                    replaced: observed.replaced,
                    steps: observed.steps,
                    failed: observed.failed,
                    statuses,
                    events,
                })?;
            }
            scene.remove().await?;
            scene.vanished().await?;
        }
    }
    Ok(())
}
