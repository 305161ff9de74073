//! Changes of the schema, with what they do to the graph.

use super::{
    apply::ApplyError,
    graph::{Graph, WriteError},
    index::ValueIndex,
    node::NodeData,
    schema::{Constraint, EnumError, Index, Schema, SchemaChange},
    transaction::{AbortedSchema, Delta, Transaction},
};
use crate::value::Gid;

/// A constraint does not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Violation(pub(crate) Constraint);

/// What became of a schema change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SchemaOutcome {
    Changed,
    /// It was so already.
    Unchanged,
}

impl Graph {
    pub(crate) fn create_index(&mut self, txn: &mut Transaction, index: Index) -> SchemaOutcome {
        if self.schema.indexes.contains(&index) {
            return SchemaOutcome::Unchanged;
        }
        self.add_index(index.clone());
        self.unpublished.indexes.push(index.clone());
        txn.schema_undo.push(SchemaChange::DropIndex(index.clone()));
        txn.deltas.push(Delta::Schema(SchemaChange::CreateIndex(index)));
        SchemaOutcome::Changed
    }

    pub(crate) fn drop_index(&mut self, txn: &mut Transaction, index: Index) -> SchemaOutcome {
        if !self.schema.indexes.contains(&index) {
            return SchemaOutcome::Unchanged;
        }
        self.remove_index(&index);
        txn.schema_undo.push(SchemaChange::CreateIndex(index.clone()));
        txn.deltas.push(Delta::Schema(SchemaChange::DropIndex(index)));
        SchemaOutcome::Changed
    }

    /// Creates a constraint, if the committed data obeys it.
    pub(crate) fn create_constraint(
        &mut self,
        txn: &mut Transaction,
        constraint: Constraint,
    ) -> Result<SchemaOutcome, Violation> {
        if self.schema.constraints.contains(&constraint) {
            return Ok(SchemaOutcome::Unchanged);
        }
        self.add_constraint(constraint.clone());
        let nodes: Vec<Gid> = self.nodes.iter().map(|(gid, _)| gid).collect();
        if self.first_violation(&constraint, &nodes, |graph, gid| {
            graph.nodes.get(gid)?.versions.latest_committed()
        }) {
            self.remove_constraint(&constraint);
            return Err(Violation(constraint));
        }
        self.unpublished.constraints.push(constraint.clone());
        txn.schema_undo
            .push(SchemaChange::DropConstraint(constraint.clone()));
        txn.deltas
            .push(Delta::Schema(SchemaChange::CreateConstraint(constraint)));
        Ok(SchemaOutcome::Changed)
    }

    pub(crate) fn drop_constraint(&mut self, txn: &mut Transaction, constraint: Constraint) -> SchemaOutcome {
        if !self.schema.constraints.contains(&constraint) {
            return SchemaOutcome::Unchanged;
        }
        self.remove_constraint(&constraint);
        txn.schema_undo
            .push(SchemaChange::CreateConstraint(constraint.clone()));
        txn.deltas
            .push(Delta::Schema(SchemaChange::DropConstraint(constraint)));
        SchemaOutcome::Changed
    }

    /// Changes an enum. This is not undone when the transaction aborts.
    pub(crate) fn change_enum(
        &mut self,
        txn: &mut Transaction,
        change: SchemaChange,
    ) -> Result<(), EnumError> {
        match &change {
            SchemaChange::CreateEnum { name, values } => self.schema.create_enum(name, values)?,
            SchemaChange::AddEnumValue { name, value } => self.schema.add_enum_value(name, value)?,
            SchemaChange::RenameEnumValue { name, from, to } => {
                self.schema.rename_enum_value(name, from, to)?;
            }
            SchemaChange::CreateIndex(_)
            | SchemaChange::DropIndex(_)
            | SchemaChange::CreateConstraint(_)
            | SchemaChange::DropConstraint(_) => {}
        }
        txn.deltas.push(Delta::Schema(change));
        Ok(())
    }

    /// Checks what a transaction is about to commit. Existence comes before uniqueness, as in Memgraph.
    pub(crate) fn check_constraints(&self, txn: &Transaction) -> Result<(), Violation> {
        for unique in [false, true] {
            for constraint in &self.schema.constraints {
                if matches!(constraint, Constraint::Unique(..)) == unique
                    && self.first_violation(constraint, &txn.nodes, |graph, gid| graph.node(txn.view, gid))
                {
                    return Err(Violation(constraint.clone()));
                }
            }
        }
        Ok(())
    }

