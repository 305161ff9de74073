//! What an instance can tell about itself in numbers.

use std::cell::Cell;

use super::Node;
use crate::storage::{Constraint, Index};

/// A count that only grows.
#[derive(Debug, Default)]
pub(super) struct Counter(Cell<u64>);

impl Counter {
    pub(super) fn add(&self) {
        self.0.set(self.0.get() + 1);
    }
}

/// What the engine counts.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) committed: Counter,
    pub(super) rolled_back: Counter,
    pub(super) recovery_succeeded: Counter,
    pub(super) recovery_failed: Counter,
    pub(super) recovery_skipped: Counter,
}

/// A look at an instance. Counts begin at its start.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Statistics {
    /// The UUID of the database.
    pub database: String,
    /// Nodes.
    pub vertices: u64,
    /// Relationships.
    pub edges: u64,
    /// Sessions with a transaction.
    pub active_transactions: u64,
    /// Attempts to commit, as Memgraph counts them: also those that fail.
    pub committed_transactions: u64,
    /// Explicit rollbacks.
    pub rolled_back_transactions: u64,
    /// Indexes on a label.
    pub label_indexes: u64,
    /// Indexes on a label and properties.
    pub label_property_indexes: u64,
    /// Indexes on a type of relationships.
    pub edge_type_indexes: u64,
    /// Indexes on a type of relationships and a property.
    pub edge_type_property_indexes: u64,
    /// Existence constraints.
    pub existence_constraints: u64,
    /// Unique constraints.
    pub unique_constraints: u64,
    /// Recoveries of replicas by this MAIN that were carried out.
    pub recoveries_succeeded: u64,
    /// Those that broke off.
    pub recoveries_failed: u64,
    /// Those that were not needed any more.
    pub recoveries_skipped: u64,
}

impl Node {
    pub(super) fn statistics(&self) -> Statistics {
        let database = self.database.borrow();
        let (vertices, edges) = database.graph.counts();
        let schema = database.graph.schema();
        let count = |found: usize| u64::try_from(found).unwrap_or(u64::MAX);
        let indexes =
            |wanted: fn(&Index) -> bool| count(schema.indexes.iter().filter(|index| wanted(index)).count());
        let constraints = |wanted: fn(&Constraint) -> bool| {
            count(schema.constraints.iter().filter(|it| wanted(it)).count())
        };
        let counters = &self.counters;
        Statistics {
            database: database.uuid.to_string(),
            vertices: count(vertices),
            edges: count(edges),
            active_transactions: count(self.sessions.running().len()),
            committed_transactions: counters.committed.0.get(),
            rolled_back_transactions: counters.rolled_back.0.get(),
            label_indexes: indexes(|index| matches!(index, Index::Label(_))),
            label_property_indexes: indexes(|index| matches!(index, Index::LabelProperties(..))),
            edge_type_indexes: indexes(|index| matches!(index, Index::RelationshipType(_))),
            edge_type_property_indexes: indexes(|index| matches!(index, Index::RelationshipTypeProperty(..))),
            existence_constraints: constraints(|it| matches!(it, Constraint::Exists(..))),
            unique_constraints: constraints(|it| matches!(it, Constraint::Unique(..))),
            recoveries_succeeded: counters.recovery_succeeded.0.get(),
            recoveries_failed: counters.recovery_failed.0.get(),
            recoveries_skipped: counters.recovery_skipped.0.get(),
        }
    }
}
