//! A replica's side of the RPCs.

use std::{rc::Rc, time::Duration};

use bolt_server::Version;
use futures::{StreamExt, channel::mpsc};
use serde_bytes::ByteBuf;

use super::{
    Node,
    database::Prepared,
    event::{ConnectionId, Effect, Level},
    io::Elapsed,
    lock::{Access, Exclusive, Guard, Shared},
    message::{AccessKind, HeartbeatReply, Message, PeerMessage, PrepareCommit, Reply, Request},
    role::{ReplicaRole, Role},
};
use crate::{
    durability::{state, wal::Wal},
    ident::Uuid,
    storage::Delta,
};

/// How often a replica of 3.13 reports progress (`src/rpc/progress_heartbeat.hpp`).
const PROGRESS_INTERVAL: Duration = Duration::from_secs(25);

impl Node {
    /// A MAIN (or what takes itself for one) has connected.
    pub(super) fn accept(self: &Rc<Self>, id: ConnectionId) {
        if !self.serving.get() {
            self.io.effect(Effect::Disconnect(id));
            return;
        }
        let (sender, mut receiver) = mpsc::unbounded();
        self.peers.incoming.borrow_mut().insert(id, sender);
        let node = Rc::clone(self);
        let server = self.handlers.server.get();
        self.spawn(async move {
            while let Some(request) = receiver.next().await {
                let _worker = node.handlers.worker.acquire(Exclusive).await;
                // What has arrived is handled even if the sender is gone by now, but not after a promotion.
                if !node.handlers.takes(server) {
                    break;
                }
                node.handlers.running.set(node.handlers.running.get() + 1);
                let reply = node.handle_reporting(id, request).await;
                node.handlers.finished(node.io.now());
                node.reply(id, reply);
            }
        });
    }

    fn reply(&self, id: ConnectionId, reply: Reply) {
        if self.peers.incoming.borrow().contains_key(&id) {
            self.io
                .effect(Effect::Send(id, PeerMessage(Message::Reply(reply))));
        }
    }

    /// Handles a request. 3.13 reports progress: once, since a handler that takes long here is one that waits
    /// for the storage, and that counts as none.
    async fn handle_reporting(self: &Rc<Self>, id: ConnectionId, request: Request) -> Reply {
        let reports = self.config.version >= Version::Head
            && matches!(
                request,
                Request::PrepareCommit(_)
                    | Request::Snapshot { .. }
                    | Request::WalFiles { .. }
                    | Request::CurrentWal { .. }
            );
        let mut handling = std::pin::pin!(self.handle_request(request));
        if reports {
            match self.io.timeout(PROGRESS_INTERVAL, &mut handling).await {
                Ok(reply) => return reply,
                Err(Elapsed) => self.reply(id, Reply::InProgress),
            }
        }
        handling.await
    }

    async fn handle_request(self: &Rc<Self>, request: Request) -> Reply {
        let name = request.name();
        match request {
            Request::Ping => Reply::Pong,
            Request::SwapMainUuid { main } => Reply::Success(self.accept_main(main).await),
            Request::SystemRecovery { main, database } => {
                Reply::Success(self.obeys(main, name) && self.recover_system(database).await)
            }
            Request::Heartbeat {
                main,
                database,
                durable,
            } => {
                let known = self.obeys(main, name) && self.has_database(database);
                if known && durable == 0 && self.database.borrow().durable == 0 {
                    // There is nothing to recover that could heal it.
                    self.broken.set(false);
                }
                Reply::Heartbeat(known.then(|| self.position()))
            }
            Request::PrepareCommit(request) => Reply::Success(self.prepare_commit(*request).await),
            Request::FinalizeCommit {
                main,
                database,
                commit,
                timestamp,
            } => {
                if !self.obeys(main, name) || !self.has_database(database) {
                    return Reply::Success(false);
                }
                self.finalize_commit(commit, timestamp).await;
                Reply::Success(true)
            }
            Request::Snapshot {
                main,
                database,
                name: file,
                content,
            } => {
                if !self.obeys(main, name) || !self.has_database(database) {
                    return Reply::Recovered(None);
                }
                Reply::Recovered(self.receive_snapshot(&file, content).await)
            }
            Request::WalFiles {
                main,
                database,
                reset,
                files,
            } => Reply::Recovered(self.receive_wal(name, (main, database), reset, files).await),
            Request::CurrentWal {
                main,
                database,
                reset,
                content,
            } => Reply::Recovered(
                self.receive_wal(name, (main, database), reset, vec![content.into()])
                    .await,
            ),
        }
    }

    /// Whether the sender is the MAIN that this replica obeys.
    pub(super) fn obeys(&self, main: Uuid, what: &str) -> bool {
        let Role::Replica(ReplicaRole { main: current, .. }) = &*self.role.borrow() else {
            return false;
        };
        if *current != main {
            self.io.log(
                Level::Error,
                format!("Received {what} with main_id: {main} != current_main_uuid: {current}"),
            );
        }
        *current == main
    }

