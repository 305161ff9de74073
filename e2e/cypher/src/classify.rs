//! What a statement does to an instance, and where Memgraph refuses it: pure functions on the tree.

use bolt_server::Version;

use crate::ast::{
    Auth, Clause, DatabaseInfo, Durability, EnumChange, Instance, MultiDatabase, Query, SchemaAction,
    Statement, SystemInfo, Trigger,
};

/// Whether a statement reads or writes data, as the planner tells it (`ReadWriteTypeChecker`). This is the
/// `type` of its summary, and what replicas go by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Access {
    /// Touches no data; its summary says `rw`.
    None,
    /// Only reads; `r`.
    Read,
    /// Only writes; `w`.
    Write,
    /// Reads and writes; `rw`.
    ReadWrite,
}

impl Access {
    /// Whether it writes.
    pub const fn writes(self) -> bool {
        matches!(self, Self::Write | Self::ReadWrite)
    }

    const fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::None, access) | (access, Self::None) => access,
            (Self::Read, Self::Read) => Self::Read,
            (Self::Write, Self::Write) => Self::Write,
            _ => Self::ReadWrite,
        }
    }
}

/// What kind of statement it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A query that changes nothing.
    Read,
    /// A query that changes the graph.
    Write,
    /// A change of indexes, constraints, enums or triggers.
    Schema,
    /// `BEGIN`, `COMMIT`, `ROLLBACK`
    Transaction,
    /// Anything else.
    Admin,
}

/// The lock that a statement holds on the storage while it runs, in the mode IN_MEMORY_TRANSACTIONAL
/// (`QueryTransactionRequirements`). None of them runs beside a holder of [`StorageAccess::Unique`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum StorageAccess {
    /// Beside everything but unique access.
    Read,
    /// Beside readers and writers.
    Write,
    /// Beside readers, but not beside writers.
    ReadOnly,
    /// Alone.
    Unique,
}

/// How a replica refuses a statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ReplicaRefusal {
    /// While it is prepared: the failure of RUN.
    WhenPrepared,
    /// When its transaction commits: the failure of PULL, or of COMMIT.
    WhenCommitted,
}

impl ReplicaRefusal {
    /// Memgraph's message.
    pub const fn message(self) -> &'static str {
        match self {
            Self::WhenPrepared => {
                "Write queries are forbidden on the replica instance. Replica instances accept only read queries, \
                 while the main instance accepts read and write queries. Please retry your query on the main \
                 instance."
            }
            Self::WhenCommitted => "Queries on replica shouldn't write.",
        }
    }
}

