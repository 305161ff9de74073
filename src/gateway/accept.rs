//! Takes connections in and gives each a session of its own.

use std::{io, sync::Arc, time::Duration};

use futures::FutureExt;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{debug, warn};

use super::{
    gate::{Gate, Port},
    session, socket,
};

/// For how long nothing is accepted after a failure that is not the connection's own, such as EMFILE. Waiting
/// clients stay in the backlog meanwhile.
const BACKOFF: Duration = Duration::from_millis(50);

/// What the sessions of one port have in common.
#[derive(Clone, Debug)]
pub struct Door {
    /// Which port it is.
    pub port: Port,
    /// Where its clients may go.
    pub gate: Arc<Gate>,
    /// Every session is one of its tasks.
    pub sessions: TaskTracker,
}

impl Door {
    /// Accepts connections until `stop`, then closes the listener.
    pub async fn accept(self, listener: TcpListener, stop: CancellationToken) {
        let mut failing = false;
        loop {
            let accepted = tokio::select! {
                biased;
                () = stop.cancelled() => break,
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((client, _)) => {
                    failing = false;
                    self.admit(client);
                }
                Err(error) if is_the_connections_own(&error) => {
                    debug!(%error, "a connection ended before its session")
                }
                Err(error) => {
                    if !failing {
                        warn!(port = ?self.port, %error, "cannot accept connections; trying again");
                        failing = true;
                    }
                    tokio::select! {
                        () = stop.cancelled() => break,
                        () = tokio::time::sleep(BACKOFF) => {}
                    }
                }
            }
        }
        // Closing the listener resets those that wait in its backlog. They came before the end was known.
        for _ in 0..socket::BACKLOG {
            match listener.accept().now_or_never() {
                Some(Ok((client, _))) => self.admit(client),
                _ => break,
            }
        }
    }

    fn admit(&self, client: TcpStream) {
        if let Err(error) = socket::prepare_client(&client) {
            debug!(port = ?self.port, %error, "a connection ended before its session");
            return;
        }
        // From here on, to drop the client is to reset it.
        let Some(permit) = self.gate.admit(self.port) else {
            debug!(port = ?self.port, "refused: as many sessions as maxConnections allows");
            return;
        };
        let session = session::serve(Arc::clone(&self.gate), self.port, client);
        self.sessions.spawn(async move {
            session.await;
            drop(permit);
        });
    }
}

/// Errors that Linux hands to accept(2) although they belong to the new connection alone.
fn is_the_connections_own(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::Interrupted
    )
}
