//! Holds clients that come while there is no MAIN, until there is one.

use std::{future::pending, io};

use tokio::{
    io::Interest,
    net::TcpStream,
    time::{Instant, sleep_until},
};
use tracing::debug;

use super::{
    gate::{Gate, Port, Ticket},
    routes::Target,
};

/// Waits until there is a MAIN other than those that were `tried`, and gives its ticket and the client back. None: there
/// is none in time, as many clients wait already as the spec allows, or the client has gone.
///
/// Only clients of the read-write port are held. While one is held nothing is read from it, and it belongs to no route: a
/// fence does not wait for it.
pub async fn wait_for_route(
    gate: &Gate,
    port: Port,
    client: TcpStream,
    tried: &[Target],
    since: Instant,
) -> Option<(TcpStream, Ticket)> {
    let timeout = gate.limits().hold_timeout;
    if port != Port::ReadWrite || timeout.is_zero() {
        return None;
    }
    let Some(_held) = gate.hold() else {
        debug!("refused: as many clients are held as maxHeldConnections allows");
        return None;
    };
    let mut opened = gate.opened();
    let entered = async {
        loop {
            if let Some(ticket) = gate.enter(port, tried) {
                return ticket;
            }
            if opened.changed().await.is_err() {
                pending::<()>().await;
            }
        }
    };
    let ticket = tokio::select! {
        biased;
        ticket = entered => ticket,
        () = is_gone(&client) => {
            debug!("a client has gone while it was held");
            return None;
        }
        () = gate.ended() => {
            debug!("a held client is refused: the gateway ends");
            return None;
        }
        () = sleep_until(since + timeout) => {
            debug!("refused: no MAIN in holdTimeout");
            return None;
        }
    };
    // What was waiting to be read has been overlooked on purpose: only a new registration reports it again.
    let client = client.into_std().and_then(TcpStream::from_std).ok()?;
    Some((client, ticket))
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
