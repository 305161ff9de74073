//! What a parsed statement says.
//!
//! The tree is close to Memgraph's grammar (`MemgraphCypher.g4`), with desugaring done: chained comparisons
//! are conjunctions, `<>` and `!=` are one operator, literals are decoded.

mod admin;
mod expression;
mod query;
mod schema;

pub use admin::{
    Auth, DatabaseInfo, Durability, Instance, IsolationLevel, IsolationScope, MultiDatabase, Replication,
    ReplicationInfo, ReplicationRole, Settings, StorageInfoScope, StorageMode, SyncMode, SystemInfo,
    Transaction, TransactionQueue, TransactionStatus,
};
pub use expression::{BinaryOperator, CaseBranch, Expression, Literal, UnaryOperator};
pub use query::{
    Clause, Direction, Hop, Merge, NodePattern, PatternPart, Projection, ProjectionItem, Properties, Query,
    RelationshipPattern, RemoveItem, SetItem, SortItem, SortOrder,
};
pub use schema::{
    Constraint, ConstraintKind, EnumChange, Index, SchemaAction, Trigger, TriggerEvent, TriggerPhase,
    TriggerTarget,
};

/// One statement.
#[derive(Debug, Clone, PartialEq)]
pub enum Statement {
    /// Clauses over the graph.
    Query(Query),
    /// `CREATE INDEX`, `DROP INDEX`
    Index {
        /// Create or drop.
        action: SchemaAction,
        /// What is indexed.
        index: Index,
    },
    /// `CREATE CONSTRAINT`, `DROP CONSTRAINT`
    Constraint {
        /// Create or drop.
        action: SchemaAction,
        /// What must hold.
        constraint: Constraint,
    },
    /// `CREATE ENUM`, `ALTER ENUM`, `DROP ENUM`
    Enum(EnumChange),
    /// `CREATE TRIGGER`, `DROP TRIGGER`, `SHOW TRIGGERS`
    Trigger(Trigger),
    /// The texts `BEGIN`, `COMMIT` and `ROLLBACK`.
    Transaction(Transaction),
    /// Users and passwords.
    Auth(Auth),
    /// `SET REPLICATION ROLE`, `REGISTER REPLICA`, `DROP REPLICA`
    Replication(Replication),
    /// `SHOW REPLICATION ROLE`, `SHOW REPLICAS`
    ReplicationInfo(ReplicationInfo),
    /// Snapshots.
    Durability(Durability),
    /// `SHOW INDEX INFO` and the like: about the current database's schema and counters.
    DatabaseInfo(DatabaseInfo),
    /// `SHOW STORAGE INFO`, `SHOW BUILD INFO` and the like: about the instance.
    SystemInfo(SystemInfo),
    /// Names and choice of databases.
    MultiDatabase(MultiDatabase),
    /// `SHOW TRANSACTIONS`, `TERMINATE TRANSACTIONS`
    TransactionQueue(TransactionQueue),
    /// `SET DATABASE SETTING` and its readers.
    Settings(Settings),
    /// What remains about the instance: memory, dump, storage mode, directory lock, isolation level.
    Instance(Instance),
}
