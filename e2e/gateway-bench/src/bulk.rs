//! Big results: how many bytes pass, and what they cost.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::{Result, ensure};
use tokio::{
    io::AsyncReadExt,
    task::{JoinSet, yield_now},
    time::Instant,
};

use crate::{
    contender::{Contender, Stand},
    figures::{Better, Series},
    instance::{BULK, begin},
};

const SESSIONS: [usize; 3] = [1, 16, 256];
const WARM_UP: Duration = Duration::from_millis(200);
const WINDOW: Duration = Duration::from_secs(1);

/// Measures all contenders once.
pub async fn measure(stand: &Stand, repetition: usize, series: &mut Series) -> Result<()> {
    for contender in Contender::in_turn(repetition) {
        for sessions in SESSIONS {
            let running = stand.start(contender, 2 * sessions + 10).await?;
            let read = Arc::new(AtomicU64::new(0));
            let mut clients = JoinSet::new();
            for _ in 0..sessions {
                let mut client = begin(running.address, BULK).await?;
                let read = Arc::clone(&read);
                clients.spawn(async move {
                    let mut buffer = vec![0; 64 * 1024];
                    loop {
                        match client.read(&mut buffer).await? {
                            0 => return io::Result::Ok(()),
                            n => read.fetch_add(n as u64, Ordering::Relaxed),
                        };
                        // Whoever can always go on must let others have their turn.
                        yield_now().await;
                    }
                });
            }
            tokio::time::sleep(WARM_UP).await;
            let (bytes, cpu, begin) = (
                read.load(Ordering::Relaxed),
                running.process.cpu_time()?,
                Instant::now(),
            );
            tokio::time::sleep(WINDOW).await;
            let (bytes, cpu, took) = (
                read.load(Ordering::Relaxed) - bytes,
                running.process.cpu_time()? - cpu,
                begin.elapsed(),
            );
            ensure!(
                clients.try_join_next().is_none(),
                "a session has ended in the middle"
            );
            let gigabytes = bytes as f64 / 1e9;
            let name = |what| format!("{sessions} sessions: {what}");
            let mut add = |what, better, value| series.add(name(what), better, contender, value);
            add("CPU, s/GB", Better::Lower, cpu.as_secs_f64() / gigabytes);
            add("GB/s", Better::Higher, gigabytes / took.as_secs_f64());
        }
    }
    Ok(())
}