impl Statement {
    /// What kind of statement this is.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Query(query) if query.access().writes() => Kind::Write,
            Self::Query(_) => Kind::Read,
            Self::Index { .. } | Self::Constraint { .. } | Self::Enum(_) => Kind::Schema,
            Self::Trigger(Trigger::Create { .. } | Trigger::Drop { .. }) => Kind::Schema,
            Self::Transaction(_) => Kind::Transaction,
            Self::Trigger(Trigger::Show)
            | Self::Auth(_)
            | Self::Replication(_)
            | Self::ReplicationInfo(_)
            | Self::Durability(_)
            | Self::DatabaseInfo(_)
            | Self::SystemInfo(_)
            | Self::MultiDatabase(_)
            | Self::TransactionQueue(_)
            | Self::Settings(_)
            | Self::Instance(_) => Kind::Admin,
        }
    }

    /// Whether it reads or writes data, by the planner's account: creating a constraint or a trigger does
    /// neither there.
    pub fn access(&self) -> Access {
        match self {
            Self::Query(query) => query.access(),
            Self::Index { .. } | Self::Enum(_) => Access::Write,
            Self::MultiDatabase(MultiDatabase::Create(_) | MultiDatabase::Drop { .. }) => Access::Write,
            Self::Instance(Instance::DumpDatabase) => Access::Read,
            _ => Access::None,
        }
    }

    /// How a replica refuses it, if it does. What depends on more than the statement is not told here: the
    /// replication and user statements have refusals of their own, which the database knows.
    pub fn refusal_on_replica(&self, version: Version) -> Option<ReplicaRefusal> {
        match self {
            // Unimplemented everywhere.
            Self::Enum(EnumChange::Drop { .. } | EnumChange::RemoveValue { .. }) => None,
            // 3.4 takes it, in memory only.
            Self::Constraint { .. } if version < Version::V3_5 => None,
            Self::Constraint { .. } => Some(ReplicaRefusal::WhenCommitted),
            _ if self.access().writes() => Some(ReplicaRefusal::WhenPrepared),
            _ => None,
        }
    }

    /// The message with which Memgraph refuses it inside of an explicit transaction, while it prepares it.
    /// `None` if it may run there.
    pub fn refusal_in_transaction(&self, version: Version) -> Option<String> {
        let what = match self {
            Self::Query(_) | Self::Transaction(_) => return None,
            Self::Index { .. } => "Index manipulation",
            Self::Constraint { .. } => "Constraint manipulation",
            Self::Enum(EnumChange::Drop { .. } | EnumChange::RemoveValue { .. }) => return None,
            Self::Enum(_) => "Creating or modifying enums",
            Self::Trigger(_) => "Managing triggers",
            Self::Auth(_) => "Managing users",
            Self::Replication(_) | Self::ReplicationInfo(_) => "Managing replication",
            Self::Durability(Durability::CreateSnapshot) => "Creating snapshots",
            Self::Durability(Durability::RecoverSnapshot { .. }) => "Recovering from snapshot",
            // The wrong noun is Memgraph's.
            Self::Durability(Durability::ShowSnapshots | Durability::ShowNextSnapshot) => {
                "Show schema info query"
            }
            Self::DatabaseInfo(DatabaseInfo::Enums) => return None,
            Self::SystemInfo(SystemInfo::Version) => "Version information query",
            Self::SystemInfo(SystemInfo::Config) => "Configuration information query",
            Self::DatabaseInfo(_) | Self::SystemInfo(_) => "Storage information query",
            Self::MultiDatabase(MultiDatabase::ShowAll | MultiDatabase::ShowCurrent) => return None,
            Self::MultiDatabase(MultiDatabase::Use(_)) => "Switching the currently active database",
            Self::MultiDatabase(_) => "Creating/dropping databases",
            Self::TransactionQueue(_) => "Querying transaction status",
            Self::Settings(_) => "Updating or fetching settings",
            Self::Instance(Instance::DumpDatabase) => return None,
            Self::Instance(Instance::ReloadBoltTls | Instance::ReloadClusterTls) => "Reloading SSL",
            Self::Instance(Instance::FreeMemory) => "Free memory query",
            Self::Instance(Instance::SetStorageMode(_)) => "Modifying storage modes",
            Self::Instance(Instance::SetIsolationLevel { .. }) => "Modifying isolation levels",
            Self::Instance(
                Instance::LockDataDirectory
                | Instance::UnlockDataDirectory
                | Instance::DataDirectoryLockStatus,
            ) => "Locking paths",
        };
        let (known, particular) = if version >= Version::V3_8 {
            ("known", "")
        } else {
            ("knwon", " ")
        };
        Some(format!(
            "{what} is not allowed in multicommand transactions. A multicommand transaction, also known as an \
             explicit transaction, groups multiple commands into a single atomic operation. Instead, please use an \
             implicit transaction, also {known} as an auto committing transaction, in order to execute this \
             particular{particular}query. For more details, visit https://memgraph.com/docs"
        ))
    }

    /// Whether it is a system query, of which an instance runs one at a time: after 100 ms of waiting,
    /// another one fails with `Multiple concurrent system queries are not supported.`
    pub const fn is_system_query(&self) -> bool {
        matches!(
            self,
            Self::Auth(_)
                | Self::Replication(_)
                | Self::MultiDatabase(MultiDatabase::Create(_) | MultiDatabase::Drop { .. })
        )
    }

    /// The lock on the storage that it runs under, if it takes one in a transaction of its own. Inside of an
    /// explicit transaction, that one's access counts: [`StorageAccess::Write`], or [`StorageAccess::Read`] if
    /// it was opened for reading.
    pub fn storage_access(&self, version: Version) -> Option<StorageAccess> {
        match self {
            Self::Query(query) if query.clauses.iter().any(Clause::updates) => Some(StorageAccess::Write),
            Self::Query(_) => Some(StorageAccess::Read),
            Self::Index {
                action: SchemaAction::Create,
                ..
            } => Some(StorageAccess::ReadOnly),
            Self::Index {
                action: SchemaAction::Drop,
                ..
            } => Some(StorageAccess::Read),
            Self::Constraint { .. } if version >= Version::V3_8 => Some(StorageAccess::ReadOnly),
            Self::Constraint { .. } => Some(StorageAccess::Unique),
            Self::Enum(EnumChange::Drop { .. } | EnumChange::RemoveValue { .. }) => None,
            Self::Enum(_) => Some(StorageAccess::Unique),
            Self::Durability(Durability::RecoverSnapshot { .. }) => Some(StorageAccess::Unique),
            Self::Trigger(Trigger::Create { .. }) => Some(StorageAccess::Read),
            Self::DatabaseInfo(DatabaseInfo::Enums) | Self::Instance(Instance::DumpDatabase) => {
                Some(StorageAccess::Read)
            }
            Self::DatabaseInfo(_) if version < Version::V3_8 => Some(StorageAccess::Read),
            _ => None,
        }
    }

    /// Whether this only asks who is logged in or who exists, and changes no user.
    pub const fn only_shows_users(&self) -> bool {
        matches!(self, Self::Auth(Auth::ShowUsers | Auth::ShowCurrentUser))
    }
}

impl Query {
    /// Whether it reads or writes the graph.
    pub fn access(&self) -> Access {
        self.clauses
            .iter()
            .fold(Access::None, |access, clause| access.and(clause.access()))
    }
}

impl Clause {
    /// Whether it reads or writes the graph.
    pub const fn access(&self) -> Access {
        match self {
            Self::Match { .. } => Access::Read,
            Self::Create { .. } | Self::Set(_) | Self::Remove(_) | Self::Delete { .. } => Access::Write,
            Self::Merge(_) => Access::ReadWrite,
            Self::Unwind { .. } | Self::With { .. } | Self::Return(_) => Access::None,
        }
    }

    /// Whether it can change the graph.
    pub const fn updates(&self) -> bool {
        self.access().writes()
    }
}
