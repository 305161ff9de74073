//! One session: from an accepted connection to its end.

use std::{io, sync::Arc};

use tokio::net::TcpStream;
use tracing::debug;

use super::{
    gate::{Gate, Port, Ticket},
    relay::relay,
    routes::Target,
    socket,
};

/// A client on its way to an instance.
///
/// Fields are dropped in the order in which they are declared, in whichever way the session ends. The ticket
/// comes last: giving it back says that the sockets are closed.
#[derive(Debug)]
struct Session {
    upstream: Option<TcpStream>,
    client: TcpStream,
    ticket: Ticket,
}

/// Why a session is over.
enum End {
    /// Both sides have closed.
    Finished,
    /// The route that it belonged to is no more.
    Cut,
    /// A connection broke.
    Broken(io::Error),
    /// No instance could be reached; this was the last one tried.
    Unreachable(Target, io::Error),
}

/// Leads a client to an instance, and resets it when there is none.
pub async fn serve(gate: Arc<Gate>, port: Port, client: TcpStream) {
    let Some(ticket) = gate.enter(port, &[]) else {
        debug!(?port, "refused: no route");
        return;
    };
    let mut session = Session {
        upstream: None,
        client,
        ticket,
    };
    match session.run(&gate, port).await {
        End::Finished => debug!(?port, target = ?session.ticket.target(), "session ended"),
        End::Cut => debug!(?port, target = ?session.ticket.target(), "session cut"),
        End::Broken(error) => debug!(?port, target = ?session.ticket.target(), %error, "session broke"),
        End::Unreachable(target, error) => debug!(?port, ?target, %error, "refused: cannot connect"),
    }
}

impl Session {
    async fn run(&mut self, gate: &Gate, port: Port) -> End {
        let mut tried = Vec::new();
        loop {
            let connect = socket::connect(self.ticket.target().address, gate.limits().connect_timeout);
            let connected = tokio::select! {
                biased;
                () = self.ticket.cut() => return End::Cut,
                connected = connect => connected,
            };
            match connected {
                Ok(upstream) => {
                    let upstream = self.upstream.insert(upstream);
                    // The cut is looked at first in each turn, so also before the first: a route that changed
                    // while the connect was under way gets no byte.
                    return tokio::select! {
                        biased;
                        () = self.ticket.cut() => End::Cut,
                        ended = relay(&self.client, upstream) => {
                            ended.map_or_else(End::Broken, |()| End::Finished)
                        }
                    };
                }
                Err(error) => {
                    let target = self.ticket.target().clone();
                    tried.push(target.clone());
                    match gate.enter(port, &tried) {
                        Some(ticket) => self.ticket = ticket,
                        None => return End::Unreachable(target, error),
                    }
                }
            }
        }
    }
}
