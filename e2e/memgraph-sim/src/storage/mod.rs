//! The graph in memory, its schema and its transactions.

mod apply;
mod dump;
mod finish;
mod gids;
mod graph;
mod index;
mod mvcc;
mod names;
mod node;
mod persist;
mod schema;
mod schema_ops;
mod transaction;

#[cfg(test)]
mod tests;

pub(crate) use graph::{Graph, WriteError};
pub(crate) use mvcc::{TransactionId, View};
pub(crate) use names::Name;
pub(crate) use persist::{NodeRecord, RelationshipRecord};
pub(crate) use schema::{Constraint, EnumError, Index, Schema, SchemaChange};
pub(crate) use schema_ops::{SchemaOutcome, Violation};
pub(crate) use transaction::{AbortedSchema, Delta, Transaction};
