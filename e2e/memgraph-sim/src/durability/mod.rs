//! What an instance keeps on disk: log files, snapshots and small state files.
//!
//! Names and places are Memgraph's (`snapshots/`, `wal/`, `replication/`, ...); the encoding of the files is
//! the simulator's own.

pub(crate) mod files;
mod frame;
pub mod inspect;
pub(crate) mod snapshot;
pub(crate) mod state;
pub(crate) mod wal;

pub use frame::CorruptFile;
