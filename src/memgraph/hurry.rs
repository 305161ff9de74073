//! Keeps an instance that becomes MAIN from waiting for its own replication server.
//!
//! A promotion ends that server first, and waits for its one thread (`ReplicationServer::Shutdown` in
//! `src/replication/replication_server.cpp`). The thread looks whether it is to end when something has happened on one of its
//! connections, and else every 200 ms (`WaitAndProcessEvents` in `src/communication/listener.hpp`, 3.4 to 3.12). So it is given
//! something to look at: connections over which nothing was said, and which end. Nothing else depends on them, and without
//! them a promotion only takes longer.

use std::{net::SocketAddr, time::Duration};

use futures::future::join_all;
use tokio::time::sleep;

use super::Bolt;

/// So many connections are made: the first that ends wakes the thread, unless that happens in the instant between the end
/// of the port and the order to the thread (`Server::Shutdown` in `src/communication/server.hpp`).
const CONNECTIONS: usize = 3;
/// For how long the replica is waited for: whoever does not accept a connection in this time has other troubles.
const DEADLINE: Duration = Duration::from_millis(100);
/// The pause between two looks at the port, and between the ends of two connections.
const PAUSE: Duration = Duration::from_millis(1);
/// After so many looks the promotion is left to itself: it has not begun, or its instance hangs.
const LOOKS: usize = 200;

/// Connections to a replica's replication server.
pub(super) struct Hurry<'a, B: Bolt> {
    client: &'a B,
    port: SocketAddr,
    held: Vec<B::Knock>,
}

impl<'a, B: Bolt> Hurry<'a, B> {
    /// Connects to the replication server at this address, before it is told to end.
    pub(super) async fn prepare(client: &'a B, port: SocketAddr) -> Self {
        let knocks = (0..CONNECTIONS).map(|_| client.knock(port, DEADLINE));
        let held = join_all(knocks).await.into_iter().flatten().collect();
        Self { client, port, held }
    }

    /// Waits until the port is closed, which is the first that a promotion does, and ends the connections then.
    pub(super) async fn finish(self) {
        if self.held.is_empty() {
            return;
        }
        for _ in 0..LOOKS {
            if self.client.knock(self.port, DEADLINE).await.is_none() {
                break;
            }
            sleep(PAUSE).await;
        }
        for connection in self.held {
            drop(connection);
            sleep(PAUSE).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    };

    use super::*;
    use crate::memgraph::{BoltError, Credentials, Row, Session};

    /// A replica whose port takes so many connections.
    struct Port {
        taken: AtomicUsize,
        takes: usize,
        ended: Arc<AtomicUsize>,
    }

    /// Counts its own end.
    struct Counted(Arc<AtomicUsize>);

    impl Drop for Counted {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    struct Mute;

    impl Session for Mute {
        async fn run(&mut self, _: &str, _: Duration) -> Result<Vec<Row>, BoltError> {
            std::future::pending().await
        }

        async fn watch(&mut self, _: Duration) -> Result<(), BoltError> {
            std::future::pending().await
        }
    }

    impl Bolt for Port {
        type Session = Mute;
        type Knock = Counted;

        fn session_as(&self, _: SocketAddr, _: Option<&Credentials>) -> Mute {
            Mute
        }

        async fn handshake(&self, at: SocketAddr, _: Duration) -> Result<(), BoltError> {
            Err(BoltError::Refused { at })
        }

        async fn knock(&self, _: SocketAddr, _: Duration) -> Option<Counted> {
            let open = self.taken.fetch_add(1, Ordering::Relaxed) < self.takes;
            open.then(|| Counted(Arc::clone(&self.ended)))
        }

        async fn reaches(&self, _: &str, _: Duration) -> bool {
            false
        }
    }

    fn port(takes: usize) -> Port {
        Port {
            taken: AtomicUsize::new(0),
            takes,
            ended: Arc::default(),
        }
    }

    fn address() -> SocketAddr {
        ([127, 0, 0, 1], 10_000).into()
    }

    #[tokio::test(start_paused = true)]
    async fn connections_end_one_by_one_once_the_port_is_closed() {
        let port = port(CONNECTIONS + 5);
        let hurry = Hurry::prepare(&port, address()).await;
        assert_eq!(port.ended.load(Ordering::Relaxed), 0);
        hurry.finish().await;
        assert_eq!(port.taken.load(Ordering::Relaxed), CONNECTIONS + 6);
        assert_eq!(port.ended.load(Ordering::Relaxed), CONNECTIONS + 5);
    }

    #[tokio::test(start_paused = true)]
    async fn a_port_that_is_closed_already_is_left_alone_and_one_that_stays_open_is_given_up() {
        let closed = port(0);
        Hurry::prepare(&closed, address()).await.finish().await;
        assert_eq!(closed.taken.load(Ordering::Relaxed), CONNECTIONS);
        let open = port(usize::MAX);
        Hurry::prepare(&open, address()).await.finish().await;
        assert_eq!(open.taken.load(Ordering::Relaxed), CONNECTIONS + LOOKS);
    }
}
