//! Connections to other instances, and MAIN's side of the RPCs.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    rc::Rc,
    time::Duration,
};

use futures::{
    StreamExt,
    channel::{mpsc, oneshot},
};

use super::{
    event::{ConnectionId, Effect},
    io::{Elapsed, Io},
    lock::{Exclusive, Guard, Lock},
    message::{Message, PeerMessage, Reply, Request},
};

/// Memgraph's fixed time-outs (`src/rpc/client.hpp`).
pub(super) mod timeouts {
    use std::time::Duration;

    use super::Request;

    /// How long making a connection may take.
    pub(in super::super) const CONNECT: Duration = Duration::from_secs(5);
    /// How long a commit waits for the RPC lock of an ASYNC replica.
    pub(in super::super) const ASYNC_COMMIT_LOCK: Duration = Duration::from_millis(50);
    /// How long a heartbeat waits for the RPC lock of an ASYNC replica.
    pub(in super::super) const ASYNC_HEARTBEAT_LOCK: Duration = Duration::from_secs(5);

    /// How long an answer may take.
    pub(super) fn of(request: &Request) -> Duration {
        Duration::from_secs(match request {
            Request::Ping => 5,
            Request::Heartbeat { .. } | Request::SwapMainUuid { .. } | Request::FinalizeCommit { .. } => 10,
            Request::SystemRecovery { .. }
            | Request::PrepareCommit(_)
            | Request::WalFiles { .. }
            | Request::CurrentWal { .. } => 30,
            Request::Snapshot { .. } => 60,
        })
    }
}

struct Outgoing {
    connecting: Option<oneshot::Sender<()>>,
    /// The peer has closed it. Like Memgraph's client, ours notices only when it uses the connection.
    broken: bool,
    reply: Option<mpsc::UnboundedSender<Reply>>,
}

/// All connections to other instances.
#[derive(Default)]
pub(super) struct Peers {
    last_connection: Cell<u64>,
    outgoing: RefCell<BTreeMap<ConnectionId, Outgoing>>,
    /// Connections of MAINs to this replica, with the queue of what they ask for.
    pub(super) incoming: RefCell<BTreeMap<ConnectionId, mpsc::UnboundedSender<Request>>>,
}

impl Peers {
    pub(super) fn connected(&self, id: ConnectionId) {
        let waiter = self
            .outgoing
            .borrow_mut()
            .get_mut(&id)
            .and_then(|it| it.connecting.take());
        if let Some(waiter) = waiter {
            let _ = waiter.send(());
        }
    }

    pub(super) fn disconnected(&self, id: ConnectionId) {
        // What is dropped here wakes whoever waits for it.
        let mut waiting = (None, None);
        if let Some(connection) = self.outgoing.borrow_mut().get_mut(&id) {
            connection.broken = true;
            waiting = (connection.connecting.take(), connection.reply.take());
        }
        drop(waiting);
        let gone = self.incoming.borrow_mut().remove(&id);
        drop(gone);
    }

    pub(super) fn received(&self, id: ConnectionId, message: Message) {
        match message {
            Message::Reply(reply) => {
                if let Some(waiter) = self.outgoing.borrow().get(&id).and_then(|it| it.reply.as_ref()) {
                    let _ = waiter.unbounded_send(reply);
                }
            }
            Message::Request(request) => {
                if let Some(queue) = self.incoming.borrow().get(&id) {
                    let _ = queue.unbounded_send(request);
                }
            }
        }
    }

    async fn connect(&self, io: &Io, address: &str) -> Option<ConnectionId> {
        self.last_connection.set(self.last_connection.get() + 2);
        let id = ConnectionId(self.last_connection.get());
        let (sender, receiver) = oneshot::channel();
        self.outgoing.borrow_mut().insert(
            id,
            Outgoing {
                connecting: Some(sender),
                broken: false,
                reply: None,
            },
        );
        io.effect(Effect::Connect(id, address.to_owned()));
        match io.timeout(timeouts::CONNECT, receiver).await {
            Ok(Ok(())) => Some(id),
            Ok(Err(oneshot::Canceled)) | Err(Elapsed) => {
                self.close(io, id);
                None
            }
        }
    }

