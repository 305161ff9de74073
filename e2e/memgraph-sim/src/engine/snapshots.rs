//! Making, keeping and removing snapshots and log files.

use std::rc::Rc;

use bolt_server::Failure;

use super::{
    Node,
    database::wall_clock,
    event::{DiskError, DiskOperation, Level},
    lock::{Access, Exclusive},
    role::Role,
};
use crate::{
    durability::{files, snapshot},
    ident::Uuid,
    messages,
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
    Disk(DiskError),
}

impl Node {
    /// `CREATE SNAPSHOT`: returns the absolute path's part below the data directory.
    pub(crate) async fn create_snapshot(self: &Rc<Self>) -> Result<String, SnapshotError> {
        let Some(_lock) = self.snapshot_lock.try_acquire(Exclusive) else {
            return Err(SnapshotError::Busy);
        };
        // Held until the file is there: it keeps unique access (and behind it new readers) waiting.
        let _access = self.access.acquire(Access::Read).await;
        let created_at = wall_clock(&self.config, &self.io);
        let (file, content) = {
            let mut database = self.database.borrow_mut();
            let transaction = database.begin();
            let header = database.snapshot_header();
            let (uuid, durable) = (header.database, header.durable);
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
        let written = self
            .io
            .perform(DiskOperation::Replace(path.clone(), content))
            .await;
        let synced = match written {
            Ok(()) => self.io.perform(DiskOperation::Sync(path.clone())).await,
            Err(error) => Err(error),
        };
        synced.map_err(SnapshotError::Disk)?;
        self.catalogue.borrow_mut().snapshots.push(file);
        self.last_snapshot.set(Some(self.database.borrow().durable));
        self.remove_superseded();
        self.io.log(Level::Info, "Snapshot creation successful!");
        Ok(path)
    }

    /// Removes snapshots beyond the configured number, and log files that none of the others needs.
    fn remove_superseded(&self) {
        let database = self.database.borrow().uuid;
        let mut catalogue = self.catalogue.borrow_mut();
        let of_database = catalogue
            .snapshots
            .iter()
            .filter(|file| file.database == database)
            .count();
        let mut surplus = of_database.saturating_sub(self.config.snapshot_retention.max(1));
        catalogue.snapshots.retain(|file| {
            let remove = surplus > 0 && file.database == database;
            if remove {
                surplus -= 1;
                self.io.write(DiskOperation::Remove(file.path.clone()));
            }
            !remove
        });
        let Some(oldest) = catalogue.snapshots.iter().find(|file| file.database == database) else {
            return;
        };
        let durable = oldest.durable;
        // One file that begins before the oldest snapshot is kept: it proves that no file is missing.
        let Some(first_kept) = catalogue.wals.iter().rposition(|wal| wal.from <= durable) else {
            return;
        };
        for wal in catalogue.wals.drain(..first_kept) {
            self.io.write(DiskOperation::Remove(wal.path));
        }
    }

    /// Makes a snapshot now and then (`--storage-snapshot-interval-sec`).
    pub(super) fn start_periodic_snapshots(self: &Rc<Self>) {
        let Some(period) = self.config.snapshot_interval.filter(|period| !period.is_zero()) else {
            return;
        };
        let node = Rc::clone(self);
        self.spawn(async move {
            loop {
                node.next_snapshot.set(Some(node.io.now() + period));
                node.io.sleep(period).await;
                let durable = node.database.borrow().durable;
                if node.last_snapshot.get() == Some(durable) || node.database.borrow().analytical {
                    continue;
                }
                if let Err(error) = node.create_snapshot().await {
                    node.io
                        .log(Level::Warning, format!("Failed to create snapshot: {error:?}"));
                }
            }
        });
    }

    /// Closes the current log file and lists it.
    pub(super) fn finish_wal(&self) {
        let mut database = self.database.borrow_mut();
        if let Some(file) = database.finish_wal(&self.io) {
            self.catalogue.borrow_mut().wals.push(file);
        }
    }

    /// The paths of all snapshots and log files, without the log file that is being written.
    pub(super) fn durability_files(&self) -> Vec<String> {
        let catalogue = self.catalogue.borrow();
        let snapshots = catalogue.snapshots.iter().map(|file| file.path.clone());
        snapshots
            .chain(catalogue.wals.iter().map(|file| file.path.clone()))
            .collect()
    }

    /// Moves superseded files out of the way, to `.old` (in place of what lies there), or deletes them.
    pub(super) fn archive(&self, paths: &[String]) {
        let keep = self.config.backup_directory;
        if keep {
            for folder in [files::SNAPSHOTS, files::WAL] {
                self.io
                    .write(DiskOperation::Remove(format!("{folder}/{}", files::OLD)));
            }
        }
        for path in paths {
            let moved = path
                .split_once('/')
                .map(|(folder, name)| format!("{folder}/{}/{name}", files::OLD));
            match moved.filter(|_| keep) {
                Some(moved) => self.io.write(DiskOperation::Rename(path.clone(), moved)),
                None => self.io.write(DiskOperation::Remove(path.clone())),
            }
        }
        let mut catalogue = self.catalogue.borrow_mut();
        catalogue.snapshots.retain(|file| !paths.contains(&file.path));
        catalogue.wals.retain(|file| !paths.contains(&file.path));
    }

    /// `RECOVER SNAPSHOT`: takes a snapshot in place of everything, and makes all replicas do the same. The
    /// statement holds unique access to the storage.
    pub(super) async fn recover_snapshot(self: &Rc<Self>, path: &str, force: bool) -> Result<(), Failure> {
        let main = match &*self.role.borrow() {
            Role::Main(main) => main.uuid,
            Role::Replica(_) => {
                return Err(Failure::transient(
                    "Failed to recover a snapshot. Replica instances are not allowed to create them.",
                ));
            }
        };
        let own = format!("{}/", self.config.data_directory.trim_end_matches('/'));
        let Some(path) = path.strip_prefix(&own) else {
            return Err(messages::unsupported(
                "recovering a snapshot from outside of the data directory",
            ));
        };
        let Ok(Some(content)) = self.io.read(path).await else {
            return Err(Failure::transient("Failed to find the defined snapshot file."));
        };
        let _engine_lock = self.engine_lock.acquire(Exclusive).await;
        if !force && self.database.borrow().durable != 0 {
            return Err(Failure::transient(
                "Failed to recover a snapshot. Storage is not clean. Try using FORCE.",
            ));
        }
        let (header, graph) =
            snapshot::load(&content).map_err(|error| Failure::transient(error.to_string()))?;
        self.finish_wal();
        let name = path.rsplit('/').next().unwrap_or(path);
        let place = format!("{}/{name}", files::SNAPSHOTS);
        if place != path
            && self
                .io
                .perform(DiskOperation::Replace(place.clone(), content.clone()))
                .await
                .is_err()
        {
            return Err(Failure::transient(
                "Failed to copy snapshot over to local snapshots directory.",
            ));
        }
        let file = SnapshotFile {
            path: place.clone(),
            database: header.database,
            durable: header.durable,
            created_at: files::created_at(name),
            size: content.len(),
        };
        {
            let mut database = self.database.borrow_mut();
            database.clear();
            database.load(header, graph);
        }
        let superseded: Vec<_> = self
            .durability_files()
            .into_iter()
            .filter(|other| *other != place)
            .collect();
        self.archive(&superseded);
        self.catalogue.borrow_mut().snapshots = vec![file];
        if let Role::Main(role) = &*self.role.borrow() {
            for client in role.replicas.iter().filter(|client| client.attached.get()) {
                client.force_recovery(self, main);
            }
        }
        Ok(())
    }

    /// A replica takes a snapshot of MAIN in place of all that it has. Returns the new position.
    pub(super) async fn receive_snapshot(self: &Rc<Self>, name: &str, content: Vec<u8>) -> Option<u64> {
        let _lock = self.snapshot_lock.acquire(Exclusive).await;
        self.discard_prepared();
        self.finish_wal();
        let (header, graph) = match snapshot::load(&content) {
            Ok(loaded) => loaded,
            Err(error) => {
                self.io.log(
                    Level::Error,
                    format!("Couldn't load the snapshot of main: {error}"),
                );
                return None;
            }
        };
        let old = self.durability_files();
        let path = format!("{}/{name}", files::SNAPSHOTS);
        let file = SnapshotFile {
            path: path.clone(),
            database: header.database,
            durable: header.durable,
            created_at: wall_clock(&self.config, &self.io),
            size: content.len(),
        };
        if let Err(error) = self
            .io
            .perform(DiskOperation::Replace(path.clone(), content))
            .await
        {
            self.io.log(
                Level::Error,
                format!("Failed to store the snapshot of main: {error}"),
            );
            return None;
        }
        let _alone = self.take_main_lock().await?;
        {
            let mut database = self.database.borrow_mut();
            database.clear();
            database.load(header, graph);
        }
        let superseded: Vec<_> = old.into_iter().filter(|other| *other != path).collect();
        self.archive(&superseded);
        let mut catalogue = self.catalogue.borrow_mut();
        catalogue.snapshots.retain(|known| known.path != path);
        catalogue.snapshots.push(file);
        Some(self.database.borrow().durable)
    }
}
