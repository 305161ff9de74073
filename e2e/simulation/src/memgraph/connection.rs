//! TCP connections, as far as a simulation needs them: each direction is a queue whose packets arrive in order, later
//! or never.

use std::{collections::VecDeque, net::SocketAddr};

use memgraph_sim::engine::{ConnectionId, PeerMessage, SessionId, Time};
use tokio::sync::mpsc;

use super::{
    Place, Pod, Process,
    stream::{Answer, Incoming, Request},
};

/// One side of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    /// Who has connected.
    Caller,
    /// Who was connected to.
    Called,
}

impl Side {
    pub(super) const fn other(self) -> Self {
        match self {
            Self::Caller => Self::Called,
            Self::Called => Self::Caller,
        }
    }

    pub(super) const fn index(self) -> usize {
        self as usize
    }
}

/// Who has the socket.
#[derive(Debug)]
pub(super) enum Owner {
    /// An engine, to talk to another one.
    Peer(Process, ConnectionId),
    /// An engine, for a client.
    Session(Process, SessionId),
    /// Whoever holds the stream of this connection.
    Stream(mpsc::UnboundedSender<Incoming>),
    /// Nobody any more; the kernel knows that the connection is closed.
    Closed,
    /// Nobody any more, and the kernel has forgotten everything: the power was lost.
    Vanished,
    /// It was not accepted yet.
    Nobody,
}

/// One end of a connection.
#[derive(Debug)]
pub(super) struct End {
    pub(super) place: Place,
    /// The pod whose kernel it is; `None` for what has no address of its own.
    pub(super) pod: Option<Pod>,
    pub(super) owner: Owner,
}

/// What travels along a connection.
#[derive(Debug)]
pub(super) enum Packet {
    /// The connection was accepted.
    Accepted,
    /// A message between instances.
    Peer(PeerMessage),
    /// Of a client.
    Request(Request),
    /// For a client.
    Answer(Answer),
    /// The sender has closed the connection.
    End,
    /// The sender knows nothing of the connection, or has thrown it away.
    Reset,
}

/// One direction of a connection.
#[derive(Debug, Default)]
pub(super) struct Pipe {
    pub(super) packets: VecDeque<Packet>,
    /// When the last of them arrives: nothing overtakes.
    pub(super) last: Time,
    /// How many of them, from the first one, have come to where they cannot get through and wait to be sent again.
    pub(super) held: usize,
    /// Since when something is under way that the sender's kernel has no acknowledgement of.
    pub(super) unacknowledged: Option<Time>,
    /// The sender has closed it: nothing is added any more.
    pub(super) closed: bool,
}

/// What a replica was asked for last, and MAIN waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asked {
    Prepare(u64),
    Finalize(u64, bool),
    Other,
}

/// A connection.
#[derive(Debug)]
pub(super) struct Connection {
    /// What was connected to.
    pub(super) to: SocketAddr,
    /// Caller, called.
    pub(super) ends: [End; 2],
    /// Towards the caller, towards the called.
    pub(super) pipes: [Pipe; 2],
    /// The caller knows that it is connected.
    pub(super) accepted: bool,
    pub(super) asked: Asked,
    /// How many round trips of the Bolt handshake are still owed before the first request.
    pub(super) greetings: u32,
}

impl Connection {
    pub(super) fn end(&self, side: Side) -> &End {
        &self.ends[side.index()]
    }

    pub(super) fn end_mut(&mut self, side: Side) -> &mut End {
        &mut self.ends[side.index()]
    }

    /// What is under way towards this side.
    pub(super) fn pipe(&mut self, towards: Side) -> &mut Pipe {
        &mut self.pipes[towards.index()]
    }
}
