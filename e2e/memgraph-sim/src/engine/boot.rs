//! The start of an instance, in Memgraph's order (semantics C.2): data, users, role and replicas, init file;
//! the Bolt port opens last.

use std::{rc::Rc, time::Duration};

use super::{
    Node,
    event::{DiskError, DiskOperation, Effect, ExitReason, Level},
    replica_client::ReplicaClient,
    role::{MainRole, ReplicaRole, Role},
    snapshots::{SnapshotFile, WalFile},
};
use crate::{
    durability::{
        CorruptFile, files, snapshot,
        state::{self, PasswordHash, RoleState},
        wal::Wal,
    },
    ident::Uuid,
};

/// Why an instance cannot start. The texts are Memgraph's.
#[derive(Debug, thiserror::Error)]
enum StartError {
    #[error("Cannot parse previously saved configuration of replication role.")]
    Role,
    #[error("Replica recovery failure!")]
    Replica,
    #[error("Couldn't recover data: {0}")]
    Recovery(String),
    #[error("Failed to use the data directory: {0}")]
    Disk(#[from] DiskError),
}

/// What Memgraph needs for query modules and the like (`src/memgraph.cpp`) between the moment at which it has
/// contacted its replicas and the init file, at least: those that lag are sent what they lack in the meantime.
const REST_OF_START: Duration = Duration::from_millis(100);

impl From<CorruptFile> for StartError {
    fn from(error: CorruptFile) -> Self {
        Self::Recovery(error.to_string())
    }
}

impl Node {
    /// Starts the instance.
    pub(super) async fn boot(self: Rc<Self>) {
        match self.start().await {
            Ok(()) => {
                self.io.effect(Effect::Ready);
                if let Some(text) = &self.config.init_data_statements {
                    self.run_statements(text).await;
                    self.io.log(
                        Level::Info,
                        "Running queries from init data file successfully finished.",
                    );
                }
                self.io.log(Level::Info, "Memgraph successfully started!");
            }
            Err(error) => self.io.effect(Effect::Exit(ExitReason::Fatal(error.to_string()))),
        }
    }

    async fn start(self: &Rc<Self>) -> Result<(), StartError> {
        self.io.write(DiskOperation::Remove(files::TEMPORARY.to_owned()));
        self.restore_settings().await?;
        self.restore_database_uuid().await?;
        if self.config.recover_data {
            if let Err(error) = self.recover_data().await {
                self.start_broken(error)?;
            }
        } else {
            self.set_data_aside().await?;
        }
        self.restore_users().await?;
        self.restore_role().await?;
        if let Some(text) = &self.config.init_statements {
            self.io.log(Level::Info, "Running init file...");
            self.run_statements(text).await;
        }
        // Memgraph reads its triggers in a transaction of its own.
        {
            let mut database = self.database.borrow_mut();
            let transaction = database.begin();
            database.graph.abort(transaction);
        }
        self.start_periodic_snapshots();
        Ok(())
    }

    pub(super) async fn restore<T: serde::de::DeserializeOwned>(
        &self,
        path: &str,
    ) -> Result<Option<Result<T, ()>>, DiskError> {
        let content = self.io.read(path).await?;
        Ok(content.map(|content| serde_json::from_slice(&content).map_err(drop)))
    }

    async fn restore_database_uuid(&self) -> Result<(), StartError> {
        match self.restore::<Uuid>(&state::database_file()).await? {
            Some(Ok(uuid)) => self.database.borrow_mut().uuid = uuid,
            Some(Err(())) => {
                return Err(StartError::Recovery(
                    "the UUID of the database cannot be read".into(),
                ));
            }
            None => {
                let uuid = self.database.borrow().uuid;
                self.save_state(&state::database_file(), &uuid).await?;
            }
        }
        Ok(())
    }

    async fn set_data_aside(&self) -> Result<(), StartError> {
        for folder in [files::SNAPSHOTS, files::WAL] {
            for name in self.io.list(folder).await? {
                let (from, to) = (
                    format!("{folder}/{name}"),
                    format!("{}/{folder}/{name}", files::BACKUP),
                );
                self.io.write(DiskOperation::Rename(from, to));
            }
        }
        Ok(())
    }

