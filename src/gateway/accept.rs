//! Takes connections in and gives each a session of its own.

use std::{
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures::FutureExt;
use tokio::{
    net::{TcpListener, TcpStream},
    task::coop::unconstrained,
    time::Instant,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{debug, warn};

use super::{
    certificate::Certificate,
    gate::{Gate, Port},
    handshake::shake_hands,
    hold::wait_for_bounds,
    peer::Wire,
    proxied::{self, Unknown},
    rate::RateLimiter,
    routes::Limits,
    session::{self, Place, Session},
    socket,
    statistics::{Refusal, Statistics},
};

/// For how long nothing is accepted after a failure that is not the connection's own, such as EMFILE. Waiting
/// clients stay in the backlog meanwhile.
const BACKOFF: Duration = Duration::from_millis(50);

/// What the sessions of one port have in common.
#[derive(Debug)]
pub struct Door {
    port: Port,
    gate: Arc<Gate>,
    statistics: Arc<Statistics>,
    sessions: TaskTracker,
    /// How fast each address has connected of late.
    limiter: Mutex<RateLimiter>,
    /// By which clients know the gateway; none: TLS does not end here.
    certificate: Option<Arc<Certificate>>,
}

impl Door {
    /// That of this port, whose clients go where the gate says. Every session is counted by `sessions` until it has ended. With a certificate TLS
    /// ends here.
    #[must_use]
    pub fn new(
        port: Port,
        gate: Arc<Gate>,
        statistics: Arc<Statistics>,
        sessions: TaskTracker,
        certificate: Option<Arc<Certificate>>,
    ) -> Arc<Self> {
        Arc::new(Self {
            port,
            gate,
            statistics,
            sessions,
            limiter: Mutex::new(RateLimiter::new(Instant::now())),
            certificate,
        })
    }

    /// Accepts connections until `stop`, then closes the listener.
    pub async fn accept(self: Arc<Self>, listener: TcpListener, stop: CancellationToken) {
        let mut failing = false;
        loop {
            let accepted = tokio::select! {
                biased;
                () = stop.cancelled() => break,
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((client, peer)) => {
                    failing = false;
                    self.admit(client, peer);
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
        // Closing the listener resets those that wait in its backlog. They came before the end was known. Each is taken in without a
        // pause, so the runtime's budget for one turn is no reason to leave any of them.
        for _ in 0..socket::BACKLOG {
            match unconstrained(listener.accept()).now_or_never() {
                Some(Ok((client, peer))) => self.admit(client, peer),
                Some(Err(error)) if is_the_connections_own(&error) => {}
                _ => break,
            }
        }
    }

    fn admit(self: &Arc<Self>, client: TcpStream, peer: SocketAddr) {
        self.statistics.accept();
        if let Err(refusal) = self.receive(client, peer) {
            self.statistics.refuse(refusal, Some(peer));
        }
    }

    /// Begins the session of a connection.
    ///
    /// # Errors
    ///
    /// Fails when it is refused, as far as that is known without a byte of it.
    fn receive(self: &Arc<Self>, client: TcpStream, peer: SocketAddr) -> Result<(), Refusal> {
        // To drop the client is to reset it: its listener has seen to that (see `socket`).
        let proxied = match self.gate.knows_its_bounds() {
            true => Some(self.look_at(peer)?),
            false => None,
        };
        let permit = self.gate.admit(self.port).ok_or(Refusal::TooMany)?;
        let place = Place::new(permit, self.sessions.token());
        let door = Arc::clone(self);
        // In memory of its own, of which a session that has begun is rid.
        let leading = Box::pin(async move { door.lead(client, peer, proxied, place).await });
        tokio::spawn(async move {
            if let Some(session) = leading.await {
                session.run().await;
            }
        });
        Ok(())
    }

    /// Whether it is a load balancer that has connected.
    ///
    /// # Errors
    ///
    /// Fails when it is a client that may not come now.
    fn look_at(&self, peer: SocketAddr) -> Result<bool, Refusal> {
        let limits = self.gate.limits();
        let proxied = limits.access(self.port).is_balancer(peer.ip());
        if !proxied {
            self.check(&limits, peer)?;
        }
        Ok(proxied)
    }

    /// Whether a client of this address may come now.
    fn check(&self, limits: &Limits, client: SocketAddr) -> Result<(), Refusal> {
        // First, so that who is never let in takes no place among those that are remembered.
        if !limits.access(self.port).admits(client.ip()) {
            return Err(Refusal::Source);
        }
        let Some(rate) = limits.rate else {
            return Ok(());
        };
        // No step under the lock leaves a count half made.
        let mut limiter = self.limiter.lock().unwrap_or_else(PoisonError::into_inner);
        if limiter.admit(client.ip(), rate, Instant::now()) {
            Ok(())
        } else {
            Err(Refusal::TooFast)
        }
    }

    /// Leads a client to an instance, after a load balancer has named it, and TLS was agreed on, where that is to be. It has its
    /// place among `maxConnections` from before that, so that no more are waited for than there is room for.
    async fn lead(
        &self,
        mut client: TcpStream,
        peer: SocketAddr,
        proxied: Option<bool>,
        place: Place,
    ) -> Option<Session> {
        let mut address = peer;
        let proxied = match proxied {
            Some(proxied) => proxied,
            None => match Box::pin(self.looked_at_later(client, peer)).await {
                Ok((held, proxied)) => {
                    client = held;
                    proxied
                }
                Err(refusal) => {
                    self.statistics.refuse(refusal, Some(peer));
                    return None;
                }
            },
        };
        if proxied {
            match Box::pin(self.introduced(&mut client, peer)).await {
                Ok(named) => address = named,
                Err((refusal, address)) => {
                    self.statistics.refuse(refusal, Some(address));
                    return None;
                }
            }
        }
        let agreed = match &self.certificate {
            Some(certificate) => Box::pin(shake_hands(&self.gate, certificate.config(), client)).await,
            None => Ok(Wire::from(client)),
        };
        match agreed {
            Ok(client) => session::lead(Arc::clone(&self.gate), self.origin(address), client, place).await,
            Err(refusal) => {
                self.statistics.refuse(refusal, Some(address));
                None
            }
        }
    }

    /// The same connection, and whether it is a load balancer's, once it is known who may come.
    async fn looked_at_later(
        &self,
        client: TcpStream,
        peer: SocketAddr,
    ) -> Result<(TcpStream, bool), Refusal> {
        let client = wait_for_bounds(&self.gate, self.port, client).await?;
        Ok((client, self.look_at(peer)?))
    }

    /// The client's address, if it may come; else why not, and of which address that is said.
    async fn introduced(
        &self,
        client: &mut TcpStream,
        peer: SocketAddr,
    ) -> Result<SocketAddr, (Refusal, SocketAddr)> {
        let named = tokio::select! {
            named = proxied::client(client, peer) => named,
            () = self.gate.ended() => return Err((Refusal::Ending, peer)),
        };
        let address = named.map_err(|unknown| match unknown {
            Unknown::NoHeader => (Refusal::NoHeader, peer),
            Unknown::Gone => (Refusal::Gone, peer),
        })?;
        match self.check(&self.gate.limits(), address) {
            Ok(()) => Ok(address),
            Err(refusal) => Err((refusal, address)),
        }
    }

    fn origin(&self, address: SocketAddr) -> session::Origin {
        session::Origin {
            port: self.port,
            address,
            statistics: Arc::clone(&self.statistics),
        }
    }
}

/// Errors that Linux hands to accept(2) although they belong to the new connection alone.
fn is_the_connections_own(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::Interrupted
    )
}
