//! Takes connections in and gives each a session of its own.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use futures::FutureExt;
use tokio::{
    net::{TcpListener, TcpStream},
    time::Instant,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{debug, warn};

use super::{
    gate::{Gate, Port},
    rate::RateLimiter,
    session, socket,
    statistics::{Refusal, Statistics},
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
    /// Its counters.
    pub statistics: Arc<Statistics>,
    /// Every session is one of its tasks.
    pub sessions: TaskTracker,
}

impl Door {
    /// Accepts connections until `stop`, then closes the listener.
    pub async fn accept(self, listener: TcpListener, stop: CancellationToken) {
        let mut limiter = RateLimiter::new(Instant::now());
        let mut failing = false;
        loop {
            let accepted = tokio::select! {
                biased;
                () = stop.cancelled() => break,
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((client, address)) => {
                    failing = false;
                    self.admit(client, address, &mut limiter);
                }
                Err(error) if is_the_connections_own(&error) => {
                    debug!(%error, "a connection ended before its session")
                }
                Err(error) => {
                    self.statistics.fail_accept();
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
                Some(Ok((client, address))) => self.admit(client, address, &mut limiter),
                _ => break,
            }
        }
    }

    fn admit(&self, client: TcpStream, address: SocketAddr, limiter: &mut RateLimiter) {
        let refuse = |refusal| self.statistics.refuse(refusal, Some(address));
        self.statistics.accept();
        if socket::prepare_client(&client).is_err() {
            return refuse(Refusal::Gone);
        }
        // From here on, to drop the client is to reset it.
        if let Some(rate) = self.gate.limits().rate
            && !limiter.admit(address.ip(), rate, Instant::now())
        {
            return refuse(Refusal::TooFast);
        }
        let Some(permit) = self.gate.admit(self.port) else {
            return refuse(Refusal::TooMany);
        };
        let origin = session::Origin {
            port: self.port,
            address,
            statistics: Arc::clone(&self.statistics),
        };
        let session = session::serve(Arc::clone(&self.gate), origin, client);
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
