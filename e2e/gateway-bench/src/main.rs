//! Measures the gateway beside HAProxy: `gateway-bench PROGRAM [part ..]`, where PROGRAM is `memgraph-operator`.
//!
//! Each part is measured several times (`REPETITIONS`, 7 without it), with all contenders in turn each time. What is printed
//! are tables for `docs/benchmarks.md`. Proxies have one thread and one processor of their own, the first one; clients and
//! instance have the second one.
//!
//! `gateway-bench PROGRAM front ADDRESS ..` measures nothing: see [`front`].
//!
//! The part `soak` measures nothing and is run only where it is named: so many sessions (`SESSIONS`, 100,000 without it) must leave
//! nothing behind.

mod api_server;
mod bulk;
mod connecting;
mod contender;
mod echo;
mod figures;
mod front;
mod gateway;
mod haproxy;
mod idle;
mod instance;
mod process;
mod soak;
mod storm;
mod waking;

use std::{net::SocketAddr, path::PathBuf};

use anyhow::{Context, Result, bail, ensure};

use self::{contender::Stand, figures::Series};

const PARTS: [&str; 7] = ["bulk", "echo", "connecting", "idle", "waking", "fence", "storm"];

const SOAK: &str = "soak";
const FRONT: &str = "front";

const REPETITIONS: usize = 7;
const SESSIONS: usize = 100_000;

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let Some(program) = arguments.next().map(PathBuf::from) else {
        bail!("usage: gateway-bench PROGRAM [part ..]; PROGRAM is memgraph-operator, built for release");
    };
    let asked: Vec<String> = arguments.collect();
    let servers = match asked.split_first() {
        Some((part, servers)) if part == FRONT => Some(addresses(servers)?),
        _ => None,
    };
    let soak = asked == [SOAK];
    let by_itself = soak || servers.is_some();
    if let Some(unknown) = asked
        .iter()
        .find(|it| !by_itself && !PARTS.contains(&it.as_str()))
    {
        bail!(
            "no part {unknown}; there are {}, and {SOAK} and {FRONT} by themselves",
            PARTS.join(", ")
        );
    }
    let repetitions = number("REPETITIONS", REPETITIONS)?;
    let _ = rustls::crypto::ring::default_provider().install_default();
    process::raise_descriptor_limit()?;
    process::pin_to(process::LOAD_PROCESSOR)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let stand = Stand::new(program)?;
        if let Some(servers) = servers {
            return front::run(&stand, &servers).await;
        }
        if soak {
            return soak::run(&stand, number("SESSIONS", SESSIONS)?).await;
        }
        for part in PARTS {
            if !asked.is_empty() && !asked.iter().any(|it| it == part) {
                continue;
            }
            eprintln!("measuring {part}, {repetitions} times");
            let mut series = Series::default();
            for repetition in 0..repetitions {
                match part {
                    "bulk" => bulk::measure(&stand, repetition, &mut series).await,
                    "echo" => echo::measure(&stand, repetition, &mut series).await,
                    "connecting" => connecting::measure(&stand, repetition, &mut series).await,
                    "idle" => idle::measure(&stand, repetition, &mut series).await,
                    "waking" => waking::measure(&stand, repetition, &mut series).await,
                    "fence" => idle::measure_fence(&stand, &mut series).await,
                    _ => storm::measure(&stand, repetition, &mut series).await,
                }
                .with_context(|| format!("cannot measure {part}"))?;
            }
            println!("\n{part}\n\n{}", series.table());
        }
        Ok(())
    })
}

fn addresses(texts: &[String]) -> Result<Vec<SocketAddr>> {
    ensure!(!texts.is_empty(), "{FRONT} needs the address of a server");
    let read = |text: &String| {
        text.parse()
            .with_context(|| format!("{text} is no address, such as 127.0.0.1:7687"))
    };
    texts.iter().map(read).collect()
}

/// The positive number of this environment variable.
fn number(variable: &str, default: usize) -> Result<usize> {
    match std::env::var(variable) {
        Ok(text) => {
            let number = text.parse().with_context(|| format!("{variable} is no number"))?;
            ensure!(number > 0, "{variable} must be at least 1");
            Ok(number)
        }
        Err(_) => Ok(default),
    }
}
