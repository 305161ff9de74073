//! MAIN's view of one registered replica: its state machine, pings and background tasks.

use std::{
    cell::{Cell, RefCell},
    future::Future,
    pin::Pin,
    rc::Rc,
};

use bolt_server::Version;
use futures::{StreamExt, channel::mpsc};

use super::{
    Node,
    event::Level,
    lock::{Exclusive, Lock},
    message::{HeartbeatReply, PrepareCommit, Reply, Request},
    peers::{RpcClient, RpcError, RpcStream, timeouts},
};
use crate::{
    durability::state::{ReplicaEntry, ReplicaMode},
    ident::Uuid,
};

/// After how many failed pings in a row a replica counts as lost.
const FAILURES_UNTIL_LOST: u32 = 3;

/// Where a replica stands, as far as MAIN knows (semantics D.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ReplicaState {
    MaybeBehind,
    Ready,
    Replicating,
    Recovery,
    Diverged,
}

impl ReplicaState {
    /// The `status` of SHOW REPLICAS.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::MaybeBehind => "invalid",
            Self::Ready => "ready",
            Self::Replicating => "replicating",
            Self::Recovery => "recovery",
            Self::Diverged => "diverged",
        }
    }
}

/// Why a replica has not taken a transaction (semantics E.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FailureReason {
    NotInSync,
    RpcError,
    Timeout,
    Diverged,
}

type Task = Pin<Box<dyn Future<Output = ()>>>;

/// A registered replica.
pub(super) struct ReplicaClient {
    pub(super) name: String,
    pub(super) entry: ReplicaEntry,
    pub(super) rpc: RpcClient,
    pub(super) state: Cell<ReplicaState>,
    /// The replica's last durable timestamp, as MAIN heard of it.
    pub(super) durable: Cell<u64>,
    /// Whether commits go to it. A registration that failed half-way is not attached: a ghost.
    pub(super) attached: Cell<bool>,
    /// Users and database UUID have to be sent.
    system_behind: Cell<bool>,
    /// Work for the single background worker, in order.
    tasks: RefCell<Option<mpsc::UnboundedSender<Task>>>,
    closed: Cell<bool>,
    /// Held by a commit while it connects: who wants to know the state waits for that.
    pub(super) opening: Rc<Lock<Exclusive>>,
}

/// An open stream of a commit to a replica.
pub(super) struct CommitStream(RpcStream);

impl ReplicaClient {
    pub(super) fn new(name: String, entry: ReplicaEntry) -> Rc<Self> {
        Rc::new(Self {
            name,
            rpc: RpcClient::new(entry.address.clone()),
            entry,
            state: Cell::new(ReplicaState::MaybeBehind),
            durable: Cell::new(0),
            attached: Cell::new(false),
            system_behind: Cell::new(true),
            tasks: RefCell::new(None),
            closed: Cell::new(false),
            opening: Lock::new(),
        })
    }

    pub(super) fn mode(&self) -> ReplicaMode {
        self.entry.mode
    }

    /// Starts the background worker; tasks run one after the other.
    fn worker(self: &Rc<Self>, node: &Rc<Node>) {
        let (sender, mut receiver) = mpsc::unbounded::<Task>();
        *self.tasks.borrow_mut() = Some(sender);
        let client = Rc::clone(self);
        node.spawn(async move {
            while let Some(task) = receiver.next().await {
                if client.closed.get() {
                    break;
                }
                task.await;
            }
        });
    }

    fn enqueue(&self, task: impl Future<Output = ()> + 'static) {
        if let Some(tasks) = &*self.tasks.borrow() {
            let _ = tasks.unbounded_send(Box::pin(task));
        }
    }

    /// Stops pings and tasks, and fails RPCs that are under way.
    pub(super) fn shut_down(&self, node: &Node) {
        self.closed.set(true);
        self.tasks.take();
        self.rpc.abort(&node.io, &node.peers);
    }

    /// The first heartbeat of a new client (attached from now on), waited for.
    pub(super) async fn start(self: &Rc<Self>, node: &Rc<Node>, main: Uuid) {
        self.worker(node);
        self.attached.set(true);
        node.io.log(
            Level::Info,
            "Replication client started for database \"memgraph\"",
        );
        self.check(node, main).await;
    }

    /// Starts the pings.
    pub(super) fn start_pings(self: &Rc<Self>, node: &Rc<Node>, main: Uuid) {
        node.io.log(
            Level::Info,
            format!("Replication client started at: {}", self.entry.address),
        );
        let period = std::time::Duration::from_secs(self.entry.check_frequency);
        if period.is_zero() {
            return;
        }
        let (client, engine) = (Rc::clone(self), Rc::clone(node));
        node.spawn(async move {
            let mut failures = 0;
            loop {
                engine.io.sleep(period).await;
                if client.closed.get() {
                    return;
                }
                let answer = client.rpc.request(&engine.io, &engine.peers, Request::Ping).await;
                if client.closed.get() {
                    return;
                }
                if answer.is_ok() {
                    failures = 0;
                    client.pinged(&engine, main).await;
                } else {
                    failures += 1;
                    if failures == FAILURES_UNTIL_LOST {
                        client.system_behind.set(true);
                        client.state.set(ReplicaState::MaybeBehind);
                    }
                }
            }
        });
    }

