//! Measures the operator with very many clusters: `operator-bench PROGRAM`, where PROGRAM is `memgraph-operator`. It needs root.
//!
//! The control plane is real and has no nodes. The operator is a process of its own, with the rights that it has in a cluster;
//! [`kubelet`] plays nodes, and [`machine`] runs what would be in the pods. What is printed are tables for `docs/benchmarks.md`.

mod failover;
mod fleet;
mod foreign;
mod kubelet;
mod machine;
mod machines;
mod operator;
mod orders;
mod rest;
mod stand;
mod start;
mod table;

use std::{env, path::PathBuf, process::ExitCode, time::Duration};

use anyhow::{Context, Result, bail};
use e2e_cluster::interrupt::Interrupt;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::{
    signal::unix::{SignalKind, signal},
    time::Instant,
};

use self::{
    stand::{ControlPlane, Stand},
    table::Table,
};

const PARTS: [&str; 4] = ["rest", "start", "failover", "foreign"];
const CLUSTERS: usize = 1000;
/// At so many clusters the operator is looked at while nothing happens, and at the most that there are.
const REST_AT: [usize; 2] = [1, 100];
const GATEWAYS: i32 = 2;
/// For how long so many clusters may take to come about. Kubernetes' own controllers take most of it.
const COME_ABOUT: Duration = Duration::from_secs(3600);

/// A goal was missed, which is no failure of the program.
const MISSED: u8 = 2;

fn main() -> ExitCode {
    // Only a second call could fail.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let ran = match env::args().nth(1) {
        Some(role) if role == machines::ROLE => raise_descriptor_limit()
            .and_then(|()| machine::run())
            .map(|()| true),
        Some(program) => raise_descriptor_limit().and_then(|()| run(PathBuf::from(program))),
        None => Err(anyhow::anyhow!(
            "usage: operator-bench PROGRAM; it is memgraph-operator, built for release"
        )),
    };
    match ran {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(MISSED),
        Err(error) => {
            eprintln!("cannot measure: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(program: PathBuf) -> Result<bool> {
    let clusters = number("CLUSTERS", CLUSTERS)?;
    let gateways = i32::try_from(number("GATEWAYS", GATEWAYS as usize)?)?;
    let parts = env::var("PARTS").unwrap_or_else(|_| PARTS.join(" "));
    let parts: Vec<&str> = parts.split_whitespace().collect();
    if let Some(unknown) = parts.iter().find(|part| !PARTS.contains(part)) {
        bail!("no part {unknown}; there are {}", PARTS.join(", "));
    }
    let runtime = tokio::runtime::Runtime::new().context("cannot start the asynchronous runtime")?;
    let control = ControlPlane::up(&Interrupt::on_signals()?)?;
    let measured = runtime.block_on(async {
        let mut table = Table::default();
        let measured = tokio::select! {
            measured = measure(&control, program, clusters, gateways, &parts, &mut table) => measured,
            interrupted = interrupted() => interrupted,
        };
        println!("{table}");
        measured.map(|()| table.is_reached())
    });
    // Processes of machines end with what holds them.
    drop(runtime);
    let down = control.down();
    measured.and_then(|reached| down.map(|()| reached))
}

async fn measure(
    control: &ControlPlane,
    program: PathBuf,
    clusters: usize,
    gateways: i32,
    parts: &[&str],
    table: &mut Table,
) -> Result<()> {
    let mut stand = Stand::new(control, program, clusters, gateways).await?;
    stand.start_operator()?;
    let wants = |part: &str| parts.contains(&part);
    let before = REST_AT.into_iter().filter(|count| *count < clusters);
    for count in before.filter(|_| wants("rest")).chain([clusters]) {
        let begun = Instant::now();
        stand.fleet.grow_to(count).await?;
        stand.fleet.until_whole(count, COME_ABOUT).await?;
        eprintln!(
            "{count} clusters are there after {:.0} s",
            begun.elapsed().as_secs_f64()
        );
        if wants("rest") {
            rest::measure(&mut stand, count, table).await?;
        }
    }
    if wants("start") {
        start::measure(&mut stand, clusters, table).await?;
    }
    if wants("failover") {
        failover::measure(&mut stand, clusters, table).await?;
    }
    if wants("foreign") {
        foreign::measure(&mut stand, table).await?;
    }
    stand.stop_operator().await
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

/// The number of this environment variable.
fn number(variable: &str, default: usize) -> Result<usize> {
    match env::var(variable) {
        Ok(text) if !text.is_empty() => text.parse().with_context(|| format!("{variable} is no number")),
        _ => Ok(default),
    }
}

/// Each instance and gateway needs about ten.
fn raise_descriptor_limit() -> Result<()> {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: maximum,
        maximum,
    };
    setrlimit(Resource::Nofile, raised).context("cannot raise the limit of open files")
}
