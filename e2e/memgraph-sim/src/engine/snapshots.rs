//! Making, keeping and removing snapshots and log files.

use std::{rc::Rc, time::Duration};

use bolt_server::Version;
use futures::{
    channel::oneshot,
    future::{Either, select},
};

use super::{
    Node,
    database::wall_clock,
    event::{DiskError, DiskOperation, Level},
    lock::{Access, Exclusive, Guard},
};
use crate::{
    durability::{files, snapshot},
    ident::Uuid,
    storage::Transaction,
};

/// A snapshot on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SnapshotFile {
    pub(super) path: String,
    pub(super) database: Uuid,
    pub(super) durable: u64,
    /// Microseconds since 1970.
    pub(super) created_at: i64,
    pub(super) size: usize,
}

/// A log file on disk that is not written any more and has transactions in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct WalFile {
    pub(super) path: String,
    pub(super) database: Uuid,
    pub(super) sequence: u64,
    pub(super) from: u64,
    pub(super) to: u64,
    pub(super) size: u64,
}

/// What lies in `snapshots/` and `wal/`.
#[derive(Debug, Default)]
pub(super) struct Catalogue {
    /// Oldest first.
    pub(super) snapshots: Vec<SnapshotFile>,
    /// By sequence number.
    pub(super) wals: Vec<WalFile>,
}

/// Why there is no snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum SnapshotError {
    /// Another one is being made.
    Busy,
    /// A recovery needs the place.
    Aborted,
    /// Nothing was written since the last one.
    Unchanged,
    /// Before 3.8 replicas make none.
    Replica,
    Disk(DiskError),
}

/// For how long a replica waits for a snapshot that it has told to stop.
const ABORT_PATIENCE: Duration = Duration::from_secs(10);

impl Node {
    /// `CREATE SNAPSHOT`: returns the path below the data directory. Without `force`, one that would be the same
    /// as the last one is not made.
    pub(crate) async fn create_snapshot(self: &Rc<Self>, force: bool) -> Result<String, SnapshotError> {
        if self.config.version < Version::V3_8 && !self.is_main() {
            return Err(SnapshotError::Replica);
        }
        let Some(_lock) = self.snapshot_lock.try_acquire(Exclusive) else {
            return Err(SnapshotError::Busy);
        };
        // Held until the file is there: it keeps unique access (and behind it new readers) waiting. In
        // analytical mode nobody may write meanwhile.
        let access = if self.database.borrow().analytical {
            Access::ReadOnly
        } else {
            Access::Read
        };
        let access = self.access.acquire(access).await;
        let transaction = self.begin().await;
        let (digest, durable) = {
            let mut database = self.database.borrow_mut();
            let digest = database.digest();
            if !force && self.snapshot_digest.get() == Some(digest) {
                database.graph.abort(transaction);
                return Err(SnapshotError::Unchanged);
            }
            (digest, database.durable)
        };
        let path = self.write_snapshot(transaction, Some(durable)).await?;
        drop(access);
        if !self.database.borrow().analytical {
            self.snapshot_digest.set(Some(digest));
        }
        Ok(path)
    }

