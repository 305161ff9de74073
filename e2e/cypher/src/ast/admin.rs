//! Statements about the instance rather than the graph.

/// The texts that open and close an explicit transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Transaction {
    /// `BEGIN`
    Begin,
    /// `COMMIT`
    Commit,
    /// `ROLLBACK`
    Rollback,
}

/// A change of roles or replicas: a system query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Replication {
    /// `SET REPLICATION ROLE TO ..`
    SetRole(ReplicationRole),
    /// `REGISTER REPLICA name mode TO "address"`
    RegisterReplica {
        /// The replica's name at this MAIN.
        name: String,
        /// How commits reach it.
        mode: SyncMode,
        /// `host` or `host:port`, not checked here.
        address: String,
    },
    /// `DROP REPLICA name`
    DropReplica {
        /// The replica's name at this MAIN.
        name: String,
    },
}

/// A role to take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ReplicationRole {
    /// `MAIN`
    Main,
    /// `REPLICA WITH PORT port`
    Replica {
        /// Any integer literal; the range is checked when it is executed.
        port: i64,
    },
}

/// How commits reach a replica.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SyncMode {
    /// Commits wait for it, but happen without it.
    Sync,
    /// Commits do not wait for it.
    Async,
    /// Commits happen only with it (3.5 and newer).
    StrictSync,
}

/// A look at roles or replicas.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ReplicationInfo {
    /// `SHOW REPLICATION ROLE`
    ShowRole,
    /// `SHOW REPLICAS`
    ShowReplicas,
}

/// Users and passwords.
#[derive(Clone, PartialEq, Eq)]
pub enum Auth {
    /// `CREATE USER name IDENTIFIED BY password`
    CreateUser {
        /// The user.
        name: String,
        /// `IF NOT EXISTS`
        if_not_exists: bool,
        /// None for a user without a password.
        password: Option<String>,
    },
    /// `DROP USER name`
    DropUser {
        /// The user.
        name: String,
    },
    /// `SET PASSWORD FOR name TO password`
    SetPassword {
        /// The user.
        name: String,
        /// `null` removes the password.
        password: Option<String>,
    },
    /// `SET PASSWORD TO new REPLACE old`: for the current user.
    ChangePassword {
        /// The new one.
        new: String,
        /// The present one.
        old: String,
    },
    /// `SHOW USERS`
    ShowUsers,
    /// `SHOW CURRENT USER`
    ShowCurrentUser,
}

impl std::fmt::Debug for Auth {
    /// Leaves passwords out.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::CreateUser {
                name, if_not_exists, ..
            } => f
                .debug_struct("CreateUser")
                .field("name", name)
                .field("if_not_exists", if_not_exists)
                .finish_non_exhaustive(),
            Self::DropUser { name } => f.debug_struct("DropUser").field("name", name).finish(),
            Self::SetPassword { name, .. } => f
                .debug_struct("SetPassword")
                .field("name", name)
                .finish_non_exhaustive(),
            Self::ChangePassword { .. } => f.debug_struct("ChangePassword").finish_non_exhaustive(),
            Self::ShowUsers => f.write_str("ShowUsers"),
            Self::ShowCurrentUser => f.write_str("ShowCurrentUser"),
        }
    }
}

/// Snapshots.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Durability {
    /// `CREATE SNAPSHOT`
    CreateSnapshot,
    /// `RECOVER SNAPSHOT "path" FORCE`
    RecoverSnapshot {
        /// A file on the instance.
        path: String,
        /// Replace what the database holds.
        force: bool,
    },
    /// `SHOW SNAPSHOTS`
    ShowSnapshots,
    /// `SHOW NEXT SNAPSHOT` (3.5 and newer)
    ShowNextSnapshot,
}

/// About the current database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DatabaseInfo {
    /// `SHOW INDEX INFO`, `SHOW INDEXES`
    Indexes,
    /// `SHOW CONSTRAINT INFO`, `SHOW CONSTRAINTS`
    Constraints,
    /// `SHOW ENUMS`
    Enums,
    /// `SHOW METRICS INFO`, `SHOW METRICS` (Enterprise)
    Metrics,
}

