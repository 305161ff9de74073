//! How a transaction is committed on MAIN (semantics E).
//!
//! Order, as in Memgraph: timestamp, streams to all replicas, log, then replica after replica; all of it
//! under the engine lock, so that a slow SYNC replica stalls every writer.

use std::rc::Rc;

use bolt_server::Version;

use super::{
    Node,
    lock::{Exclusive, Shared},
    message::{AccessKind, PrepareCommit},
    replica_client::{CommitStream, FailureReason, ReplicaClient},
    role::Role,
};
use crate::{
    durability::state::ReplicaMode,
    ident::Uuid,
    storage::{Delta, Transaction, Violation},
};

/// A replica that has not taken a transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ReplicationFailure {
    pub(crate) replica: String,
    pub(crate) mode: ReplicaMode,
    pub(crate) reason: FailureReason,
}

/// Why a commit failed, or what went wrong along with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum CommitError {
    /// The instance was demoted while the transaction was open.
    NotMain,
    /// The same, for transactions without data.
    ReplicaShouldNotWrite,
    Constraint(Violation),
    /// Not every replica has it. `committed` says whether MAIN does.
    Replication {
        failures: Vec<ReplicationFailure>,
        committed: bool,
    },
}

/// A transaction on its way to the replicas.
struct Shipment {
    main: Uuid,
    database: Uuid,
    epoch: Uuid,
    previous: u64,
    timestamp: u64,
    two_phase: bool,
    access: AccessKind,
    deltas: Rc<Vec<Delta>>,
    /// In order of registration.
    clients: Vec<Rc<ReplicaClient>>,
}

impl Shipment {
    fn request_to(&self, client: &ReplicaClient) -> PrepareCommit {
        PrepareCommit {
            main: self.main,
            database: self.database,
            epoch: self.epoch,
            previous: self.previous,
            timestamp: self.timestamp,
            two_phase: client.mode() == ReplicaMode::StrictSync,
            access: self.access,
            deltas: self.deltas.to_vec(),
        }
    }
}

type Streams = Vec<(Rc<ReplicaClient>, Option<CommitStream>)>;

impl Node {
    /// Commits a transaction, or takes it back.
    pub(crate) async fn commit(
        self: &Rc<Self>,
        transaction: Transaction,
        access: AccessKind,
    ) -> Result<(), CommitError> {
        // Admin queries that need this lock for themselves only try it: they fail while a commit holds it.
        let _role_lock = self.replication_lock.acquire(Shared::Read).await;
        let main = match &*self.role.borrow() {
            Role::Main(main) => Some(main.uuid),
            Role::Replica(_) => None,
        };
        if main.is_none() && transaction.has_data_deltas() {
            self.database.borrow_mut().graph.abort(transaction);
            return Err(CommitError::NotMain);
        }
        if transaction.deltas.is_empty() {
            self.database.borrow_mut().graph.abort(transaction);
            return Ok(());
        }
        let Some(main) = main else {
            if self.config.version < Version::V3_5 {
                self.keep_in_memory(transaction).await;
                return Ok(());
            }
            self.database.borrow_mut().graph.abort(transaction);
            return Err(CommitError::ReplicaShouldNotWrite);
        };
        let _engine_lock = self.engine_lock.acquire(Exclusive).await;
        let Some((transaction, shipment)) = self.take_timestamp(transaction, main, access)? else {
            return Ok(());
        };
        if shipment.clients.is_empty() {
            self.log_and_sync(&shipment).await;
            let timestamp = shipment.timestamp;
            self.database
                .borrow_mut()
                .publish(transaction, timestamp, timestamp);
            return Ok(());
        }
        self.replicate(transaction, shipment).await
    }

    /// What 3.4 does with a constraint that is changed on a replica: it is neither logged nor counted
    /// (`is_main_or_replica_write` in `src/storage/v2/inmemory/storage.cpp` of that release).
    async fn keep_in_memory(&self, transaction: Transaction) {
        let _engine_lock = self.engine_lock.acquire(Exclusive).await;
        let mut database = self.database.borrow_mut();
        let (at, durable) = (database.tick(), database.durable);
        database.publish(transaction, at, durable);
    }

    /// Checks the constraints and takes the commit timestamp. Without a log the transaction is published at
    /// once, and nothing is left to do.
    fn take_timestamp(
        &self,
        mut transaction: Transaction,
        main: Uuid,
        access: AccessKind,
    ) -> Result<Option<(Transaction, Shipment)>, CommitError> {
        let mut database = self.database.borrow_mut();
        if let Err(violation) = database.graph.check_constraints(&transaction) {
            database.graph.abort(transaction);
            return Err(CommitError::Constraint(violation));
        }
        let timestamp = database.tick();
        if !self.config.wal_enabled || database.analytical {
            // In analytical mode the last durable timestamp stays where it is.
            let durable = if database.analytical {
                database.durable
            } else {
                timestamp
            };
            database.publish(transaction, timestamp, durable);
            return Ok(None);
        }
        let clients: Vec<_> = match &*self.role.borrow() {
            Role::Main(main) => main
                .replicas
                .iter()
                .filter(|client| client.attached.get())
                .map(Rc::clone)
                .collect(),
            Role::Replica(_) => Vec::new(),
        };
        let shipment = Shipment {
            main,
            database: database.uuid,
            epoch: database.epoch,
            previous: database.durable,
            timestamp,
            two_phase: clients
                .iter()
                .any(|client| client.mode() == ReplicaMode::StrictSync),
            access,
            deltas: Rc::new(std::mem::take(&mut transaction.deltas)),
            clients,
        };
        Ok(Some((transaction, shipment)))
    }

