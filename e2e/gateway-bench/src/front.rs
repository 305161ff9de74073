//! Gateways in front of servers that somebody else has started, for whoever wants to speak to those by a real gateway.

use std::{
    io::{self, Write},
    net::SocketAddr,
};

use anyhow::{Context, Result};

use crate::{contender::Stand, process::Processors};

/// Room for so many sessions in each.
const SESSIONS: usize = 1_000;

/// Starts a gateway in front of each of these servers, prints where they listen in one line, and ends them with the standard
/// input.
pub async fn run(stand: &Stand, servers: &[SocketAddr]) -> Result<()> {
    let mut gateways = Vec::new();
    for server in servers {
        let gateway = stand.gateway(Processors::One, *server, SESSIONS).await;
        gateways.push(gateway.with_context(|| format!("cannot start a gateway in front of {server}"))?);
    }
    let addresses: Vec<String> = gateways.iter().map(|(address, ..)| address.to_string()).collect();
    let mut output = io::stdout();
    writeln!(output, "{}", addresses.join(" "))?;
    output.flush()?;
    let ended = tokio::task::spawn_blocking(|| io::copy(&mut io::stdin().lock(), &mut io::sink()));
    ended.await?.context("cannot read the standard input")?;
    Ok(())
}
