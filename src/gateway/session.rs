//! One session: from an accepted connection to its end.

use std::{io, sync::Arc};

use tokio::{net::TcpStream, time::Instant};
use tracing::debug;

use super::{
    gate::{Gate, Port, Ticket},
    hold::wait_for_route,
    reach::Incident,
    relay::{Ended, Relay},
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
    Broken(&'static str, Option<io::Error>),
}

/// Leads a client to an instance. Holds it while there is none, and resets it when none comes.
pub async fn serve(gate: Arc<Gate>, port: Port, client: TcpStream) {
    let since = Instant::now();
    let mut client = client;
    let mut tried = Vec::new();
    loop {
        let (waiting, ticket) = match gate.enter(port, &tried) {
            Some(ticket) => (client, ticket),
            None => match wait_for_route(&gate, port, client, &tried, since).await {
                Some(found) => found,
                None => {
                    debug!(?port, ?tried, "refused: no route");
                    return;
                }
            },
        };
        let mut session = Session {
            upstream: None,
            client: waiting,
            ticket,
        };
        let target = session.ticket.target().clone();
        match session.connect(&gate).await {
            Some(Ok(())) => {
                match session.run(&gate).await {
                    End::Finished => debug!(?port, ?target, "session ended"),
                    End::Cut => debug!(?port, ?target, "session cut"),
                    End::Broken(by, error) => debug!(?port, ?target, by, ?error, "session broke"),
                }
                return;
            }
            Some(Err(error)) => debug!(?port, ?target, %error, "cannot connect"),
            // The client was told nothing yet, so that another MAIN is as good for it.
            None => debug!(?port, ?target, "the route has ended before the session began"),
        }
        tried.push(target);
        // The ticket goes back while the client waits.
        let Session { client: unserved, .. } = session;
        client = unserved;
    }
}

impl Session {
    /// Connects to the instance. None: the route has ended meanwhile.
    async fn connect(&mut self, gate: &Gate) -> Option<io::Result<()>> {
        let target = self.ticket.target();
        let connect = socket::connect(target.address, gate.limits().connect_timeout);
        let connected = tokio::select! {
            biased;
            () = self.ticket.cut() => return None,
            connected = connect => connected,
        };
        gate.note(
            target,
            match &connected {
                Ok(_) => Incident::Connected,
                Err(error) if is_refusal(error) => Incident::Refused,
                Err(_) => Incident::Silent,
            },
        );
        Some(connected.map(|upstream| self.upstream = Some(upstream)))
    }

    async fn run(&mut self, gate: &Gate) -> End {
        let Some(upstream) = &self.upstream else {
            return End::Cut;
        };
        let relay = Relay::new(&self.client, upstream, self.ticket.clearance());
        // The cut is looked at first in each turn, so also before the first: a route that changed while the connect was
        // under way gets no byte.
        let ended = tokio::select! {
            biased;
            () = self.ticket.cut() => {
                relay.drain();
                return End::Cut;
            }
            ended = relay.run() => ended,
        };
        match ended {
            Ended::Finished => End::Finished,
            Ended::Expired => End::Cut,
            Ended::ByClient(error) => End::Broken("client", Some(error)),
            Ended::ByInstance(error) => {
                gate.note(self.ticket.target(), Incident::Refused);
                End::Broken("instance", error)
            }
        }
    }
}

/// Whether somebody has answered that nobody listens there.
fn is_refusal(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionReset
    )
}