/// About the instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SystemInfo {
    /// `SHOW STORAGE INFO ..`
    Storage(StorageInfoScope),
    /// `SHOW BUILD INFO`
    Build,
    /// `SHOW LICENSE INFO`
    License,
    /// `SHOW ACTIVE USERS INFO`
    ActiveUsers,
    /// `SHOW VERSION`
    Version,
    /// `SHOW CONFIG`
    Config,
}

/// What `SHOW STORAGE INFO` is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StorageInfoScope {
    /// Without `ON`: what that covers depends on the release.
    Unqualified,
    /// `ON DATABASE name` (3.10 and newer)
    Database(String),
    /// `ON CURRENT DATABASE` (3.11 and newer)
    CurrentDatabase,
}

/// Names and choice of databases.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MultiDatabase {
    /// `SHOW DATABASES` (Enterprise)
    ShowAll,
    /// `SHOW DATABASE`, `SHOW CURRENT DATABASE`
    ShowCurrent,
    /// `USE DATABASE name`
    Use(String),
    /// `CREATE DATABASE name` (Enterprise)
    Create(String),
    /// `DROP DATABASE name` (Enterprise)
    Drop {
        /// The database.
        name: String,
        /// Also with connections on it.
        force: bool,
    },
}

/// Open transactions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TransactionQueue {
    /// `SHOW TRANSACTIONS`
    Show {
        /// Only these (3.10 and newer); none means all.
        statuses: Vec<TransactionStatus>,
    },
    /// `TERMINATE TRANSACTIONS "id", ..`
    Terminate {
        /// Ids as the text has them; what is no id is an error when it is executed.
        ids: Vec<String>,
    },
}

/// A state of a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TransactionStatus {
    /// `RUNNING`
    Running,
    /// `COMMITTING`
    Committing,
    /// `ABORTING`
    Aborting,
}

/// Settings that change at run time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Settings {
    /// `SET DATABASE SETTING "name" TO "value"`
    Set {
        /// The setting.
        name: String,
        /// Its new value.
        value: String,
    },
    /// `SHOW DATABASE SETTING "name"`
    Show {
        /// The setting.
        name: String,
    },
    /// `SHOW DATABASE SETTINGS`
    ShowAll,
}

/// What remains about the instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Instance {
    /// `FREE MEMORY`
    FreeMemory,
    /// `DUMP DATABASE`
    DumpDatabase,
    /// `STORAGE MODE ..`
    SetStorageMode(StorageMode),
    /// `LOCK DATA DIRECTORY`
    LockDataDirectory,
    /// `UNLOCK DATA DIRECTORY`
    UnlockDataDirectory,
    /// `DATA DIRECTORY LOCK STATUS`
    DataDirectoryLockStatus,
    /// `RELOAD BOLT_SERVER TLS`
    ReloadBoltTls,
    /// `RELOAD INTRA_CLUSTER TLS`
    ReloadClusterTls,
    /// `SET .. TRANSACTION ISOLATION LEVEL ..`
    SetIsolationLevel {
        /// For whom.
        scope: IsolationScope,
        /// Which.
        level: IsolationLevel,
    },
}

/// How a database keeps its data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StorageMode {
    /// `IN_MEMORY_TRANSACTIONAL`
    InMemoryTransactional,
    /// `IN_MEMORY_ANALYTICAL`
    InMemoryAnalytical,
    /// `ON_DISK_TRANSACTIONAL`
    OnDiskTransactional,
}

/// Whom an isolation level is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum IsolationScope {
    /// `GLOBAL`
    Global,
    /// `SESSION`
    Session,
    /// `NEXT`
    Next,
}

/// What a transaction sees of others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum IsolationLevel {
    /// `SNAPSHOT ISOLATION`
    Snapshot,
    /// `READ COMMITTED`
    ReadCommitted,
    /// `READ UNCOMMITTED`
    ReadUncommitted,
}
