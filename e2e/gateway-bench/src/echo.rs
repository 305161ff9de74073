//! Questions and answers of 100 bytes: how long they take, and what they cost.

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
    net::TcpStream,
    task::JoinSet,
    time::Instant,
};

use crate::{
    contender::{Contender, Running, Stand},
    figures::{Better, Series, quantile},
    instance::{ECHO, begin},
};

const SESSIONS: [usize; 3] = [1, 64, 1000];
const WINDOW: Duration = Duration::from_secs(1);
const MESSAGE: [u8; 100] = [7; 100];

/// Measures all contenders once.
pub async fn measure(stand: &Stand, repetition: usize, series: &mut Series) -> Result<()> {
    for contender in Contender::in_turn(repetition) {
        for sessions in SESSIONS {
            let running = stand.start(contender, 2 * sessions + 10).await?;
            let talk = Talk::begin(&running, sessions).await?;
            let figures = talk.listen(&running, WINDOW).await?;
            let name = |what| format!("{sessions} sessions: {what}");
            let mut add = |what, better, value| series.add(name(what), better, contender, value);
            add("CPU, µs per request", Better::Lower, figures.cpu_micros);
            add("requests/s", Better::Higher, figures.rate);
            add("p50, µs", Better::Lower, figures.p50);
            add("p99, µs", Better::Lower, figures.p99);
        }
    }
    Ok(())
}

/// Sessions that ask and are answered without a pause.
pub struct Talk {
    clients: JoinSet<io::Result<Vec<f64>>>,
    stop: Arc<AtomicBool>,
}

/// What came of it.
pub struct Figures {
    /// The proxy's CPU time for each request, in microseconds.
    pub cpu_micros: f64,
    /// Requests per second.
    pub rate: f64,
    /// Time of the median answer, in microseconds.
    pub p50: f64,
    /// The same for the slowest of a hundred.
    pub p99: f64,
}

impl Talk {
    /// Begins so many sessions.
    pub async fn begin(running: &Running, sessions: usize) -> Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let mut streams = Vec::new();
        for _ in 0..sessions {
            let mut client = begin(running.address, ECHO).await?;
            // So that all are through before the first one is measured.
            ask(&mut client).await?;
            streams.push(client);
        }
        let mut clients = JoinSet::new();
        for mut client in streams {
            let stop = Arc::clone(&stop);
            clients.spawn(async move {
                let mut micros = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    let asked = Instant::now();
                    ask(&mut client).await?;
                    micros.push(asked.elapsed().as_secs_f64() * 1e6);
                }
                Ok(micros)
            });
        }
        Ok(Self { clients, stop })
    }

    /// Lets them talk for so long, then ends them.
    pub async fn listen(mut self, running: &Running, time: Duration) -> Result<Figures> {
        let (begin, cpu) = (Instant::now(), running.process.cpu_time()?);
        tokio::time::sleep(time).await;
        self.stop.store(true, Ordering::Relaxed);
        let mut micros = Vec::new();
        while let Some(client) = self.clients.join_next().await {
            micros.extend(client?.context("a session has ended in the middle")?);
        }
        let (took, cpu) = (begin.elapsed(), running.process.cpu_time()? - cpu);
        let requests = micros.len() as f64;
        let none = "nobody was answered";
        Ok(Figures {
            cpu_micros: cpu.as_secs_f64() * 1e6 / requests,
            rate: requests / took.as_secs_f64(),
            p50: quantile(&mut micros, 0.5).context(none)?,
            p99: quantile(&mut micros, 0.99).context(none)?,
        })
    }
}

/// Asks once, and waits for the answer.
pub async fn ask(client: &mut TcpStream) -> io::Result<()> {
    client.write_all(&MESSAGE).await?;
    client.read_exact(&mut [0; MESSAGE.len()]).await?;
    Ok(())
}