    async fn log_and_sync(self: &Rc<Self>, shipment: &Shipment) {
        let Shipment {
            timestamp,
            two_phase,
            deltas,
            ..
        } = shipment;
        let _log_lock = self.log_lock.acquire(Shared::Write).await;
        self.database
            .borrow_mut()
            .log(&self.config, &self.io, *timestamp, deltas, *two_phase);
        if !two_phase {
            self.finish_logging().await;
        }
    }

    async fn replicate(
        self: &Rc<Self>,
        transaction: Transaction,
        mut shipment: Shipment,
    ) -> Result<(), CommitError> {
        let mut failures = Vec::new();
        let mut streams: Streams = Vec::with_capacity(shipment.clients.len());
        for client in std::mem::take(&mut shipment.clients) {
            let stream = match client.open_commit(self, shipment.main).await {
                Ok(stream) => Some(stream),
                Err(reason) => {
                    note(&mut failures, &client, reason);
                    None
                }
            };
            streams.push((client, stream));
        }
        self.log_and_sync(&shipment).await;
        for (client, stream) in &mut streams {
            match client.mode() {
                // In a two-phase commit they get it after the decision.
                ReplicaMode::Async if shipment.two_phase => {}
                ReplicaMode::Async => {
                    client.prepare_later(self, stream.take(), || shipment.request_to(client))
                }
                // Mixing SYNC and STRICT_SYNC is broken in Memgraph: the stream is opened and never used.
                ReplicaMode::Sync if shipment.two_phase => {}
                ReplicaMode::Sync | ReplicaMode::StrictSync => {
                    let voted = client
                        .prepare(self, stream.as_ref(), || shipment.request_to(client))
                        .await;
                    if client.mode() == ReplicaMode::Sync {
                        *stream = None;
                    }
                    if let Err(reason) = voted {
                        note(&mut failures, client, reason);
                    }
                }
            }
        }
        if shipment.two_phase {
            self.decide(transaction, shipment, streams, failures).await
        } else {
            self.database
                .borrow_mut()
                .publish(transaction, shipment.timestamp, shipment.timestamp);
            confirm(self, &streams, &failures, shipment.timestamp);
            if failures.is_empty() {
                return Ok(());
            }
            Err(CommitError::Replication {
                failures,
                committed: true,
            })
        }
    }

    /// The second phase of a two-phase commit.
    async fn decide(
        self: &Rc<Self>,
        transaction: Transaction,
        shipment: Shipment,
        streams: Streams,
        failures: Vec<ReplicationFailure>,
    ) -> Result<(), CommitError> {
        let commit = failures.is_empty();
        let timestamp = shipment.timestamp;
        let mut aborted = None;
        if commit {
            let _log_lock = self.log_lock.acquire(Shared::Write).await;
            let mut database = self.database.borrow_mut();
            database.log_decision(&self.config, &self.io, timestamp);
            database.publish(transaction, timestamp, timestamp);
        } else {
            aborted = Some(transaction);
        }
        self.finish_logging().await;
        let mut confirmed = Vec::with_capacity(streams.len());
        let mut lost = failures.clone();
        for (client, stream) in streams {
            match client.mode() {
                ReplicaMode::StrictSync => {
                    let of = (shipment.main, shipment.database);
                    if !client.finalize(self, stream, of, commit, timestamp).await {
                        note(&mut lost, &client, FailureReason::RpcError);
                    }
                }
                ReplicaMode::Async if commit => {
                    client.prepare_later(self, stream, || shipment.request_to(&client));
                }
                // What was begun on the stream cannot be taken back.
                ReplicaMode::Async if stream.is_some() => client.rpc.disconnect(&self.io, &self.peers),
                ReplicaMode::Async | ReplicaMode::Sync => {}
            }
            confirmed.push((client, None));
        }
        if commit {
            confirm(self, &confirmed, &lost, timestamp);
            return Ok(());
        }
        if let Some(transaction) = aborted {
            self.database.borrow_mut().graph.abort(transaction);
        }
        Err(CommitError::Replication {
            failures,
            committed: false,
        })
    }
}

/// Adds a failure, unless the replica has one already. ASYNC replicas may fail as they like.
fn note(failures: &mut Vec<ReplicationFailure>, client: &ReplicaClient, reason: FailureReason) {
    if client.mode() != ReplicaMode::Async && failures.iter().all(|known| known.replica != client.name) {
        failures.push(ReplicationFailure {
            replica: client.name.clone(),
            mode: client.mode(),
            reason,
        });
    }
}

/// Updates MAIN's idea of where the replicas are. ASYNC ones do that when they have answered.
fn confirm(node: &Node, streams: &Streams, failures: &[ReplicationFailure], timestamp: u64) {
    for (client, _) in streams {
        if client.mode() != ReplicaMode::Async && failures.iter().all(|failed| failed.replica != client.name)
        {
            client.confirm(node, timestamp);
        }
    }
}