    async fn pinged(self: &Rc<Self>, node: &Rc<Node>, main: Uuid) {
        self.restore_system(node, main).await;
        if self.state.get() == ReplicaState::MaybeBehind {
            self.check_later(node, main);
        }
    }

    /// Sends the database UUID and the empty list of users, if that has not worked before (or since).
    pub(super) async fn restore_system(&self, node: &Rc<Node>, main: Uuid) {
        if !self.system_behind.get() {
            return;
        }
        let database = node.database.borrow().uuid;
        let request = Request::SystemRecovery { main, database };
        let answer = self.rpc.request(&node.io, &node.peers, request).await;
        self.system_behind.set(answer != Ok(Reply::Success(true)));
    }

    /// Has the replica's position checked in the background.
    pub(super) fn check_later(self: &Rc<Self>, node: &Rc<Node>, main: Uuid) {
        let (client, engine) = (Rc::clone(self), Rc::clone(node));
        self.enqueue(async move { client.check(&engine, main).await });
    }

    /// Asks the replica where it is, and decides what that means (semantics D.3, D.4).
    async fn check(self: &Rc<Self>, node: &Rc<Node>, main: Uuid) {
        if node.broken.get() {
            return;
        }
        let heartbeat = match self.heartbeat(node, main).await {
            Ok(Some(heartbeat)) => heartbeat,
            // The RPC lock was busy: the next ping has it tried again.
            Ok(None) => return,
            Err(_) => {
                self.state.set(ReplicaState::MaybeBehind);
                node.io.log(
                    Level::Error,
                    format!(
                        "Failed to connect to replica {} at the endpoint {}.",
                        self.name, self.entry.address
                    ),
                );
                return;
            }
        };
        let Some(HeartbeatReply { durable, epoch }) = heartbeat else {
            self.system_behind.set(true);
            return;
        };
        // Up to 3.11 what it says is taken as it is.
        let as_it_says = node.config.version < Version::V3_12;
        if as_it_says {
            self.durable.set(durable);
        }
        if self.has_diverged(node, durable, epoch) {
            if self.state.replace(ReplicaState::Diverged) != ReplicaState::Diverged {
                node.io.log(Level::Error, diverged(&self.name));
            }
            return;
        }
        // The engine lock keeps commits from passing by while the decision is taken.
        let _lock = node.engine_lock.acquire(Exclusive).await;
        if self.state.get() == ReplicaState::Recovery {
            return;
        }
        if !as_it_says {
            self.durable.set(self.durable.get().max(durable));
        }
        if durable >= node.database.borrow().durable {
            self.state.set(ReplicaState::Ready);
        } else {
            self.state.set(ReplicaState::Recovery);
            let (client, engine) = (Rc::clone(self), Rc::clone(node));
            self.enqueue(async move { engine.recover(&client, main, durable, false).await });
        }
    }

    async fn heartbeat(
        &self,
        node: &Rc<Node>,
        main: Uuid,
    ) -> Result<Option<Option<HeartbeatReply>>, RpcError> {
        let patience = (self.mode() == ReplicaMode::Async).then_some(timeouts::ASYNC_HEARTBEAT_LOCK);
        let Some(stream) = self.rpc.open(&node.io, &node.peers, patience).await? else {
            return Ok(None);
        };
        let request = {
            let database = node.database.borrow();
            Request::Heartbeat {
                main,
                database: database.uuid,
                durable: database.durable,
            }
        };
        match self.rpc.call(&node.io, &node.peers, &stream, request).await? {
            Reply::Heartbeat(reply) => Ok(Some(reply)),
            _ => Err(RpcError::Broken),
        }
    }

    fn has_diverged(&self, node: &Node, durable: u64, epoch: Uuid) -> bool {
        let database = node.database.borrow();
        if epoch == database.epoch || durable == 0 {
            return false;
        }
        // The first entry of an epoch counts, although an instance that recovered from its log can have two.
        match database.history.iter().find(|past| past.id == epoch) {
            None => true,
            Some(past) => past.last < durable,
        }
    }

    /// Makes everything of the replica be sent anew (RECOVER SNAPSHOT).
    pub(super) fn force_recovery(self: &Rc<Self>, node: &Rc<Node>, main: Uuid) {
        self.state.set(ReplicaState::Recovery);
        let (client, engine) = (Rc::clone(self), Rc::clone(node));
        self.enqueue(async move { engine.recover(&client, main, 0, true).await });
    }

