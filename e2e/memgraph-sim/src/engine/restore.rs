//! Taking a snapshot in place of everything: RECOVER SNAPSHOT, and a replica that MAIN brings up to date.

use std::rc::Rc;

use bolt_server::{Failure, Version};

use super::{
    Node,
    database::wall_clock,
    event::{DiskOperation, Level},
    lock::Exclusive,
    role::Role,
    snapshots::SnapshotFile,
};
use crate::{
    durability::{files, snapshot},
    messages,
};

impl Node {
    /// `RECOVER SNAPSHOT`: takes a snapshot in place of everything, and makes all replicas do the same. The
    /// statement holds unique access to the storage.
    ///
    /// The database keeps its UUID, and the snapshot gets it, so that one of another database can be taken
    /// (`InMemoryStorage::RecoverSnapshot` in `src/storage/v2/inmemory/storage.cpp`).
    pub(super) async fn recover_snapshot(self: &Rc<Self>, path: &str, force: bool) -> Result<(), Failure> {
        let main = match &*self.role.borrow() {
            Role::Main(main) => main.uuid,
            Role::Replica(_) => {
                return Err(Failure::transient(
                    "Failed to recover a snapshot. Replica instances are not allowed to create them.",
                ));
            }
        };
        let remote = ["http://", "https://", "ftp://", "s3://"];
        if self.config.version >= Version::V3_8 && remote.iter().any(|scheme| path.starts_with(scheme)) {
            return Err(messages::unsupported("recovering a snapshot from another host"));
        }
        let own = format!("{}/", self.config.data_directory.trim_end_matches('/'));
        let source = path.strip_prefix(&own).unwrap_or(path);
        let missing = || Failure::transient("Failed to find the defined snapshot file.");
        // The engine has no working directory that another path could start from.
        if source == path && !path.starts_with('/') {
            return Err(missing());
        }
        let Ok(Some(content)) = self.io.read(source).await else {
            return Err(missing());
        };
        let name = source.rsplit('/').next().unwrap_or(source);
        let place = format!("{}/{name}", files::SNAPSHOTS);
        let copied = place != source;
        if copied {
            self.copy_snapshot(&place, content.clone()).await?;
        }
        let restored = self.restore_snapshot(&place, copied, force, content).await;
        if let Err(failure) = restored {
            if copied {
                self.remove_file(place);
            }
            return Err(failure);
        }
        if let Role::Main(role) = &*self.role.borrow() {
            for client in role.replicas.iter().filter(|client| client.attached.get()) {
                client.force_recovery(self, main);
            }
        }
        Ok(())
    }

    /// Puts a snapshot from elsewhere into the snapshots' folder.
    async fn copy_snapshot(&self, place: &str, content: Vec<u8>) -> Result<(), Failure> {
        // Before 3.8 nothing is overwritten.
        let taken = self.config.version < Version::V3_8 && !matches!(self.io.read(place).await, Ok(None));
        let copied = match taken {
            true => false,
            false => {
                let copy = DiskOperation::Replace(place.to_owned(), content);
                self.io.perform(copy).await.is_ok()
            }
        };
        copied
            .then_some(())
            .ok_or_else(|| Failure::transient("Failed to copy snapshot over to local snapshots directory."))
    }

    async fn restore_snapshot(
        self: &Rc<Self>,
        place: &str,
        copied: bool,
        force: bool,
        content: Vec<u8>,
    ) -> Result<(), Failure> {
        if !force && self.database.borrow().durable != 0 {
            return Err(Failure::transient(
                "Failed to recover a snapshot. Storage is not clean. Try using FORCE.",
            ));
        }
        let _engine_lock = self.engine_lock.acquire(Exclusive).await;
        self.finish_wal();
        let epoch = self.new_uuid();
        self.database.borrow_mut().clear(epoch);
        self.snapshot_digest.set(None);
        let (mut header, graph) = snapshot::load(&content).map_err(|error| {
            Failure::transient(format!("Couldn't recover from the snapshot because of: {error}"))
        })?;
        let since_3_8 = self.config.version >= Version::V3_8;
        let created_at = wall_clock(&self.config, &self.io);
        let durable = header.durable;
        // 3.8 gives it a name of its own.
        let path = if since_3_8 {
            format!("{}/{}", files::SNAPSHOTS, files::snapshot(created_at, durable))
        } else {
            place.to_owned()
        };
        let (database, foreign) = {
            let mut database = self.database.borrow_mut();
            let foreign = header.database != database.uuid;
            header.database = database.uuid;
            database.load(header, graph);
            (database.uuid, foreign)
        };
        let superseded: Vec<_> = self
            .durability_files()
            .await
            .into_iter()
            .filter(|other| other != place)
            .collect();
        self.archive(&superseded);
        let keep = self.config.backup_directory || !since_3_8;
        if !copied && keep && (since_3_8 || foreign) {
            let old = place.replacen('/', &format!("/{}/", self.old_folder()), 1);
            self.io.write(DiskOperation::Replace(old, content.clone()));
        }
        let content = if foreign { self.encode_all() } else { content };
        let file = SnapshotFile {
            path: path.clone(),
            database,
            durable,
            created_at: files::created_at(path.rsplit('/').next().unwrap_or(&path)),
            size: content.len(),
        };
        if foreign || path != place {
            let written = self
                .io
                .perform(DiskOperation::Replace(path.clone(), content))
                .await;
            written.map_err(|_| {
                Failure::transient(
                    "The snapshot was recovered, but overwriting it with the new storage UUID failed; the on-disk \
                     snapshot may not be picked up on restart. Re-run RECOVER SNAPSHOT ... FORCE.",
                )
            })?;
        }
        if path != place {
            self.remove_file(place.to_owned());
        }
        self.broken.set(false);
        self.catalogue.borrow_mut().snapshots = vec![file];
        Ok(())
    }

    /// A snapshot of everything, as bytes.
    fn encode_all(&self) -> Vec<u8> {
        let mut database = self.database.borrow_mut();
        let transaction = database.begin();
        let content = snapshot::encode(database.snapshot_header(), &database.graph, transaction.view);
        database.graph.abort(transaction);
        content
    }

    /// A replica takes a snapshot of MAIN in place of all that it has. Returns the new position.
    pub(super) async fn receive_snapshot(self: &Rc<Self>, name: &str, content: Vec<u8>) -> Option<u64> {
        let _lock = self.take_snapshot_lock().await?;
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
        // If this fails, the snapshot stays where it is, beside the log files of another history.
        let _alone = self.take_main_lock().await?;
        {
            let epoch = self.new_uuid();
            let mut database = self.database.borrow_mut();
            database.clear(epoch);
            database.load(header, graph);
        }
        self.broken.set(false);
        self.snapshot_digest.set(None);
        let files = self.durability_files().await;
        let superseded: Vec<_> = files.into_iter().filter(|other| *other != path).collect();
        self.archive(&superseded);
        let mut catalogue = self.catalogue.borrow_mut();
        catalogue.snapshots.retain(|known| known.path != path);
        catalogue.snapshots.push(file);
        Some(self.database.borrow().durable)
    }
}