    /// Whether one of `nodes`, as `read` shows it, breaks the constraint.
    fn first_violation<'a>(
        &'a self,
        constraint: &Constraint,
        nodes: &[Gid],
        read: impl Fn(&'a Self, Gid) -> Option<&'a NodeData>,
    ) -> bool {
        match constraint {
            Constraint::Exists(label, key) => {
                let (Some(label), key) = (self.find_name(label), self.find_name(key)) else {
                    return false;
                };
                nodes.iter().filter_map(|gid| read(self, *gid)).any(|node| {
                    node.labels.contains(&label) && key.and_then(|key| node.property(key)).is_none()
                })
            }
            Constraint::Unique(label, keys) => {
                let Some(index) = self.unique_index(label, keys) else {
                    return false;
                };
                nodes.iter().any(|gid| {
                    let Some(values) = read(self, *gid).and_then(|node| index.key_of(node)) else {
                        return false;
                    };
                    index.candidates(&values).any(|other| {
                        let same = |node: Option<&NodeData>| {
                            node.is_some_and(|node| index.key_of(node).as_ref() == Some(&values))
                        };
                        // What others have committed counts even if it is newer than the view.
                        let committed = || self.nodes.get(other)?.versions.latest_committed();
                        other != *gid
                            && (same(read(self, other)) || (!nodes.contains(&other) && same(committed())))
                    })
                })
            }
        }
    }

    fn unique_index(&self, label: &str, keys: &[String]) -> Option<&ValueIndex> {
        let label = self.find_name(label)?;
        let keys: Vec<_> = keys
            .iter()
            .map(|key| self.find_name(key))
            .collect::<Option<_>>()?;
        self.value_indexes
            .iter()
            .find(|index| index.label == label && index.properties == keys)
    }

    /// Repeats a logged change of the schema. What is so already does not fit: a replica refuses the transaction
    /// (`ReadAndApplyDeltasSingleTxn` in `src/dbms/inmemory/replication_handlers.cpp`), and a start ends there
    /// (`AddRecoveredIndexConstraint` in `src/storage/v2/durability/wal.cpp`).
    pub(super) fn apply_schema(
        &mut self,
        txn: &mut Transaction,
        change: SchemaChange,
    ) -> Result<(), ApplyError> {
        let fault = |delta, reason| ApplyError::Write { delta, reason };
        match change {
            SchemaChange::CreateIndex(index) => {
                let kind = index.kind();
                if self.create_index(txn, index) == SchemaOutcome::Unchanged {
                    return Err(ApplyError::Exists(kind));
                }
            }
            SchemaChange::DropIndex(index) => {
                let kind = index.kind();
                if self.drop_index(txn, index) == SchemaOutcome::Unchanged {
                    return Err(ApplyError::Missing(kind));
                }
            }
            SchemaChange::CreateConstraint(constraint) => {
                let kind = constraint.kind();
                let outcome = self.create_constraint(txn, constraint);
                if outcome.map_err(|_| fault("create a constraint", WriteError::Conflict))?
                    == SchemaOutcome::Unchanged
                {
                    return Err(ApplyError::Exists(kind));
                }
            }
            SchemaChange::DropConstraint(constraint) => {
                let kind = constraint.kind();
                if self.drop_constraint(txn, constraint) == SchemaOutcome::Unchanged {
                    return Err(ApplyError::Missing(kind));
                }
            }
            change @ (SchemaChange::CreateEnum { .. }
            | SchemaChange::AddEnumValue { .. }
            | SchemaChange::RenameEnumValue { .. }) => {
                self.change_enum(txn, change)
                    .map_err(|_| fault("change an enum", WriteError::Missing))?;
            }
        }
        Ok(())
    }

    /// Shows what a transaction has created, now that it has committed.
    pub(super) fn publish_schema(&mut self, txn: &Transaction) {
        for change in &txn.schema_undo {
            match change {
                SchemaChange::DropIndex(index) => self.unpublished.indexes.retain(|known| known != index),
                SchemaChange::DropConstraint(constraint) => {
                    self.unpublished.constraints.retain(|known| known != constraint);
                }
                // These are taken back by creating something, or not at all.
                SchemaChange::CreateIndex(_)
                | SchemaChange::CreateConstraint(_)
                | SchemaChange::CreateEnum { .. }
                | SchemaChange::AddEnumValue { .. }
                | SchemaChange::RenameEnumValue { .. } => {}
            }
        }
    }