    /// The beginning of a commit: takes the RPC lock and connects, if the replica is in a state for it.
    pub(super) async fn open_commit(
        self: &Rc<Self>,
        node: &Rc<Node>,
        main: Uuid,
    ) -> Result<CommitStream, FailureReason> {
        let _state = self.opening.acquire(Exclusive).await;
        match self.state.get() {
            ReplicaState::Recovery => Err(FailureReason::NotInSync),
            ReplicaState::Replicating => {
                self.state.set(ReplicaState::MaybeBehind);
                Err(FailureReason::NotInSync)
            }
            ReplicaState::MaybeBehind => {
                node.io
                    .log(Level::Error, format!("Couldn't replicate data to {}.", self.name));
                self.check_later(node, main);
                Err(FailureReason::NotInSync)
            }
            ReplicaState::Diverged => Err(FailureReason::Diverged),
            ReplicaState::Ready => {
                let patience = (self.mode() == ReplicaMode::Async).then_some(timeouts::ASYNC_COMMIT_LOCK);
                match self.rpc.open(&node.io, &node.peers, patience).await {
                    Ok(Some(stream)) => {
                        self.state.set(ReplicaState::Replicating);
                        Ok(CommitStream(stream))
                    }
                    Ok(None) | Err(RpcError::Connect) => {
                        self.state.set(ReplicaState::MaybeBehind);
                        Err(FailureReason::NotInSync)
                    }
                    Err(RpcError::Broken | RpcError::Timeout) => {
                        self.state.set(ReplicaState::MaybeBehind);
                        Err(FailureReason::RpcError)
                    }
                }
            }
        }
    }

    /// Sends the transaction and waits for the replica's word.
    pub(super) async fn prepare(
        &self,
        node: &Rc<Node>,
        stream: Option<&CommitStream>,
        request: impl FnOnce() -> PrepareCommit,
    ) -> Result<(), FailureReason> {
        if self.state.get() != ReplicaState::Replicating {
            // A recovery that ended meanwhile has not seen this transaction.
            if self.state.get() == ReplicaState::Ready {
                self.state.set(ReplicaState::MaybeBehind);
            }
            return Err(FailureReason::RpcError);
        }
        let Some(CommitStream(stream)) = stream else {
            self.state.set(ReplicaState::MaybeBehind);
            return Err(FailureReason::RpcError);
        };
        let request = request();
        let timestamp = request.timestamp;
        let request = Request::PrepareCommit(Box::new(request));
        match self.rpc.call(&node.io, &node.peers, stream, request).await {
            Ok(reply) => {
                if self.state.get() != ReplicaState::Replicating {
                    return Err(FailureReason::RpcError);
                }
                if reply != Reply::Success(true) {
                    self.state.set(ReplicaState::MaybeBehind);
                    return Err(FailureReason::RpcError);
                }
                // Up to 3.9 its position moves with its vote, whatever becomes of the transaction (`FinalizePrepareCommitPhase` in
                // `storage/v2/replication/replication_client.cpp`).
                if node.config.version < Version::V3_10 {
                    self.durable.set(timestamp);
                }
                self.state.set(ReplicaState::Ready);
                Ok(())
            }
            Err(error) => {
                self.state.set(ReplicaState::MaybeBehind);
                node.io
                    .log(Level::Error, format!("Couldn't replicate data to {}.", self.name));
                Err(if error == RpcError::Timeout {
                    FailureReason::Timeout
                } else {
                    FailureReason::RpcError
                })
            }
        }
    }

    /// Like [`Self::prepare`], in the background and without anybody waiting: for ASYNC replicas.
    pub(super) fn prepare_later(
        self: &Rc<Self>,
        node: &Rc<Node>,
        stream: Option<CommitStream>,
        request: impl FnOnce() -> PrepareCommit,
    ) {
        if self.state.get() != ReplicaState::Replicating || stream.is_none() {
            if matches!(self.state.get(), ReplicaState::Ready | ReplicaState::Replicating) {
                self.state.set(ReplicaState::MaybeBehind);
            }
            return;
        }
        let request = request();
        let (client, engine) = (Rc::clone(self), Rc::clone(node));
        self.enqueue(async move {
            let timestamp = request.timestamp;
            if client.prepare(&engine, stream.as_ref(), || request).await.is_ok() {
                client.confirm(&engine, timestamp);
            }
        });
    }

    /// The second phase. Errors are swallowed, as in Memgraph; the next commit will notice.
    pub(super) async fn finalize(
        &self,
        node: &Rc<Node>,
        stream: Option<CommitStream>,
        (main, database): (Uuid, Uuid),
        commit: bool,
        timestamp: u64,
    ) -> bool {
        let Some(CommitStream(stream)) = stream else {
            return true;
        };
        let request = Request::FinalizeCommit {
            main,
            database,
            commit,
            timestamp,
        };
        self.rpc.call(&node.io, &node.peers, &stream, request).await == Ok(Reply::Success(true))
    }

    /// The replica has a transaction. Up to 3.11 MAIN sets its position to it, even if that is a step back.
    pub(super) fn confirm(&self, node: &Node, timestamp: u64) {
        self.durable.set(if node.config.version < Version::V3_12 {
            timestamp
        } else {
            self.durable.get().max(timestamp)
        });
    }
}

/// MAIN's log line about a replica with data of its own.
fn diverged(replica: &str) -> String {
    format!(
        "You cannot register Replica {replica} to this Main because at one point Replica {replica} acted as the Main \
         instance. Both the Main and Replica {replica} now hold unique data. Please resolve data conflicts and start \
         the replication on a clean instance."
    )
}