    /// Goes on without data that could not be recovered, if `--storage-allow-recovery-failure` says so. The files
    /// stay as they are (3.12, `src/storage/v2/inmemory/storage.cpp`).
    fn start_broken(&self, error: StartError) -> Result<(), StartError> {
        if !self.config.allow_recovery_failure {
            return Err(error);
        }
        self.io.log(Level::Error, error.to_string());
        self.io.log(
            Level::Warning,
            "Database 'memgraph' failed to recover; bringing it up in the broken state.",
        );
        let epoch = self.new_uuid();
        self.database.borrow_mut().clear(epoch);
        self.catalogue.take();
        self.broken.set(true);
        Ok(())
    }

    async fn recover_data(&self) -> Result<(), StartError> {
        let snapshot = self.load_newest_snapshot().await?;
        let mut wals = Vec::new();
        for name in self.io.list(files::WAL).await? {
            let path = format!("{}/{name}", files::WAL);
            let Some(content) = self.io.read(&path).await? else {
                continue;
            };
            let size = content.len() as u64;
            match Wal::read(content) {
                // `ReadWalInfo` (`src/storage/v2/durability/wal.cpp`) refuses a file without a whole transaction: its
                // number is free again.
                Ok(wal) if wal.range().is_none() => self.io.log(
                    Level::Warning,
                    format!("Failed to read WAL file {path}. It is empty."),
                ),
                Ok(wal) => wals.push((path, size, wal)),
                Err(error) => self
                    .io
                    .log(Level::Warning, format!("Couldn't read {path}: {error}")),
            }
        }
        if self.catalogue.borrow().snapshots.is_empty()
            && let Some((.., newest)) = wals.last()
        {
            // Names begin with the time, so the last one is the newest.
            let mut database = self.database.borrow_mut();
            database.uuid = newest.header.database;
            database.epoch = newest.header.epoch;
        }
        let uuid = self.database.borrow().uuid;
        wals.retain(|(.., wal)| wal.header.database == uuid);
        wals.sort_by_key(|(.., wal)| wal.header.sequence);
        check_chain(&wals, snapshot)?;
        for (path, size, wal) in wals {
            self.replay(path, size, &wal)?;
        }
        let mut database = self.database.borrow_mut();
        if database.durable > 0 {
            database.catch_up();
        }
        Ok(())
    }

    /// Loads the newest snapshot that can be loaded; returns its last durable timestamp.
    async fn load_newest_snapshot(&self) -> Result<Option<u64>, StartError> {
        let mut found = Vec::new();
        for name in self.io.list(files::SNAPSHOTS).await? {
            let path = format!("{}/{name}", files::SNAPSHOTS);
            let Some(content) = self.io.read(&path).await? else {
                continue;
            };
            match snapshot::read_header(&content) {
                Ok(header) => found.push((
                    SnapshotFile {
                        path,
                        database: header.database,
                        durable: header.durable,
                        created_at: files::created_at(&name),
                        size: content.len(),
                    },
                    content,
                )),
                Err(error) => self
                    .io
                    .log(Level::Warning, format!("Couldn't read {path}: {error}")),
            }
            // Only the newest ones are worth their memory.
            if let Some((_, content)) = found.len().checked_sub(3).and_then(|at| found.get_mut(at)) {
                content.clear();
            }
        }
        let Some((newest, _)) = found.last() else {
            return Ok(None);
        };
        let uuid = newest.database;
        self.database.borrow_mut().uuid = uuid;
        let mut loaded = false;
        for (file, content) in found.iter().rev().filter(|(file, _)| file.database == uuid) {
            match snapshot::load(content) {
                Ok((header, graph)) => {
                    self.database.borrow_mut().load(header, graph);
                    loaded = true;
                    break;
                }
                Err(error) => {
                    self.io.log(
                        Level::Warning,
                        format!("Couldn't recover snapshot from {}: {error}", file.path),
                    );
                }
            }
        }
        if !loaded {
            return Err(StartError::Recovery(
                "Couldn't recover using any of the specified snapshots! Please inspect them and restart the \
                 database."
                    .into(),
            ));
        }
        self.catalogue.borrow_mut().snapshots = found.into_iter().map(|(file, _)| file).collect();
        Ok(Some(self.database.borrow().durable))
    }

