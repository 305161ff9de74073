//! The one database of an instance (`memgraph`) with its logical time and its log.

use std::{collections::VecDeque, rc::Rc};

use bolt_server::Version;

use super::{
    event::DiskOperation,
    io::Io,
    lock::{Access, Guard},
    snapshots::WalFile,
};
use crate::{
    config::Config,
    durability::{
        files,
        snapshot::{PastEpoch, SnapshotHeader},
        wal::{self, WalHeader},
    },
    ident::Uuid,
    storage::{AbortedSchema, Delta, Graph, Transaction},
};

/// How many past epochs are remembered.
const HISTORY_LIMIT: usize = 1000;

/// The log file that is being written.
#[derive(Debug, Clone)]
pub(super) struct CurrentWal {
    pub(super) path: String,
    created_at: i64,
    pub(super) sequence: u64,
    pub(super) from: Option<u64>,
    pub(super) to: Option<u64>,
    pub(super) size: u64,
    /// Bytes since its last sync.
    unsynced: u64,
}

impl CurrentWal {
    /// The sync of all that was written until now.
    pub(super) fn sync(&mut self) -> DiskOperation {
        DiskOperation::Sync {
            path: self.path.clone(),
            unsynced: std::mem::take(&mut self.unsynced),
        }
    }

    fn append(&mut self, io: &Io, bytes: Vec<u8>) {
        self.size += bytes.len() as u64;
        self.unsynced += bytes.len() as u64;
        io.write(DiskOperation::Append(self.path.clone(), bytes));
    }
}

/// A transaction of a two-phase commit that waits for MAIN's decision.
pub(super) struct Prepared {
    pub(super) transaction: Transaction,
    pub(super) timestamp: u64,
    /// Held until the decision.
    pub(super) _access: Guard<Access>,
}

/// By what two snapshots are told apart (`SnapshotDigest` in `src/storage/v2/inmemory/storage.hpp`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SnapshotDigest {
    database: Uuid,
    epoch: Uuid,
    past_epochs: usize,
    durable: u64,
}

/// Graph, logical time, epochs and log.
pub(super) struct Database {
    pub(super) graph: Graph,
    pub(super) uuid: Uuid,
    pub(super) epoch: Uuid,
    pub(super) history: VecDeque<PastEpoch>,
    /// The last durable timestamp: MAIN's commit timestamp of the newest transaction. 0 if there is none.
    pub(super) durable: u64,
    /// The next value of the counter from which starts and commits get their timestamps.
    timestamp: u64,
    pub(super) wal: Option<CurrentWal>,
    pub(super) next_sequence: u64,
    /// Transactions since the last sync of the log.
    unsynced: u64,
    pub(super) prepared: Option<Prepared>,
    /// STORAGE MODE IN_MEMORY_ANALYTICAL: nothing is logged or replicated.
    pub(super) analytical: bool,
    aborted_schema: AbortedSchema,
}

/// What remains to be done after a transaction was logged.
#[must_use]
pub(super) struct Logged {
    /// The sync that keeps the promise of `--storage-wal-file-flush-every-n-tx`.
    pub(super) sync: Option<DiskOperation>,
    /// The file is to be closed.
    pub(super) full: bool,
}

impl Database {
    pub(super) fn new(uuid: Uuid, epoch: Uuid, version: Version) -> Self {
        let aborted_schema = if version < Version::V3_8 {
            AbortedSchema::Kept
        } else if version < Version::V3_10 {
            AbortedSchema::KeptUnseen
        } else {
            AbortedSchema::TakenBack
        };
        Self {
            graph: Graph::default(),
            uuid,
            epoch,
            history: VecDeque::new(),
            durable: 0,
            timestamp: 0,
            wal: None,
            next_sequence: 0,
            unsynced: 0,
            prepared: None,
            analytical: false,
            aborted_schema,
        }
    }

    /// Takes the next timestamp.
    pub(super) fn tick(&mut self) -> u64 {
        let now = self.timestamp;
        self.timestamp += 1;
        now
    }

    /// Opens a transaction.
    pub(super) fn begin(&mut self) -> Transaction {
        let start = self.tick();
        let mut transaction = self.graph.begin(start);
        transaction.aborted_schema = self.aborted_schema;
        transaction
    }

    /// Makes the next timestamp larger than the last durable one.
    pub(super) fn catch_up(&mut self) {
        self.timestamp = self.timestamp.max(self.durable + 1);
    }

    /// Publishes a transaction whose durable timestamp is `durable`, visible after the local timestamp `at`.
    pub(super) fn publish(&mut self, transaction: Transaction, at: u64, durable: u64) {
        self.graph.commit(transaction, at);
        self.durable = durable;
    }

    /// Remembers the present epoch, unless nothing was committed since the last one ended.
    pub(super) fn remember_epoch(&mut self) {
        if self.history.back().is_some_and(|past| past.last == self.durable) {
            return;
        }
        if self.history.len() == HISTORY_LIMIT {
            self.history.pop_front();
        }
        self.history.push_back(PastEpoch {
            id: self.epoch,
            last: self.durable,
        });
    }

