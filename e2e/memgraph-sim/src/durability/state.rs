//! The small state files: role, registered replicas, users.
//!
//! Memgraph keeps them in key-value stores (RocksDB) in folders of their own, so that they outlive the
//! removal of `snapshots/` and `wal/`. Here each folder holds one JSON file.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::files;
use crate::ident::Uuid;

/// How a replica takes part in commits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReplicaMode {
    /// MAIN waits for it, but commits in any case.
    Sync,
    /// MAIN does not wait for it.
    Async,
    /// MAIN commits only with its consent (two-phase commit).
    StrictSync,
}

impl ReplicaMode {
    /// The name in SHOW REPLICAS.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Sync => "sync",
            Self::Async => "async",
            Self::StrictSync => "strict_sync",
        }
    }

    /// The name in error messages.
    pub(crate) const fn keyword(self) -> &'static str {
        match self {
            Self::Sync => "SYNC",
            Self::Async => "ASYNC",
            Self::StrictSync => "STRICT_SYNC",
        }
    }
}

/// A registered replica, as MAIN remembers it over restarts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ReplicaEntry {
    /// `host:port`, not resolved.
    pub(crate) address: String,
    pub(crate) mode: ReplicaMode,
    /// Seconds between pings, as configured when it was registered.
    pub(crate) check_frequency: u64,
}

/// The role and what belongs to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "replication_role", rename_all = "snake_case")]
pub(crate) enum RoleState {
    Main {
        main_uuid: Uuid,
        /// By name: a restart loses the order of registration, as with Memgraph's key-value store.
        replicas: BTreeMap<String, ReplicaEntry>,
    },
    Replica {
        port: u16,
        /// The MAIN that is obeyed.
        main_uuid: Uuid,
    },
}

/// Users and the salted hashes of their passwords.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Users(pub(crate) BTreeMap<String, PasswordHash>);

/// A password that can be checked but not read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PasswordHash {
    salt: Uuid,
    digest: String,
}

impl PasswordHash {
    /// Hashes a password. The simulator guards no secrets: one round of SHA-256 will do.
    pub(crate) fn new(password: &str, salt: Uuid) -> Self {
        Self {
            salt,
            digest: digest(password, salt),
        }
    }

    /// Whether it is the password of this hash.
    pub(crate) fn matches(&self, password: &str) -> bool {
        self.digest == digest(password, self.salt)
    }
}

fn digest(password: &str, salt: Uuid) -> String {
    use sha2::Digest as _;
    let hash = sha2::Sha256::digest(format!("{salt}{password}"));
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The file with the role.
pub(crate) fn role_file() -> String {
    format!("{}/state.json", files::REPLICATION)
}

/// The file with the users.
pub(crate) fn users_file() -> String {
    format!("{}/users.json", files::AUTH)
}

/// The file with the run-time settings.
pub(crate) fn settings_file() -> String {
    "settings/settings.json".to_owned()
}

/// The file with the UUID of the default database, which outlives its data.
pub(crate) fn database_file() -> String {
    "databases/.durability/memgraph.json".to_owned()
}
