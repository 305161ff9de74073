//! What the files of a data directory say, for tools and tests.

use super::{
    CorruptFile, snapshot,
    state::{RoleState, Users},
    wal::Wal,
};
use crate::ident::Uuid;

/// What a log file tells about its transactions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogSummary {
    /// The database that it belongs to.
    pub database: Uuid,
    /// The epoch of all its transactions.
    pub epoch: Uuid,
    /// Grows by one with each file.
    pub sequence: u64,
    /// Timestamps of the committed transactions, in the order of the file.
    pub committed: Vec<u64>,
    /// The last transaction, if it was prepared and waits for MAIN's decision.
    pub undecided: Option<u64>,
}

/// What a snapshot tells about where its instance stood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotSummary {
    /// The database that it belongs to.
    pub database: Uuid,
    /// The epoch that went on when it was made.
    pub epoch: Uuid,
    /// Epochs that had ended by then, oldest first, each with its last durable timestamp.
    pub history: Vec<(Uuid, u64)>,
    /// The last durable timestamp.
    pub durable: u64,
}

/// Reads a log file (`wal/..`).
///
/// # Errors
///
/// It has no whole header. A torn tail is no error.
pub fn log(bytes: &[u8]) -> Result<LogSummary, CorruptFile> {
    let wal = Wal::read(bytes.to_vec())?;
    Ok(LogSummary {
        database: wal.header.database,
        epoch: wal.header.epoch,
        sequence: wal.header.sequence,
        committed: wal.transactions().map(|it| it.timestamp).collect(),
        undecided: wal.undecided(),
    })
}

/// Reads a snapshot (`snapshots/..`) with all that is in it.
///
/// # Errors
///
/// It is not complete, or contradicts itself.
pub fn snapshot(bytes: &[u8]) -> Result<SnapshotSummary, CorruptFile> {
    let (header, _) = snapshot::load(bytes)?;
    Ok(SnapshotSummary {
        database: header.database,
        epoch: header.epoch,
        history: header.history.iter().map(|past| (past.id, past.last)).collect(),
        durable: header.durable,
    })
}

/// Whether a state file (`replication/state.json`, `auth/users.json`) can be read.
///
/// # Errors
///
/// It is neither a role nor a list of users.
pub fn state(bytes: &[u8]) -> Result<(), CorruptFile> {
    let role = serde_json::from_slice::<RoleState>(bytes);
    let users = serde_json::from_slice::<Users>(bytes);
    match (role, users) {
        (Err(error), Err(_)) => Err(CorruptFile {
            what: "state file",
            reason: error.to_string(),
        }),
        _ => Ok(()),
    }
}