    /// Does with indexes and constraints what the release does when a transaction is aborted.
    pub(super) fn abort_schema(&mut self, txn: &Transaction) {
        match txn.aborted_schema {
            AbortedSchema::Kept => {
                for change in &txn.schema_undo {
                    if let SchemaChange::DropConstraint(constraint) = change {
                        self.unpublished.constraints.retain(|known| known != constraint);
                    }
                }
            }
            AbortedSchema::KeptUnseen => {}
            AbortedSchema::TakenBack => {
                for change in txn.schema_undo.iter().rev() {
                    self.undo_schema(change);
                }
            }
        }
    }

    fn undo_schema(&mut self, change: &SchemaChange) {
        match change {
            SchemaChange::CreateIndex(index) => self.add_index(index.clone()),
            SchemaChange::DropIndex(index) => self.remove_index(index),
            SchemaChange::CreateConstraint(constraint) => self.add_constraint(constraint.clone()),
            SchemaChange::DropConstraint(constraint) => self.remove_constraint(constraint),
            SchemaChange::CreateEnum { .. }
            | SchemaChange::AddEnumValue { .. }
            | SchemaChange::RenameEnumValue { .. } => {}
        }
    }

    fn add_index(&mut self, index: Index) {
        if let Index::LabelProperties(label, keys) = &index {
            self.build_value_index(label, keys);
        }
        self.schema.indexes.push(index);
    }

    fn remove_index(&mut self, index: &Index) {
        self.schema.indexes.retain(|known| known != index);
        self.unpublished.indexes.retain(|known| known != index);
        self.drop_unused_value_indexes();
    }

    fn add_constraint(&mut self, constraint: Constraint) {
        if let Constraint::Unique(label, keys) = &constraint {
            self.build_value_index(label, keys);
        }
        self.schema.constraints.push(constraint);
    }

    fn remove_constraint(&mut self, constraint: &Constraint) {
        self.schema.constraints.retain(|known| known != constraint);
        self.unpublished.constraints.retain(|known| known != constraint);
        self.drop_unused_value_indexes();
    }

    fn build_value_index(&mut self, label: &str, keys: &[String]) {
        let label = self.names.intern(label);
        let keys: Vec<_> = keys.iter().map(|key| self.names.intern(key)).collect();
        if self
            .value_indexes
            .iter()
            .any(|index| index.label == label && index.properties == keys)
        {
            return;
        }
        let mut index = ValueIndex::new(label, keys);
        for (gid, node) in self.nodes.iter() {
            for version in node.versions.all() {
                index.insert(gid, version);
            }
        }
        self.value_indexes.push(index);
    }

    fn drop_unused_value_indexes(&mut self) {
        let mut needed = Vec::new();
        let of_indexes = self.schema.indexes.iter().filter_map(|index| match index {
            Index::LabelProperties(label, keys) => Some((label, keys)),
            _ => None,
        });
        let of_constraints = self
            .schema
            .constraints
            .iter()
            .filter_map(|constraint| match constraint {
                Constraint::Unique(label, keys) => Some((label, keys)),
                Constraint::Exists(..) => None,
            });
        for (label, keys) in of_indexes.chain(of_constraints) {
            let keys: Option<Vec<_>> = keys.iter().map(|key| self.names.find(key)).collect();
            needed.extend(self.names.find(label).zip(keys));
        }
        self.value_indexes.retain(|index| {
            needed
                .iter()
                .any(|(label, keys)| index.label == *label && index.properties == *keys)
        });
    }

    /// Builds everything that is derived from a schema that was just loaded.
    pub(super) fn restore_schema(&mut self, schema: Schema) {
        for index in &mut self.value_indexes {
            index.clear();
        }
        let Schema {
            indexes,
            constraints,
            enums,
        } = schema;
        for index in indexes {
            self.add_index(index);
        }
        for constraint in constraints {
            self.add_constraint(constraint);
        }
        self.schema.enums = enums;
    }
}