    pub(super) fn has_database(&self, uuid: Uuid) -> bool {
        let database = self.database.borrow();
        if database.uuid != uuid {
            self.io.log(
                Level::Warning,
                format!("No database with UUID \"{uuid}\" on replica, or it is not IN_MEMORY_TRANSACTIONAL."),
            );
        }
        database.uuid == uuid && !database.analytical
    }

    fn position(&self) -> HeartbeatReply {
        let database = self.database.borrow();
        let epoch = if self.config.version >= Version::V3_5 {
            database.last_epoch_with_commit()
        } else {
            database.epoch
        };
        HeartbeatReply {
            durable: database.durable,
            epoch,
        }
    }

    /// Obeys whoever asks for it: REGISTER steals a replica from its former MAIN.
    async fn accept_main(&self, main: Uuid) -> bool {
        let _lock = self.replication_lock.acquire(Shared::Write).await;
        match &mut *self.role.borrow_mut() {
            Role::Replica(replica) => replica.main = main,
            Role::Main(_) => {
                self.io
                    .log(Level::Error, "Setting main uuid must be performed on replica.");
                return false;
            }
        }
        self.io
            .log(Level::Info, format!("Set replica data UUID to main uuid {main}"));
        if let Err(error) = self.save_role().await {
            self.io.log(
                Level::Error,
                format!("Failed to persist the uuid of the main: {error}"),
            );
        }
        true
    }

    /// Takes the UUID of MAIN's database, if this one was never written to, and forgets all users.
    async fn recover_system(&self, uuid: Uuid) -> bool {
        self.io.log(
            Level::Error,
            "Handling SystemRecovery, an enterprise RPC message, without license. Check your license status by \
             running SHOW LICENSE INFO.",
        );
        {
            let mut database = self.database.borrow_mut();
            if database.uuid != uuid {
                if database.durable != 0 {
                    return false;
                }
                database.uuid = uuid;
            }
        }
        self.users.borrow_mut().0.clear();
        let users = self.users.borrow().clone();
        let saved = self.save_state(&state::database_file(), &uuid).await.is_ok();
        saved && self.save_state(&state::users_file(), &users).await.is_ok()
    }

    /// Takes back what waits for a decision that will not come.
    pub(super) fn discard_prepared(&self) {
        let mut database = self.database.borrow_mut();
        if let Some(prepared) = database.prepared.take() {
            database.graph.abort(prepared.transaction);
        }
    }

    /// Since 3.9 a promotion cannot begin while a transaction is being applied.
    fn hold_role(&self) -> Option<Option<Guard<Shared>>> {
        if self.config.version < Version::V3_10 {
            return Some(None);
        }
        self.replication_lock.try_acquire(Shared::Read).map(Some)
    }

    async fn prepare_commit(self: &Rc<Self>, request: PrepareCommit) -> bool {
        let Some(_role) = self.hold_role() else {
            self.io.log(
                Level::Warning,
                "Failed to take repl state read lock, cannot commit",
            );
            return false;
        };
        let name = if self.config.version < Version::V3_5 {
            "AppendDeltasReq"
        } else {
            "PrepareCommitReq"
        };
        if !self.obeys(request.main, name) || !self.has_database(request.database) {
            return false;
        }
        if self.broken.get() {
            return false;
        }
        self.discard_prepared();
        if self.database.borrow().epoch != request.epoch {
            self.finish_wal();
            let mut database = self.database.borrow_mut();
            database.remember_epoch();
            database.epoch = request.epoch;
        }
        if request.previous > self.database.borrow().durable {
            return false;
        }
        let PrepareCommit {
            timestamp,
            two_phase,
            access,
            deltas,
            ..
        } = request;
        self.apply(timestamp, deltas, access, two_phase).await
    }

