//! Very many sessions that end in every way that a client can choose: nothing of them may be left in the gateway.

use std::{
    io,
    net::Shutdown,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use socket2::SockRef;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    task::JoinSet,
    time::Instant,
};

use crate::{
    contender::{Contender, Running, Stand},
    instance::{BULK, ECHO, begin},
};

const CLIENTS: usize = 32;
/// The gateway's own connections, to the API server and from the operator, come and go. Besides, it begins a handshake with MAIN
/// twice a second and waits 3 s for each, and the instance here answers none.
const OTHER_DESCRIPTORS: usize = 12;
/// After a tenth of the sessions everything has been needed once. What the allocator adds by chance is less than this.
const GROWTH: u64 = 4 << 20;
const END_DEADLINE: Duration = Duration::from_secs(30);

/// Begins and ends so many sessions.
///
/// # Errors
///
/// Fails when memory or descriptors of the gateway have grown by it.
pub async fn run(stand: &Stand, sessions: usize) -> Result<()> {
    let running = stand.start(Contender::Gateway, 10 * CLIENTS).await?;
    let descriptors = running.process.descriptors()?;
    let begun = Instant::now();
    end_sessions(&running, sessions.div_ceil(10)).await?;
    let early = settled(&running, descriptors).await?;
    end_sessions(&running, sessions - sessions.div_ceil(10)).await?;
    let late = settled(&running, descriptors).await?;
    let kibibytes = |bytes| bytes / 1024;
    println!(
        "{sessions} sessions in {:.1} s; resident memory {} KiB after a tenth of them, {} KiB after all; \
         {descriptors} descriptors before, {} after",
        begun.elapsed().as_secs_f64(),
        kibibytes(early),
        kibibytes(late),
        running.process.descriptors()?,
    );
    ensure!(
        late <= early + GROWTH,
        "the gateway's memory has grown by {} KiB",
        kibibytes(late - early)
    );
    Ok(())
}

/// Waits until the gateway has let go of all sessions. Returns its memory.
async fn settled(running: &Running, descriptors: usize) -> Result<u64> {
    let deadline = Instant::now() + END_DEADLINE;
    loop {
        let now = running.process.descriptors()?;
        if now <= descriptors + OTHER_DESCRIPTORS {
            return running.process.resident();
        }
        ensure!(
            Instant::now() < deadline,
            "the gateway has {now} descriptors, {descriptors} before, although no session is left"
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn end_sessions(running: &Running, sessions: usize) -> Result<()> {
    let next = Arc::new(AtomicUsize::new(0));
    let mut clients = JoinSet::new();
    for _ in 0..CLIENTS {
        let (address, next) = (running.address, Arc::clone(&next));
        clients.spawn(async move {
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= sessions {
                    return io::Result::Ok(());
                }
                one(address, number).await?;
            }
        });
    }
    while let Some(client) = clients.join_next().await {
        client?.context("a session was broken off")?;
    }
    Ok(())
}

async fn one(address: std::net::SocketAddr, number: usize) -> io::Result<()> {
    match number % 5 {
        // In order.
        0 => {
            let mut client = begin(address, ECHO).await?;
            client.write_u8(b'!').await?;
            client.read_u8().await?;
            client.shutdown().await?;
            client.read_to_end(&mut Vec::new()).await?;
        }
        // Broken off before anything is said: to drop a client is to reset its connection.
        1 => drop(begin(address, ECHO).await?),
        // Broken off with an answer under way, of which hardly anything was read.
        2 => {
            let mut client = begin(address, BULK).await?;
            client.read_exact(&mut [0; 1000]).await?;
        }
        // Broken off with a question under way.
        3 => {
            let mut client = begin(address, ECHO).await?;
            client.write_all(&[7; 10_000]).await?;
        }
        // The client has ended its half when the answer comes.
        _ => {
            let mut client = begin(address, ECHO).await?;
            client.write_all(&[7; 5000]).await?;
            SockRef::from(&client).shutdown(Shutdown::Write)?;
            let mut answer = Vec::new();
            client.read_to_end(&mut answer).await?;
            if answer.len() != 5000 {
                return Err(io::Error::other(format!(
                    "{} bytes of 5000 came back",
                    answer.len()
                )));
            }
        }
    }
    Ok(())
}