    /// Writes a snapshot of what `transaction` sees, as the state at the timestamp `durable`, or as one that is newer
    /// than all transactions.
    pub(super) async fn write_snapshot(
        self: &Rc<Self>,
        transaction: Transaction,
        durable: Option<u64>,
    ) -> Result<String, SnapshotError> {
        let created_at = wall_clock(&self.config, &self.io);
        let (file, content) = {
            let mut database = self.database.borrow_mut();
            let mut header = database.snapshot_header();
            let durable = durable.unwrap_or(transaction.view.start);
            header.durable = durable;
            let uuid = header.database;
            let content = snapshot::encode(header, &database.graph, transaction.view);
            database.graph.abort(transaction);
            let path = format!("{}/{}", files::SNAPSHOTS, files::snapshot(created_at, durable));
            (
                SnapshotFile {
                    path,
                    database: uuid,
                    durable,
                    created_at,
                    size: content.len(),
                },
                content,
            )
        };
        let path = file.path.clone();
        let writing = self.io.perform(DiskOperation::Replace(path.clone(), content));
        let (abort, aborted) = oneshot::channel();
        *self.snapshot_abort.borrow_mut() = Some((abort, self.io.now()));
        let finished = match select(std::pin::pin!(writing), aborted).await {
            Either::Left((written, _)) => Some(written),
            Either::Right(_) => None,
        };
        self.snapshot_abort.take();
        let Some(written) = finished else {
            self.io.write(DiskOperation::Remove(path));
            return Err(SnapshotError::Aborted);
        };
        written.map_err(SnapshotError::Disk)?;
        // From here on it is too late to abort it.
        self.sync(DiskOperation::Sync {
            path: path.clone(),
            unsynced: file.size as u64,
        })
        .await;
        self.catalogue.borrow_mut().snapshots.push(file);
        self.remove_superseded();
        self.io.log(Level::Info, "Snapshot creation successful!");
        Ok(path)
    }

    /// Keeps others from making snapshots while a replica takes one of MAIN's. Since 3.8 one that is being made
    /// is aborted; `None` if that takes too long.
    pub(super) async fn take_snapshot_lock(&self) -> Option<Option<Guard<Exclusive>>> {
        if self.config.version < Version::V3_8 {
            // Replicas make none.
            return Some(None);
        }
        if let Some((abort, _)) = self.snapshot_abort.take() {
            self.io.log(
                Level::Info,
                "snapshot lock contention: another snapshot is in progress, requesting abort",
            );
            // If nobody listens, it is just done.
            let _ = abort.send(());
        }
        let waiting = self.snapshot_lock.acquire(Exclusive);
        self.io.timeout(ABORT_PATIENCE, waiting).await.ok().map(Some)
    }

    /// Removes snapshots beyond the configured number, and log files that none of the others needs.
    /// Those of other databases go first.
    fn remove_superseded(&self) {
        let mut catalogue = self.catalogue.borrow_mut();
        let Some(newest) = catalogue.snapshots.pop() else {
            return;
        };
        let database = newest.database;
        let mut others = std::mem::take(&mut catalogue.snapshots);
        others.sort_by_key(|file| {
            if file.database == database {
                file.durable
            } else {
                0
            }
        });
        let keep = self.config.snapshot_retention.max(1) - 1;
        let surplus = others.len().saturating_sub(keep);
        for file in others.drain(..surplus) {
            self.remove_file(file.path);
        }
        let oldest = others.first().unwrap_or(&newest).durable;
        others.push(newest);
        catalogue.snapshots = others;
        // One log file that begins before the oldest snapshot is kept: it proves that no file is missing. That may
        // be the one that is being written.
        let current = self.database.borrow().wal.as_ref().and_then(|wal| wal.from);
        let first_kept = if current.is_some_and(|from| from <= oldest) {
            catalogue.wals.len()
        } else {
            catalogue
                .wals
                .iter()
                .rposition(|wal| wal.from <= oldest)
                .unwrap_or(0)
        };
        for wal in catalogue.wals.drain(..first_kept) {
            self.remove_file(wal.path);
        }
    }

    /// Makes a snapshot now and then (`--storage-snapshot-interval-sec`). In analytical mode that is paused.
    pub(super) fn start_periodic_snapshots(self: &Rc<Self>) {
        let node = Rc::clone(self);
        self.spawn(async move {
            loop {
                // A new interval starts at once.
                let changed = node.settings.interval_change();
                let period = node.settings.snapshot_interval();
                node.next_snapshot
                    .set(period.map(|period| node.io.now() + period));
                let due = match period {
                    Some(period) => node.io.timeout(period, changed).await.is_err(),
                    None => {
                        let _ = changed.await;
                        false
                    }
                };
                if !due {
                    continue;
                }
                if node.database.borrow().analytical || node.broken.get() {
                    continue;
                }
                if let Err(error) = node.create_snapshot(false).await {
                    node.log_snapshot_error(&error);
                }
            }
        });
    }