    /// Applies a transaction of MAIN. One that is not newer than what is here is skipped, and reported as
    /// applied.
    async fn apply(
        self: &Rc<Self>,
        timestamp: u64,
        deltas: Vec<Delta>,
        access: AccessKind,
        two_phase: bool,
    ) -> bool {
        if timestamp <= self.database.borrow().durable {
            return true;
        }
        // Without a time-out: a long read on a replica stalls it, and MAIN with it.
        let access = self.access.acquire(access.into()).await;
        let deltas = Rc::new(deltas);
        let mut transaction = self.begin().await;
        {
            let mut database = self.database.borrow_mut();
            for delta in deltas.iter() {
                if let Err(error) = database.graph.apply(&mut transaction, delta.clone()) {
                    database.graph.abort(transaction);
                    self.io.log(
                        Level::Error,
                        format!("Failed to apply a transaction of main: {error}."),
                    );
                    return false;
                }
            }
            // Only after a failed change of the schema can a replica have other constraints than MAIN.
            if let Err(violation) = database.graph.check_constraints(&transaction) {
                database.graph.abort(transaction);
                self.io.log(
                    Level::Error,
                    format!("Failed to apply a transaction of main: it breaks {violation:?}."),
                );
                return false;
            }
        }
        transaction.deltas = Vec::new();
        let _engine_lock = self.engine_lock.acquire(Exclusive).await;
        let at = {
            let mut database = self.database.borrow_mut();
            let at = database.tick();
            database.log(&self.config, &self.io, timestamp, &deltas, two_phase);
            if two_phase {
                database.prepared = Some(Prepared {
                    transaction,
                    timestamp,
                    _access: access,
                });
                return true;
            }
            at
        };
        self.finish_logging().await;
        self.database.borrow_mut().publish(transaction, at, timestamp);
        true
    }

    /// The decision about a prepared transaction. There being none, or another one, is no error.
    async fn finalize_commit(self: &Rc<Self>, commit: bool, timestamp: u64) {
        let _engine_lock = self.engine_lock.acquire(Exclusive).await;
        {
            let mut database = self.database.borrow_mut();
            let Some(prepared) = database
                .prepared
                .take_if(|prepared| prepared.timestamp == timestamp)
            else {
                self.io.log(
                    Level::Warning,
                    "Cached commit accessor became invalid between two phases",
                );
                return;
            };
            if commit {
                let at = database.tick();
                database.log_decision(&self.config, &self.io, timestamp);
                database.publish(prepared.transaction, at, timestamp);
            } else {
                database.graph.abort(prepared.transaction);
            }
        }
        self.finish_logging().await;
    }

    /// Applies log files of MAIN. The result is the position afterwards, or `None` when not all of them
    /// could be applied.
    async fn receive_wal(
        self: &Rc<Self>,
        what: &str,
        (main, database): (Uuid, Uuid),
        reset: bool,
        files: Vec<ByteBuf>,
    ) -> Option<u64> {
        let _role = self.hold_role()?;
        if !self.obeys(main, what) || !self.has_database(database) {
            return None;
        }
        self.discard_prepared();
        self.finish_wal();
        let old = self.durability_files().await;
        if reset {
            let _snapshot = self.take_snapshot_lock().await?;
            let _alone = self.take_main_lock().await?;
            let epoch = self.new_uuid();
            self.database.borrow_mut().clear(epoch);
            self.snapshot_digest.set(None);
        }
        let mut complete = true;
        for file in files {
            if !self.load_wal(file.into_vec()).await {
                complete = false;
                break;
            }
        }
        if reset {
            self.archive(&old);
        }
        if complete {
            self.broken.set(false);
        }
        complete.then(|| self.database.borrow().durable)
    }

    async fn load_wal(self: &Rc<Self>, bytes: Vec<u8>) -> bool {
        let wal = match Wal::read(bytes) {
            Ok(wal) => wal,
            Err(error) => {
                self.io.log(
                    Level::Error,
                    format!("Error while reading WAL file of main: {error}"),
                );
                return false;
            }
        };
        {
            let mut database = self.database.borrow_mut();
            if database.next_sequence == 0 {
                database.uuid = wal.header.database;
            }
            if wal.range().is_none_or(|(_, last)| last <= database.durable) {
                return true;
            }
            if database.epoch != wal.header.epoch {
                database.remember_epoch();
                database.epoch = wal.header.epoch;
            }
        }
        self.finish_wal();
        for transaction in wal.transactions() {
            let access = needed_access(&transaction.deltas);
            if !self
                .apply(transaction.timestamp, transaction.deltas, access, false)
                .await
            {
                return false;
            }
        }
        true
    }

    /// Storage access for a load that replaces everything, waited for as long as Memgraph does.
    pub(super) async fn take_main_lock(&self) -> Option<Guard<Access>> {
        let limit = if self.config.version >= Version::Head {
            20
        } else {
            30
        };
        let waiting = self.access.acquire(Access::Unique);
        self.io.timeout(Duration::from_secs(limit), waiting).await.ok()
    }
}

/// The access that a logged transaction was made with.
fn needed_access(deltas: &[Delta]) -> AccessKind {
    use crate::storage::SchemaChange;
    let of = |delta: &Delta| match delta {
        Delta::Schema(
            SchemaChange::CreateEnum { .. }
            | SchemaChange::AddEnumValue { .. }
            | SchemaChange::RenameEnumValue { .. },
        ) => AccessKind::Unique,
        Delta::Schema(_) => AccessKind::ReadOnly,
        _ => AccessKind::Write,
    };
    deltas.first().map_or(AccessKind::Write, of)
}
