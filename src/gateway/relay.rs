//! Passes bytes between two connections, both ways, until both have ended.

use std::{cell::RefCell, io, net::Shutdown, time::Duration};

use socket2::SockRef;
use tokio::{net::TcpStream, time::Instant};

use super::socket;

/// The most that is taken from one side before the other side has it.
const CHUNK: usize = 16 * 1024;

/// How long an ended session may take to have its last bytes acknowledged.
const FINISH_DEADLINE: Duration = Duration::from_secs(20);
const FINISH_FIRST_LOOK: Duration = Duration::from_millis(1);
const FINISH_LOOK_AT_MOST: Duration = Duration::from_millis(250);

thread_local! {
    /// One buffer serves all sessions of a thread, because bytes are read and written without a pause between.
    /// A session has memory of its own only for what its peer does not take at once.
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; CHUNK].into_boxed_slice());
}

/// What one attempt to pass bytes came to.
enum Passed {
    /// Nothing was there to read.
    Nothing,
    /// All that was read was written.
    All,
    /// This rest was read, but the other side did not take it.
    Except(Vec<u8>),
    /// The sender has ended its half.
    End,
}

/// Passes bytes both ways. When one side ends its half, so does the other towards its peer, and the opposite
/// direction goes on. Returns when both directions have ended and both peers have everything.
///
/// # Errors
///
/// Fails when either connection breaks, or when a peer does not take the last bytes in time.
pub async fn relay(client: &TcpStream, upstream: &TcpStream) -> io::Result<()> {
    futures::future::try_join(pass(client, upstream), pass(upstream, client)).await?;
    let deadline = Instant::now() + FINISH_DEADLINE;
    finish(client, deadline).await?;
    finish(upstream, deadline).await
}

/// Passes bytes one way until the sender has ended its half.
async fn pass(from: &TcpStream, to: &TcpStream) -> io::Result<()> {
    loop {
        from.readable().await?;
        match pass_once(from, to)? {
            Passed::Nothing | Passed::All => {}
            Passed::Except(rest) => write_all(to, &rest).await?,
            Passed::End => break,
        }
        // A sender that is never out of data must not keep its thread from other sessions, nor from a cut.
        tokio::task::consume_budget().await;
    }
    SockRef::from(to).shutdown(Shutdown::Write)
}

fn pass_once(from: &TcpStream, to: &TcpStream) -> io::Result<Passed> {
    SCRATCH.with_borrow_mut(|buffer| {
        let read = match from.try_read(buffer) {
            Ok(0) => return Ok(Passed::End),
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Passed::Nothing),
            Err(error) => return Err(error),
        };
        let written = match to.try_write(&buffer[..read]) {
            Ok(written) => written,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
            Err(error) => return Err(error),
        };
        Ok(if written == read {
            Passed::All
        } else {
            Passed::Except(buffer[written..read].to_vec())
        })
    })
}

/// Nothing more is read while this waits, so a peer that does not read holds up its sender, and no memory grows.
async fn write_all(to: &TcpStream, mut rest: &[u8]) -> io::Result<()> {
    while !rest.is_empty() {
        to.writable().await?;
        match to.try_write(rest) {
            Ok(written) => rest = &rest[written..],
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Waits until the peer has acknowledged everything. Until then the session must stay: its socket still holds
/// bytes, and would send them even after a fence if it were simply let go.
///
/// Linux has no event for this (see [`socket::is_finished`]), hence the looks at growing intervals. The first
/// usually succeeds.
async fn finish(stream: &TcpStream, deadline: Instant) -> io::Result<()> {
    let mut pause = FINISH_FIRST_LOOK;
    while !socket::is_finished(stream) {
        if Instant::now() >= deadline {
            return Err(io::Error::new(
                io::ErrorKind::TimedOut,
                "the last bytes of the session were not acknowledged",
            ));
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(FINISH_LOOK_AT_MOST);
    }
    Ok(())
}
