//! The first question after a silence, beside the next one: what it costs that a gateway's sessions have slept meanwhile.

use anyhow::{Context, Result};
use tokio::time::Instant;

use crate::{
    contender::{Contender, Stand},
    echo::ask,
    figures::{Better, Series, quantile},
    instance::{ECHO, begin},
};

const SESSIONS: usize = 1000;

/// Measures the gateway and HAProxy once. One session asks after the other.
pub async fn measure(stand: &Stand, repetition: usize, series: &mut Series) -> Result<()> {
    for contender in Contender::in_turn(repetition) {
        if !matches!(contender, Contender::Gateway | Contender::Haproxy) {
            continue;
        }
        let running = stand.start(contender, SESSIONS + 10).await?;
        let mut clients = Vec::new();
        for _ in 0..SESSIONS {
            let mut client = begin(running.address, ECHO).await?;
            ask(&mut client).await?;
            clients.push(client);
        }
        running.be_silent(SESSIONS).await?;
        for which in ["first question after 10 s of silence", "the next one"] {
            let cpu = running.process.cpu_time()?;
            let mut micros = Vec::new();
            for client in &mut clients {
                let asked = Instant::now();
                ask(client).await?;
                micros.push(asked.elapsed().as_secs_f64() * 1e6);
            }
            let cpu = (running.process.cpu_time()? - cpu).as_secs_f64() * 1e6 / SESSIONS as f64;
            let mut add =
                |what, value| series.add(format!("{which}: {what}"), Better::Lower, contender, value);
            add("CPU, µs", cpu);
            add(
                "p50, µs",
                quantile(&mut micros, 0.5).context("nobody was answered")?,
            );
            add(
                "p99, µs",
                quantile(&mut micros, 0.99).context("nobody was answered")?,
            );
        }
    }
    Ok(())
}
