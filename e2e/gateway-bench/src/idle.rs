//! Sessions that say nothing: what they occupy, and how fast a fence is rid of them.

use std::{
    io::{ErrorKind, Read},
    net::TcpStream,
    time::Duration,
};

use anyhow::{Context, Result, ensure};

use tokio::task::JoinSet;

use crate::{
    contender::{Contender, Running, Stand},
    figures::{Better, Series},
    instance,
    process::Processors,
};

/// Sessions that are begun at the same time.
const AT_ONCE: usize = 64;

const FEW: usize = 1000;
const MANY: usize = 8000;
/// HAProxy keeps descriptors for pipes besides, and does not start with more where 20,000 are allowed.
const MANY_WITH_SPLICE: usize = 4000;

/// Measures the memory of all contenders once.
pub async fn measure(stand: &Stand, repetition: usize, series: &mut Series) -> Result<()> {
    for contender in Contender::in_turn(repetition) {
        let many = match contender {
            Contender::HaproxySplice => MANY_WITH_SPLICE,
            _ => MANY,
        };
        let running = stand.start(contender, many + 10).await?;
        let empty = running.process.resident()?;
        let mut clients = Vec::new();
        for (sessions, name) in [
            (FEW, "KiB for each of 1000 sessions"),
            (many, "KiB for each of 8000 sessions (splice: 4000)"),
        ] {
            fill(&running, &mut clients, sessions).await?;
            let occupied = running.process.resident()?.saturating_sub(empty) as f64;
            let each = occupied / 1024.0 / sessions as f64;
            series.add(name, Better::Lower, contender, each);
        }
        drop(clients);
    }
    Ok(())
}

/// Measures the gateway's fence once, with one processor as everywhere, and with both: clients and instance have nothing to do then.
pub async fn measure_fence(stand: &Stand, series: &mut Series) -> Result<()> {
    for (processors, which) in [(Processors::One, "one processor"), (Processors::Both, "both")] {
        let mut running = stand.start_gateway(processors, MANY + 10).await?;
        let mut clients = Vec::new();
        fill(&running, &mut clients, MANY).await?;
        let operator = running.operator.take().context("a gateway has an operator")?;
        let cpu = running.process.cpu_time()?;
        let took = operator.fence().await?;
        let cpu = running.process.cpu_time()? - cpu;
        // The confirmation says that none is left: so this finds all of them reset already.
        for client in &mut clients {
            let found = client.read(&mut [0]).map_err(|error| error.kind());
            ensure!(
                found == Err(ErrorKind::ConnectionReset),
                "a session was not reset when that was confirmed: {found:?}"
            );
        }
        let mut add = |what, took: Duration| {
            let name = format!("8000 sessions, {which}: {what}");
            series.add(name, Better::Lower, Contender::Gateway, took.as_secs_f64() * 1e3);
        };
        add("ms until all are reset, and that is confirmed", took);
        add("ms of CPU", cpu);
    }
    Ok(())
}

async fn fill(running: &Running, clients: &mut Vec<TcpStream>, sessions: usize) -> Result<()> {
    let mut beginning = JoinSet::new();
    while clients.len() + beginning.len() < sessions {
        if beginning.len() == AT_ONCE
            && let Some(client) = beginning.join_next().await
        {
            clients.push(client??);
        }
        beginning.spawn(instance::hold(running.address));
    }
    while let Some(client) = beginning.join_next().await {
        clients.push(client??);
    }
    Ok(())
}
