//! Holds clients that come while there is no MAIN, until there is one, and those that come before it is known who may.

use std::{future::pending, io};

use tokio::{
    io::Interest,
    net::TcpStream,
    time::{Instant, sleep_until},
};

use super::{
    gate::{Gate, Port},
    line::Ticket,
    peer::{Peer, Wire},
    routes::Target,
    statistics::Refusal,
};

/// Waits until there is a MAIN other than those that were `tried`, and gives its ticket and the client back.
///
/// # Errors
///
/// Fails when there is none in time, as many clients wait already as the spec allows, or the client has gone.
///
/// Only clients of the read-write port are held. While one is held nothing is read from it, and it belongs to no route: a
/// fence does not wait for it.
pub async fn wait_for_route(
    gate: &Gate,
    port: Port,
    client: Wire,
    tried: &[Target],
    since: Instant,
) -> Result<(Wire, Ticket), Refusal> {
    let entered = || gate.enter(port, tried);
    let ticket = held(gate, port, client.socket(), since, entered).await?;
    // What was waiting to be read has been overlooked on purpose: only a new registration reports it again.
    let client = client.anew().map_err(|_| Refusal::OutOfResources)?;
    Ok((client, ticket))
}

/// Waits until it is known who may come, and gives the client back.
///
/// # Errors
///
/// As [`wait_for_route`].
pub async fn wait_for_bounds(gate: &Gate, port: Port, client: TcpStream) -> Result<TcpStream, Refusal> {
    let known = || gate.knows_its_bounds().then_some(());
    held(gate, port, &client, Instant::now(), known).await?;
    // As above.
    let anew = client.into_std().and_then(TcpStream::from_std);
    anew.map_err(|_| Refusal::OutOfResources)
}

/// Holds a client until there is what it waits for.
async fn held<T>(
    gate: &Gate,
    port: Port,
    client: &TcpStream,
    since: Instant,
    found: impl Fn() -> Option<T>,
) -> Result<T, Refusal> {
    let timeout = gate.limits().hold_timeout;
    if port != Port::ReadWrite || timeout.is_zero() {
        return Err(Refusal::NoInstance);
    }
    let _held = gate.hold().ok_or(Refusal::TooManyHeld)?;
    let mut opened = gate.opened();
    let found = async {
        loop {
            if let Some(found) = found() {
                return found;
            }
            if opened.changed().await.is_err() {
                pending::<()>().await;
            }
        }
    };
    tokio::select! {
        biased;
        found = found => Ok(found),
        () = is_gone(client) => Err(Refusal::Gone),
        () = gate.ended() => Err(Refusal::Ending),
        () = sleep_until(since + timeout) => Err(Refusal::NoInstance),
    }
}

/// Ends when the client has closed or reset its connection. A client that waits for an answer does neither.
async fn is_gone(client: &TcpStream) {
    loop {
        match client.ready(Interest::READABLE | Interest::ERROR).await {
            Ok(ready) if ready.is_read_closed() || ready.is_error() => return,
            Err(_) => return,
            Ok(_) => {
                // Readiness for what has been sent is cleared, so that the next event is waited for.
                let overlook = || Err::<(), _>(io::Error::from(io::ErrorKind::WouldBlock));
                let _ = client.try_io(Interest::READABLE, overlook);
            }
        }
    }
}
