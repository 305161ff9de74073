//! An open transaction, and the deltas that it will leave in the log.

use std::sync::Arc;

use bolt_server::ChangeCounters;
use serde::{Deserialize, Serialize};

use super::{
    mvcc::{TransactionId, View},
    schema::SchemaChange,
};
use crate::{
    config::Isolation,
    value::{Gid, Value},
};

/// One change, as it is logged and sent to replicas.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) enum Delta {
    CreateNode {
        gid: Gid,
    },
    DeleteNode {
        gid: Gid,
    },
    AddLabel {
        gid: Gid,
        label: Arc<str>,
    },
    RemoveLabel {
        gid: Gid,
        label: Arc<str>,
    },
    /// A null value removes the property.
    SetNodeProperty {
        gid: Gid,
        key: Arc<str>,
        value: Value,
    },
    CreateRelationship {
        gid: Gid,
        kind: Arc<str>,
        from: Gid,
        to: Gid,
    },
    DeleteRelationship {
        gid: Gid,
    },
    /// A null value removes the property.
    SetRelationshipProperty {
        gid: Gid,
        key: Arc<str>,
        value: Value,
    },
    Schema(SchemaChange),
}

/// What becomes of the indexes and constraints that an aborted transaction has created or dropped.
///
/// They are changed at once, for everybody. Before 3.10, `src/storage/v2/inmemory/storage.cpp` has no abort callbacks
/// that would take that back, so that it stays until a restart, although it is in no log.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum AbortedSchema {
    /// Up to 3.6: what was dropped is gone. A new index cannot be seen, as only a commit publishes it, but it is in the
    /// way of another attempt. Constraints are not published: a new one is in force, and shown.
    Kept,
    /// In 3.8 constraints are published, too: a new one is in force without being shown.
    KeptUnseen,
    /// Since 3.10.
    #[default]
    TakenBack,
}

/// A transaction of the storage.
#[derive(Debug)]
pub(crate) struct Transaction {
    pub(crate) view: View,
    /// In the order in which they happened.
    pub(crate) deltas: Vec<Delta>,
    /// Nodes and relationships with a pending version, each once.
    pub(super) nodes: Vec<Gid>,
    pub(super) relationships: Vec<Gid>,
    /// Index and constraint changes to take back on abort, newest last.
    pub(super) schema_undo: Vec<SchemaChange>,
    pub(crate) aborted_schema: AbortedSchema,
    /// What the client is told, counted over the running statement.
    pub(crate) changes: ChangeCounters,
}

impl Transaction {
    pub(super) fn new(id: TransactionId, start: u64) -> Self {
        Self {
            view: View {
                start,
                transaction: id,
                isolation: Isolation::Snapshot,
            },
            deltas: Vec::new(),
            nodes: Vec::new(),
            relationships: Vec::new(),
            schema_undo: Vec::new(),
            aborted_schema: AbortedSchema::default(),
            changes: ChangeCounters::default(),
        }
    }

    pub(crate) fn id(&self) -> TransactionId {
        self.view.transaction
    }

    /// Whether it changed data, and not only the schema.
    pub(crate) fn has_data_deltas(&self) -> bool {
        self.deltas.iter().any(|delta| !matches!(delta, Delta::Schema(_)))
    }
}
