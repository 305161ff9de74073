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
        if let Some(operator) = &running.operator {
            // What its metrics need for the first time is no session's.
            operator.until_asleep(0).await?;
        }
        let empty = running.process.resident()?;
        let mut clients = Vec::new();
        for (sessions, name) in [
            (FEW, "1000 sessions, just begun: KiB for each"),
            (many, "8000 sessions (splice: 4000), just begun: KiB for each"),
        ] {
            fill(&running, &mut clients, sessions).await?;
            let each = || {
                let occupied = running.process.resident()?.saturating_sub(empty) as f64;
                anyhow::Ok(occupied / 1024.0 / sessions as f64)
            };
            series.add(name, Better::Lower, contender, each()?);
            if matches!(contender, Contender::Gateway | Contender::Haproxy) {
                running.be_silent(sessions).await?;
                let name = format!("{sessions} sessions, silent for 10 s: KiB for each");
                series.add(name, Better::Lower, contender, each()?);
            }
        }
        drop(clients);
    }
    Ok(())
}

/// Measures the gateway's fence once, with one processor as everywhere, and with both: clients and instance have nothing to do then.
/// Once of sessions that have just begun, and once of such that sleep.
pub async fn measure_fence(stand: &Stand, series: &mut Series) -> Result<()> {
    for (processors, which) in [(Processors::One, "one processor"), (Processors::Both, "both")] {
        for asleep in [false, true] {
            let mut running = stand.start_gateway(processors, MANY + 10).await?;
            let mut clients = Vec::new();
            fill(&running, &mut clients, MANY).await?;
            if asleep {
                running.be_silent(MANY).await?;
            }
            let state = if asleep { "asleep" } else { "just begun" };
            fence(
                &mut running,
                &mut clients,
                &format!("8000 sessions, {state}, {which}"),
                series,
            )
            .await?;
        }
    }
    Ok(())
}

async fn fence(
    running: &mut Running,
    clients: &mut [TcpStream],
    name: &str,
    series: &mut Series,
) -> Result<()> {
    let operator = running.operator.take().context("a gateway has an operator")?;
    let cpu = running.process.cpu_time()?;
    let took = operator.fence().await?;
    let cpu = running.process.cpu_time()? - cpu;
    // The confirmation says that none is left: so this finds all of them reset already.
    for client in clients {
        let found = client.read(&mut [0]).map_err(|error| error.kind());
        ensure!(
            found == Err(ErrorKind::ConnectionReset),
            "a session was not reset when that was confirmed: {found:?}"
        );
    }
    let mut add = |what, took: Duration| {
        let millis = took.as_secs_f64() * 1e3;
        series.add(
            format!("{name}: {what}"),
            Better::Lower,
            Contender::Gateway,
            millis,
        );
    };
    add("ms until all are reset, and that is confirmed", took);
    add("ms of CPU", cpu);
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
