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