    /// What the log says of a snapshot that nobody asked for and that was not made.
    pub(super) fn log_snapshot_error(&self, error: &SnapshotError) {
        let (level, line) = match error {
            SnapshotError::Busy => (
                Level::Info,
                "Skipping snapshot creation. Another snapshot creation is already in progress.".to_owned(),
            ),
            SnapshotError::Unchanged => (
                Level::Info,
                "Skipping snapshot creation. Nothing has been written since the last snapshot.".to_owned(),
            ),
            SnapshotError::Replica => (Level::Warning, "Snapshots are disabled for replicas.".to_owned()),
            SnapshotError::Aborted => (
                Level::Warning,
                "Failed to create snapshot. The current snapshot needs to be aborted.".to_owned(),
            ),
            SnapshotError::Disk(error) => (Level::Warning, format!("Failed to create snapshot. {error}")),
        };
        self.io.log(level, line);
    }

    /// Closes the current log file and lists it.
    pub(super) fn finish_wal(self: &Rc<Self>) {
        let finished = self.database.borrow_mut().finish_wal();
        if let Some((mut closed, file)) = finished {
            // As `Encoder::Finalize` does (`src/storage/v2/durability/serialization.cpp`): only the newest transactions
            // can be lost with the power.
            self.io.write(closed.sync());
            self.move_file(closed.path, file.path.clone());
            self.catalogue.borrow_mut().wals.push(file);
        }
    }

    /// The paths of all snapshots and log files, without the log file that is being written. Since 3.8 also of
    /// those that cannot be read.
    pub(super) async fn durability_files(&self) -> Vec<String> {
        let mut paths = Vec::new();
        for folder in [files::SNAPSHOTS, files::WAL] {
            if self.config.version < Version::V3_8 {
                break;
            }
            let names = self.io.list(folder).await.unwrap_or_default();
            paths.extend(names.into_iter().map(|name| format!("{folder}/{name}")));
        }
        let catalogue = self.catalogue.borrow();
        let snapshots = catalogue.snapshots.iter().map(|file| &file.path);
        for known in snapshots.chain(catalogue.wals.iter().map(|file| &file.path)) {
            if !paths.contains(known) {
                paths.push(known.clone());
            }
        }
        if let Some(current) = &self.database.borrow().wal {
            paths.retain(|path| *path != current.path);
        }
        paths
    }

    /// Moves superseded files out of the way, or deletes them. Since 3.8 they go to `.old`, in place of what lies
    /// there; before, to an `.old_<time>` of their own.
    pub(super) fn archive(self: &Rc<Self>, paths: &[String]) {
        let keep = self.config.backup_directory || self.config.version < Version::V3_8;
        let old = self.old_folder();
        if keep && self.config.version >= Version::V3_8 {
            for folder in [files::SNAPSHOTS, files::WAL] {
                self.io.write(DiskOperation::Remove(format!("{folder}/{old}")));
            }
        }
        for path in paths {
            let moved = path
                .split_once('/')
                .map(|(folder, name)| format!("{folder}/{old}/{name}"));
            match moved.filter(|_| keep) {
                Some(moved) => self.move_file(path.clone(), moved),
                None => self.remove_file(path.clone()),
            }
        }
        let mut catalogue = self.catalogue.borrow_mut();
        catalogue.snapshots.retain(|file| !paths.contains(&file.path));
        catalogue.wals.retain(|file| !paths.contains(&file.path));
    }

    /// The folder for superseded files, inside `snapshots` and `wal`.
    pub(super) fn old_folder(&self) -> String {
        if self.config.version >= Version::V3_8 {
            return files::OLD.to_owned();
        }
        let nanoseconds = i128::from(wall_clock(&self.config, &self.io)) * 1000;
        format!("{}_{nanoseconds}", files::OLD)
    }
}
