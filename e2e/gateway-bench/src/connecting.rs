//! Short sessions: how many begin and end in order each second, and what each costs.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, Result};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    task::JoinSet,
    time::Instant,
};

use crate::{
    contender::{Contender, Stand},
    figures::{Better, Series},
    instance::{ECHO, begin},
};

const CLIENTS: usize = 16;
const WINDOW: Duration = Duration::from_secs(1);

/// Measures all contenders once.
pub async fn measure(stand: &Stand, repetition: usize, series: &mut Series) -> Result<()> {
    for contender in Contender::in_turn(repetition) {
        let running = stand.start(contender, 1000).await?;
        let stop = Arc::new(AtomicBool::new(false));
        let (began, cpu) = (Instant::now(), running.process.cpu_time()?);
        let mut clients = JoinSet::new();
        for _ in 0..CLIENTS {
            let (address, stop) = (running.address, Arc::clone(&stop));
            clients.spawn(async move {
                let mut sessions = 0_u32;
                while !stop.load(Ordering::Relaxed) {
                    let mut client = begin(address, ECHO).await?;
                    client.write_u8(b'!').await?;
                    client.read_u8().await?;
                    client.shutdown().await?;
                    client.read_to_end(&mut Vec::new()).await?;
                    sessions += 1;
                }
                io::Result::Ok(sessions)
            });
        }
        tokio::time::sleep(WINDOW).await;
        stop.store(true, Ordering::Relaxed);
        let mut sessions = 0.0;
        while let Some(client) = clients.join_next().await {
            sessions += f64::from(client?.context("a session was broken off")?);
        }
        let (took, cpu) = (began.elapsed(), running.process.cpu_time()? - cpu);
        let mut add = |what, better, value| series.add(what, better, contender, value);
        add(
            "CPU, µs per session",
            Better::Lower,
            cpu.as_secs_f64() * 1e6 / sessions,
        );
        add("sessions/s", Better::Higher, sessions / took.as_secs_f64());
    }
    Ok(())
}