    fn replay(&self, path: String, size: u64, wal: &Wal) -> Result<(), StartError> {
        let mut database = self.database.borrow_mut();
        if let Some((from, to)) = wal.range() {
            let file = WalFile {
                path: path.clone(),
                database: wal.header.database,
                sequence: wal.header.sequence,
                from,
                to,
                size,
            };
            self.catalogue.borrow_mut().wals.push(file);
        }
        database.next_sequence = wal.header.sequence + 1;
        let before = database.durable;
        for logged in wal.transactions() {
            if logged.timestamp <= database.durable {
                continue;
            }
            let mut transaction = database.begin();
            for delta in logged.deltas {
                if let Err(error) = database.graph.apply(&mut transaction, delta) {
                    return Err(StartError::Recovery(format!(
                        "Couldn't recover WAL deltas from {path} because of: {error}"
                    )));
                }
            }
            let at = database.tick();
            database.publish(transaction, at, logged.timestamp);
        }
        if database.durable != before {
            database.note_recovered_epoch(wal.header.epoch);
        }
        Ok(())
    }

    async fn restore_users(&self) -> Result<(), StartError> {
        if let Some(saved) = self.restore(&state::users_file()).await? {
            *self.users.borrow_mut() =
                saved.map_err(|()| StartError::Recovery("the list of users cannot be read".into()))?;
        }
        if let Some((name, password)) = &self.config.initial_user
            && !self.users.borrow().0.contains_key(name)
        {
            let hash = PasswordHash::new(password, self.new_uuid());
            self.users.borrow_mut().0.insert(name.clone(), hash);
            let users = self.users.borrow().clone();
            self.save_state(&state::users_file(), &users).await?;
        }
        Ok(())
    }

    async fn restore_role(self: &Rc<Self>) -> Result<(), StartError> {
        if !self.config.restore_replication {
            return Ok(());
        }
        match self.restore::<RoleState>(&state::role_file()).await? {
            None => Ok(()),
            Some(Err(())) => Err(StartError::Role),
            Some(Ok(RoleState::Replica { port, main_uuid })) => {
                *self.role.borrow_mut() = Role::Replica(ReplicaRole {
                    port,
                    main: main_uuid,
                });
                if self.start_replication_server(port).await {
                    Ok(())
                } else {
                    Err(StartError::Replica)
                }
            }
            Some(Ok(RoleState::Main { main_uuid, replicas })) => {
                let replicas: Vec<_> = replicas
                    .into_iter()
                    .map(|(name, entry)| ReplicaClient::new(name, entry))
                    .collect();
                *self.role.borrow_mut() = Role::Main(MainRole {
                    uuid: main_uuid,
                    replicas: replicas.clone(),
                });
                // Also former ghosts become live clients here.
                for client in &replicas {
                    client.restore_system(self, main_uuid).await;
                }
                for client in &replicas {
                    client.start(self, main_uuid).await;
                }
                for client in &replicas {
                    client.start_pings(self, main_uuid);
                }
                self.io.sleep(REST_OF_START).await;
                Ok(())
            }
        }
    }

    /// Runs the statements of `--init-file` as a user who may do everything. Errors are only logged.
    /// Runs the lines of an init file (`InitFromCypherlFile` in memgraph.cpp).
    async fn run_statements(self: &Rc<Self>, text: &str) {
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
            self.io.log(Level::Trace, format!("Executing line: {line}"));
            if let Err(failure) = self.run_alone(line).await {
                self.io.log(
                    Level::Warning,
                    format!(
                        "Exception occurred while executing one line. The rest of the init-file will be run. {}",
                        failure.message
                    ),
                );
            }
        }
    }
}

/// Whether log files are missing. `snapshot` is the timestamp up to which one was loaded.
fn check_chain(wals: &[(String, u64, Wal)], snapshot: Option<u64>) -> Result<(), StartError> {
    let Some((.., first)) = wals.first() else {
        return Ok(());
    };
    if first.header.sequence != 0 {
        match snapshot {
            None => {
                return Err(StartError::Recovery(
                    "There are missing prefix WAL files and data can't be recovered without them!".into(),
                ));
            }
            Some(durable) if first.range().is_some_and(|(from, _)| from > durable) => {
                return Err(StartError::Recovery(
                    "You must have at least one WAL file that contains at least one delta that was created \
                     before the snapshot file!"
                        .into(),
                ));
            }
            Some(_) => {}
        }
    }
    for pair in wals.windows(2) {
        let [(.., before), (.., after)] = pair else {
            continue;
        };
        if after.header.sequence - before.header.sequence > 1 {
            return Err(StartError::Recovery(format!(
                "You are missing a WAL file with the sequence number {}!",
                before.header.sequence + 1
            )));
        }
    }
    Ok(())
}
