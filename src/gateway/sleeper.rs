//! A session that sleeps: all that is left of it.

use std::{
    net::{SocketAddr, TcpStream},
    os::fd::{AsFd, BorrowedFd},
};

use tokio::task::yield_now;
use tracing::debug;

use super::{
    line::Resting,
    session::Place,
    socket,
    statistics::{Begun, Ending},
};

/// How many are ended at a time by one thread.
const AT_ONCE: usize = 64;

/// A session that has said nothing for a while. What came since is in its sockets.
///
/// Fields are dropped in the order in which they are declared. The ticket comes after the connections, as in a session that is
/// awake.
#[derive(Debug)]
pub struct Sleeper {
    pub(super) upstream: TcpStream,
    pub(super) client: TcpStream,
    pub(super) ticket: Resting,
    /// The client's address.
    pub(super) address: SocketAddr,
    pub(super) begun: Begun,
    pub(super) place: Place,
}

impl Sleeper {
    /// Its connections.
    pub fn sockets(&self) -> [BorrowedFd<'_>; 2] {
        [self.client.as_fd(), self.upstream.as_fd()]
    }

    /// Gives the ticket back as soon as both connections are reset. What is returned takes longer to drop.
    fn end(self, ending: Ending) -> Option<(TcpStream, TcpStream, Place)> {
        let Self {
            upstream,
            client,
            ticket,
            address,
            begun,
            place,
        } = self;
        debug!(port = ?begun.statistics().port(), client = %address, ?ending, "session ended in its sleep");
        begun.end(ending);
        let reset = socket::reset(&client).and_then(|()| socket::reset(&upstream));
        let rest = (upstream, client, place);
        if reset.is_ok() {
            drop(ticket);
            return Some(rest);
        }
        // It is their drop that resets the connections.
        drop(rest);
        drop(ticket);
        None
    }
}

/// Ends all of these, on all threads that there are. Their sockets are closed when the connections of all others have been reset.
pub fn end_all(sleepers: Vec<Sleeper>, ending: Ending) {
    let mut sleepers = sleepers.into_iter();
    loop {
        let some: Vec<_> = sleepers.by_ref().take(AT_ONCE).collect();
        if some.is_empty() {
            return;
        }
        tokio::spawn(async move {
            let rests: Vec<_> = some
                .into_iter()
                .filter_map(|sleeper| sleeper.end(ending))
                .collect();
            yield_now().await;
            drop(rests);
        });
    }
}