    /// The epoch that a heartbeat reports since 3.5: the last one with a commit.
    pub(super) fn last_epoch_with_commit(&self) -> Uuid {
        match self.history.back() {
            Some(past) if past.last == self.durable => past.id,
            _ => self.epoch,
        }
    }

    /// Remembers an epoch of which recovery has just found transactions. Also the present epoch gets into the
    /// history in this way (`RecoverData` in `src/storage/v2/durability/durability.cpp`); if it goes on after
    /// that and ends, it is there twice.
    pub(super) fn note_recovered_epoch(&mut self, epoch: Uuid) {
        match self.history.back_mut() {
            Some(past) if past.id == epoch => past.last = self.durable,
            _ => {
                self.history.push_back(PastEpoch {
                    id: epoch,
                    last: self.durable,
                });
                self.epoch = epoch;
            }
        }
    }

    /// What a snapshot says besides the graph.
    pub(super) fn snapshot_header(&self) -> SnapshotHeader {
        SnapshotHeader {
            database: self.uuid,
            epoch: self.epoch,
            history: self.history.iter().copied().collect(),
            durable: self.durable,
            next_ids: self.graph.next_ids(),
            schema: self.graph.published_schema(),
        }
    }

    /// Takes the content of a snapshot in place of everything there is.
    pub(super) fn load(&mut self, header: SnapshotHeader, graph: Graph) {
        self.uuid = header.database;
        self.epoch = header.epoch;
        self.history = header.history.into();
        self.durable = header.durable;
        self.graph = graph;
        self.catch_up();
    }

    /// Empties the database, and starts an epoch. The clock goes on.
    pub(super) fn clear(&mut self, epoch: Uuid) {
        self.graph = Graph::default();
        self.epoch = epoch;
        self.history.clear();
        self.durable = 0;
        self.next_sequence = 0;
    }

    /// What is the same as long as a snapshot would be.
    pub(super) fn digest(&self) -> SnapshotDigest {
        SnapshotDigest {
            database: self.uuid,
            epoch: self.epoch,
            past_epochs: self.history.len(),
            durable: self.durable,
        }
    }

    /// Writes a transaction to the log, opening a file if there is none.
    pub(super) fn log(
        &mut self,
        config: &Config,
        io: &Io,
        timestamp: u64,
        deltas: &Rc<Vec<Delta>>,
        prepared: bool,
    ) {
        if !config.wal_enabled || self.analytical {
            return;
        }
        let bytes = wal::transaction(timestamp, deltas, prepared);
        self.append(config, io, bytes);
        if let Some(wal) = &mut self.wal {
            wal.from.get_or_insert(timestamp);
            wal.to = Some(timestamp);
        }
    }

    /// Writes the decision to commit what was logged as prepared.
    pub(super) fn log_decision(&mut self, config: &Config, io: &Io, timestamp: u64) {
        if self.wal.is_some() {
            self.append(config, io, wal::decided(timestamp));
        }
    }

    fn append(&mut self, config: &Config, io: &Io, bytes: Vec<u8>) {
        let (database, epoch) = (self.uuid, self.epoch);
        let next_sequence = &mut self.next_sequence;
        let wal = self.wal.get_or_insert_with(|| {
            let sequence = *next_sequence;
            *next_sequence += 1;
            let created_at = wall_clock(config, io);
            let path = format!("{}/{}", files::WAL, files::current_wal(created_at));
            let header = wal::header(&WalHeader {
                database,
                epoch,
                sequence,
            });
            let mut wal = CurrentWal {
                path,
                created_at,
                sequence,
                from: None,
                to: None,
                size: 0,
                unsynced: 0,
            };
            wal.append(io, header);
            // As the constructor of `WalFile` does (`src/storage/v2/durability/wal.cpp`).
            io.write(wal.sync());
            wal
        });
        wal.append(io, bytes);
    }

    /// Counts a logged transaction: the file to sync, when it is time for that, and whether the file is full.
    pub(super) fn transaction_logged(&mut self, config: &Config) -> Logged {
        let Some(wal) = &mut self.wal else {
            return Logged {
                sync: None,
                full: false,
            };
        };
        self.unsynced += 1;
        let due = self.unsynced >= config.wal_flush_every;
        if due {
            self.unsynced = 0;
        }
        Logged {
            sync: due.then(|| wal.sync()),
            full: wal.size / 1024 >= config.wal_file_kib,
        }
    }

    /// Closes the log file, so that the next transaction starts another one. Returns what it was, and what it is
    /// now; the last sync and the renaming are left to the caller.
    pub(super) fn finish_wal(&mut self) -> Option<(CurrentWal, WalFile)> {
        let wal = self.wal.take()?;
        self.unsynced = 0;
        let (from, to) = (wal.from?, wal.to?);
        let path = format!("{}/{}", files::WAL, files::finished_wal(wal.created_at, from, to));
        let file = WalFile {
            path,
            database: self.uuid,
            sequence: wal.sequence,
            from,
            to,
            size: wal.size,
        };
        Some((wal, file))
    }
}

/// The time of day, in microseconds since 1970.
pub(super) fn wall_clock(config: &Config, io: &Io) -> i64 {
    config
        .started_at
        .saturating_add(i64::try_from(io.now().as_micros()).unwrap_or(i64::MAX))
}
