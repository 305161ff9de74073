//! Leads the driver through TLS.
//!
//! neo4rs verifies the name that it connects to, and connects to the name that it verifies: it cannot be told to connect to a
//! pod's address and to expect a Service's name there (`ConnectionInfo::tls_connector` in its `connection.rs`). So it connects
//! to a port of this host's loopback, and what it says there goes on to the server in TLS. Whoever else on this host connects
//! there gets a connection on which nobody has signed in, as at the server itself.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use rustls::pki_types::ServerName;
use socket2::SockRef;
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    task::JoinSet,
};
use tokio_util::task::AbortOnDropHandle;

use super::tls::Trust;

/// A port through which one server is reached. It is closed, with all connections through it, when it is dropped.
pub(super) struct Tunnel {
    entrance: SocketAddr,
    failure: Arc<Mutex<Option<io::Error>>>,
    _open: AbortOnDropHandle<()>,
}

impl Tunnel {
    /// Opens a port that leads to the server at `at`, which must show that it is `name`.
    pub(super) async fn open(at: SocketAddr, name: ServerName<'static>, trust: Trust) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let entrance = listener.local_addr()?;
        let failure = Arc::default();
        let exit = Exit {
            at,
            name,
            trust,
            failure: Arc::clone(&failure),
        };
        Ok(Self {
            entrance,
            failure,
            _open: AbortOnDropHandle::new(tokio::spawn(lead(listener, exit))),
        })
    }

    /// Where it begins.
    pub(super) fn entrance(&self) -> SocketAddr {
        self.entrance
    }

    /// Why the server was not reached, if that is so. It is told once.
    pub(super) fn failure(&self) -> Option<io::Error> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// The end at which the server is.
#[derive(Clone)]
struct Exit {
    at: SocketAddr,
    name: ServerName<'static>,
    trust: Trust,
    failure: Arc<Mutex<Option<io::Error>>>,
}

impl Exit {
    async fn serve(self, mut local: TcpStream) {
        if let Err(error) = self.pass(&mut local).await {
            // As the server's own reset would look.
            let _best_effort = SockRef::from(&local).set_linger(Some(Duration::ZERO));
            *self.failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
        }
    }

    async fn pass(&self, local: &mut TcpStream) -> io::Result<()> {
        local.set_nodelay(true)?;
        let stream = TcpStream::connect(self.at).await?;
        stream.set_nodelay(true)?;
        let mut server = self.trust.connect(stream, &self.name).await?;
        copy_bidirectional(local, &mut server).await.map(drop)
    }
}

async fn lead(listener: TcpListener, exit: Exit) {
    let mut connections = JoinSet::new();
    while let Ok((local, _)) = listener.accept().await {
        while connections.try_join_next().is_some() {}
        connections.spawn(exit.clone().serve(local));
    }
}
