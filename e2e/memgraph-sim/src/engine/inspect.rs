//! What a test may know of an instance without asking it: no query, no lock, no time.

use super::{
    Engine, PeerMessage,
    event::{Event, Time},
    message::{Message, Reply, Request},
    role::Role,
};
use crate::{
    config::Isolation,
    ident::Uuid,
    storage::{Delta, TransactionId, View},
    value::{Gid, Value},
};

/// Where an instance stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inspection {
    /// Its role, with what belongs to it.
    pub role: InspectedRole,
    /// The UUID of its database.
    pub database: Uuid,
    /// The epoch that goes on.
    pub epoch: Uuid,
    /// Epochs that have ended, oldest first, each with its last durable timestamp.
    pub history: Vec<(Uuid, u64)>,
    /// The last durable timestamp.
    pub durable: u64,
    /// The timestamp of the transaction that waits for MAIN's decision.
    pub prepared: Option<u64>,
    /// Its data could not be recovered, and it started all the same.
    pub broken: bool,
}

/// A role with what belongs to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InspectedRole {
    /// It takes writes.
    Main {
        /// By which replicas know it.
        uuid: Uuid,
        /// In order of registration.
        registrations: Vec<InspectedReplica>,
    },
    /// It takes what a MAIN sends.
    Replica {
        /// The MAIN that it obeys.
        main: Uuid,
        /// Whether its replication port is open.
        serving: bool,
    },
}

/// A replica as its MAIN knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InspectedReplica {
    /// The name under which it is registered.
    pub name: String,
    /// `host:port`
    pub address: String,
    /// `sync`, `async` or `strict_sync`, as SHOW REPLICAS says.
    pub mode: &'static str,
    /// The status, as SHOW REPLICAS says.
    pub status: &'static str,
    /// Its last durable timestamp, as MAIN heard of it.
    pub durable: u64,
    /// Whether commits go to it; not so with a ghost.
    pub attached: bool,
}

/// What a message between instances says about commits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CommitMessage {
    /// The first phase, or the only one.
    Prepare {
        /// MAIN's commit timestamp.
        timestamp: u64,
        /// A decision will follow.
        two_phase: bool,
    },
    /// The second phase.
    Finalize {
        /// MAIN's commit timestamp.
        timestamp: u64,
        /// Whether to commit.
        commit: bool,
    },
    /// The answer to the request before it: whether it was carried out.
    Answer(bool),
    /// The request before it takes long; its answer will come.
    InProgress,
    /// Nothing.
    Other,
}

impl PeerMessage {
    /// What it says about commits.
    pub fn commit_message(&self) -> CommitMessage {
        match &self.0 {
            Message::Request(Request::PrepareCommit(prepare)) => CommitMessage::Prepare {
                timestamp: prepare.timestamp,
                two_phase: prepare.two_phase,
            },
            Message::Request(Request::FinalizeCommit {
                timestamp, commit, ..
            }) => CommitMessage::Finalize {
                timestamp: *timestamp,
                commit: *commit,
            },
            Message::Reply(Reply::Success(success)) => CommitMessage::Answer(*success),
            Message::Reply(Reply::InProgress) => CommitMessage::InProgress,
            Message::Request(_) | Message::Reply(_) => CommitMessage::Other,
        }
    }

    /// The ids (`id(n)`) of the nodes that the transaction creates, if the message carries one.
    pub fn created_nodes(&self) -> impl Iterator<Item = u64> {
        let deltas = match &self.0 {
            Message::Request(Request::PrepareCommit(prepare)) => prepare.deltas.as_slice(),
            Message::Request(_) | Message::Reply(_) => &[],
        };
        deltas.iter().filter_map(|delta| match delta {
            Delta::CreateNode { gid } => Some(gid.0),
            _ => None,
        })
    }
}

/// What a transaction would see that begins after all others.
const NOW: View = View {
    start: u64::MAX,
    transaction: TransactionId(0),
    isolation: Isolation::Snapshot,
};

