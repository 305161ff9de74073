//! What programs ask of the world through a channel, since they must not hold a part of it.

use std::net::SocketAddr;

use tokio::sync::{mpsc, oneshot};

use super::{
    Place, Pod,
    stream::{Answer, Incoming, Request},
};

/// Where to connect to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Target {
    Address(SocketAddr),
    /// `host:port`, resolved when the connection is made.
    Name(String),
}

/// Something that is asked for.
#[derive(Debug)]
pub(super) enum Command {
    /// Connect, and send a request at once if there is one.
    Connect {
        key: u64,
        from: Place,
        pod: Option<Pod>,
        to: Target,
        first: Option<Request>,
        sink: mpsc::UnboundedSender<Incoming>,
    },
    Ask(u64, Request),
    Answer(u64, Answer),
    Close {
        key: u64,
        reset: bool,
    },
    /// Stop listening.
    Forget(Pod, u16),
    /// Tell when a message outside of connections has arrived.
    Travel {
        from: Place,
        to: Place,
        port: u16,
        arrived: oneshot::Sender<()>,
    },
}