    fn close(&self, io: &Io, id: ConnectionId) {
        let gone = self.outgoing.borrow_mut().remove(&id);
        if gone.is_some() {
            io.effect(Effect::Disconnect(id));
        }
    }
}

/// Why an RPC failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RpcError {
    /// There is no connection and none can be made.
    Connect,
    /// The connection broke.
    Broken,
    /// No answer in time.
    Timeout,
}

/// Calls one replica, one RPC at a time over one connection.
pub(super) struct RpcClient {
    address: String,
    lock: Rc<Lock<Exclusive>>,
    connection: Cell<Option<ConnectionId>>,
    aborted: Cell<bool>,
}

/// Holds the RPC lock, with a connection that was open when it was taken.
pub(super) struct RpcStream {
    connection: ConnectionId,
    _lock: Guard<Exclusive>,
}

impl RpcClient {
    pub(super) fn new(address: String) -> Self {
        Self {
            address,
            lock: Lock::new(),
            connection: Cell::new(None),
            aborted: Cell::new(false),
        }
    }

    /// Takes the RPC lock and connects if need be. `Ok(None)` when the lock was not free within `patience`.
    pub(super) async fn open(
        &self,
        io: &Io,
        peers: &Peers,
        patience: Option<Duration>,
    ) -> Result<Option<RpcStream>, RpcError> {
        let lock = match patience {
            None => self.lock.acquire(Exclusive).await,
            Some(limit) => match io.timeout(limit, self.lock.acquire(Exclusive)).await {
                Ok(lock) => lock,
                Err(Elapsed) => return Ok(None),
            },
        };
        if self.aborted.get() {
            return Err(RpcError::Connect);
        }
        let connection = match self.connection.get() {
            Some(open) => open,
            None => {
                let made = peers.connect(io, &self.address).await.ok_or(RpcError::Connect)?;
                self.connection.set(Some(made));
                if self.aborted.get() {
                    self.disconnect(io, peers);
                    return Err(RpcError::Connect);
                }
                made
            }
        };
        Ok(Some(RpcStream {
            connection,
            _lock: lock,
        }))
    }

    /// Asks and waits for the answer. After any error the connection is given up, since an answer could
    /// still arrive on it.
    pub(super) async fn call(
        &self,
        io: &Io,
        peers: &Peers,
        stream: &RpcStream,
        request: Request,
    ) -> Result<Reply, RpcError> {
        let limit = timeouts::of(&request);
        let (sender, mut receiver) = mpsc::unbounded();
        let usable = match peers.outgoing.borrow_mut().get_mut(&stream.connection) {
            Some(connection) if !connection.broken => {
                connection.reply = Some(sender);
                true
            }
            _ => false,
        };
        if !usable {
            if self.connection.get() == Some(stream.connection) {
                self.disconnect(io, peers);
            }
            return Err(RpcError::Broken);
        }
        io.effect(Effect::Send(
            stream.connection,
            PeerMessage(Message::Request(request)),
        ));
        let result = loop {
            match io.timeout(limit, receiver.next()).await {
                // The replica is alive and still at it: the clock starts again.
                Ok(Some(Reply::InProgress)) => {}
                Ok(Some(reply)) => break Ok(reply),
                Ok(None) => break Err(RpcError::Broken),
                Err(Elapsed) => break Err(RpcError::Timeout),
            }
        };
        if result.is_err() {
            self.disconnect(io, peers);
        }
        result
    }

    /// One whole RPC.
    pub(super) async fn request(&self, io: &Io, peers: &Peers, request: Request) -> Result<Reply, RpcError> {
        let stream = self.open(io, peers, None).await?.ok_or(RpcError::Connect)?;
        self.call(io, peers, &stream, request).await
    }

    /// Closes the connection; whoever waits for an answer gets an error.
    pub(super) fn disconnect(&self, io: &Io, peers: &Peers) {
        if let Some(id) = self.connection.take() {
            peers.close(io, id);
        }
    }

    /// Fails everything from now on.
    pub(super) fn abort(&self, io: &Io, peers: &Peers) {
        self.aborted.set(true);
        self.disconnect(io, peers);
    }
}