impl Engine {
    /// Where it stands.
    pub fn inspect(&self) -> Inspection {
        let database = self.node.database.borrow();
        let role = match &*self.node.role.borrow() {
            Role::Main(main) => InspectedRole::Main {
                uuid: main.uuid,
                registrations: main
                    .replicas
                    .iter()
                    .map(|client| InspectedReplica {
                        name: client.name.clone(),
                        address: client.entry.address.clone(),
                        mode: client.mode().as_str(),
                        status: client.state.get().as_str(),
                        durable: client.durable.get(),
                        attached: client.attached.get(),
                    })
                    .collect(),
            },
            Role::Replica(replica) => InspectedRole::Replica {
                main: replica.main,
                serving: self.node.serving.get(),
            },
        };
        Inspection {
            role,
            database: database.uuid,
            epoch: database.epoch,
            history: database.history.iter().map(|past| (past.id, past.last)).collect(),
            durable: database.durable,
            prepared: database.prepared.as_ref().map(|prepared| prepared.timestamp),
            broken: self.node.broken.get(),
        }
    }

    /// Whether it takes writes.
    pub fn is_main(&self) -> bool {
        self.node.is_main()
    }

    /// The last durable timestamp.
    pub fn durable(&self) -> u64 {
        self.node.database.borrow().durable
    }

    /// The timestamp of the transaction that waits for MAIN's decision.
    pub fn prepared(&self) -> Option<u64> {
        let database = self.node.database.borrow();
        database.prepared.as_ref().map(|prepared| prepared.timestamp)
    }

    /// The values of an enum, if there is one of this name.
    pub fn enum_values(&self, name: &str) -> Option<Vec<String>> {
        let database = self.node.database.borrow();
        let mut enums = database.graph.schema().enums.iter();
        Some(enums.find(|known| known.name == name)?.values.clone())
    }

    /// The committed whole number that is this property of the node with this id.
    pub fn committed_integer(&self, node: u64, key: &str) -> Option<i64> {
        self.integer(NOW, node, key)
    }

    /// The whole number that is this property of the node with this id, as the transaction sees it that waits for
    /// MAIN's decision.
    pub fn prepared_integer(&self, node: u64, key: &str) -> Option<i64> {
        let view = {
            let database = self.node.database.borrow();
            database.prepared.as_ref()?.transaction.view
        };
        self.integer(view, node, key)
    }

    fn integer(&self, view: View, node: u64, key: &str) -> Option<i64> {
        let database = self.node.database.borrow();
        let key = database.graph.find_name(key)?;
        match database.graph.node(view, Gid(node))?.property(key)? {
            Value::Int(value) => Some(*value),
            _ => None,
        }
    }

    /// The committed whole numbers that are this property of nodes with this label, in order of their nodes' ids.
    pub fn committed_integers(&self, label: &str, key: &str) -> Vec<i64> {
        self.integers(NOW, label, key)
    }

    /// The same as the transaction sees it that waits for MAIN's decision: what was committed before it, and its
    /// own. Nothing where none waits.
    pub fn prepared_integers(&self, label: &str, key: &str) -> Vec<i64> {
        let view = {
            let database = self.node.database.borrow();
            database
                .prepared
                .as_ref()
                .map(|prepared| prepared.transaction.view)
        };
        view.map_or_else(Vec::new, |view| self.integers(view, label, key))
    }

    fn integers(&self, view: View, label: &str, key: &str) -> Vec<i64> {
        let graph = &self.node.database.borrow().graph;
        let (Some(label), Some(key)) = (graph.find_name(label), graph.find_name(key)) else {
            return Vec::new();
        };
        let nodes = graph.nodes_with_label(view, label).into_iter();
        nodes
            .filter_map(|gid| match graph.node(view, gid)?.property(key)? {
                Value::Int(value) => Some(*value),
                _ => None,
            })
            .collect()
    }

    /// Goes on after a time in which the process did not run (SIGSTOP). What has come meanwhile is seen before it is
    /// seen that time has passed: Memgraph waits for its peers by `poll` (`WaitForReadyRead` in
    /// `src/io/network/socket.cpp`), which reports what is there also when its time is up.
    pub fn resume(&mut self, now: Time, missed: impl IntoIterator<Item = Event>) {
        self.node.io.set_clock(now);
        for event in missed {
            self.node.dispatch(event);
            self.pool.run_until_stalled();
        }
        self.advance(now);
    }
}
