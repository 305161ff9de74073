//! Clients that connect again and again while there are as many sessions as are allowed: what those that are there notice.

use std::{net::SocketAddr, time::Duration};

use anyhow::Result;
use tokio::{
    io::AsyncReadExt,
    net::TcpStream,
    task::JoinSet,
    time::{MissedTickBehavior, interval, timeout},
};

use crate::{
    contender::{Contender, Stand},
    echo::Talk,
    figures::{Better, Series},
};

const SESSIONS: usize = 64;
const WINDOW: Duration = Duration::from_secs(1);
/// One connection more each time.
const EVERY: Duration = Duration::from_micros(500);
/// How long each waits for a session, or a refusal.
const PATIENCE: Duration = Duration::from_millis(50);

/// Measures all contenders once.
pub async fn measure(stand: &Stand, repetition: usize, series: &mut Series) -> Result<()> {
    for contender in Contender::in_turn(repetition) {
        let running = stand.start(contender, SESSIONS).await?;
        let talk = Talk::begin(&running, SESSIONS).await?;
        let storm = tokio::spawn(storm(running.address));
        let figures = talk.listen(&running, WINDOW).await;
        storm.abort();
        let figures = figures?;
        let mut add = |what, better, value| series.add(what, better, contender, value);
        add("CPU, µs per request", Better::Lower, figures.cpu_micros);
        add("requests/s", Better::Higher, figures.rate);
        add("p50, µs", Better::Lower, figures.p50);
        add("p99, µs", Better::Lower, figures.p99);
    }
    Ok(())
}

async fn storm(address: SocketAddr) {
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut clients = JoinSet::new();
    loop {
        ticks.tick().await;
        clients.spawn(async move {
            // Refused, or tired of waiting: both is what a storm is made of.
            let _ = timeout(PATIENCE, wait(address)).await;
        });
        while clients.try_join_next().is_some() {}
    }
}

async fn wait(address: SocketAddr) -> std::io::Result<()> {
    let mut client = TcpStream::connect(address).await?;
    client.set_zero_linger()?;
    client.read_u8().await?;
    Ok(())
}
