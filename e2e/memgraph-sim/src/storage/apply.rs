//! Repeating logged changes: on replicas and in recovery.

use super::{
    graph::{Graph, WriteError},
    transaction::{Delta, Transaction},
};

/// A logged change does not fit the graph.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ApplyError {
    #[error("cannot {delta}: {reason:?}")]
    Write { delta: &'static str, reason: WriteError },
    // The texts of `src/storage/v2/durability/wal.cpp`.
    #[error("The {0} already exists!")]
    Exists(&'static str),
    #[error("The {0} doesn't exist!")]
    Missing(&'static str),
}

impl Graph {
    /// Repeats a logged change inside `txn`.
    pub(crate) fn apply(&mut self, txn: &mut Transaction, delta: Delta) -> Result<(), ApplyError> {
        let fault = |delta| move |reason| ApplyError::Write { delta, reason };
        match delta {
            Delta::CreateNode { gid } => {
                if self.nodes.contains(gid) {
                    return Err(ApplyError::Write {
                        delta: "create an existing node",
                        reason: WriteError::Conflict,
                    });
                }
                self.insert_node(txn, gid);
                Ok(())
            }
            Delta::DeleteNode { gid } => self.delete_node(txn, gid).map_err(fault("delete a node")),
            Delta::AddLabel { gid, label } => self
                .add_label(txn, gid, &label)
                .map(drop)
                .map_err(fault("add a label")),
            Delta::RemoveLabel { gid, label } => self
                .remove_label(txn, gid, &label)
                .map(drop)
                .map_err(fault("remove a label")),
            Delta::SetNodeProperty { gid, key, value } => self
                .set_node_property(txn, gid, &key, value)
                .map_err(fault("set a property of a node")),
            Delta::CreateRelationship { gid, kind, from, to } => self
                .insert_relationship(txn, gid, &kind, from, to)
                .map_err(fault("create a relationship")),
            Delta::DeleteRelationship { gid } => self
                .delete_relationship(txn, gid)
                .map_err(fault("delete a relationship")),
            Delta::SetRelationshipProperty { gid, key, value } => self
                .set_relationship_property(txn, gid, &key, value)
                .map_err(fault("set a property of a relationship")),
            Delta::Schema(change) => self.apply_schema(txn, change),
        }
    }
}
