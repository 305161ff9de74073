//! How the storage works: storage mode, isolation level, the lock on its directory, and what SHOW STORAGE INFO tells
//! of it.

use std::rc::Rc;

use bolt_server::{Failure, Value as BoltValue, Version};
use cypher_subset::ast::{Instance, IsolationLevel, IsolationScope, StorageInfoScope, StorageMode};

use super::{info::rows, texts};
use crate::{
    config::Isolation,
    durability::files::readable_size,
    engine::{
        Node,
        lock::Access,
        session::{Answer, DATABASE},
        sessions::SessionInfo,
    },
    messages,
    storage::Transaction,
};

/// What a node and a relationship take, as Memgraph's manual estimates it. The simulator does not count memory.
const NODE_BYTES: u64 = 212;
const RELATIONSHIP_BYTES: u64 = 162;
/// What the simulator has no figure for.
const UNKNOWN: &str = "0B";
const UNLIMITED: &str = "unlimited";

/// The figures that the rows share.
struct Figures {
    nodes: BoltValue,
    relationships: BoltValue,
    degree: BoltValue,
    uuid: String,
    mode: &'static str,
    memory: String,
    memory_limit: String,
    disk: String,
}

impl Node {
    pub(super) async fn instance_statement(
        self: &Rc<Self>,
        statement: &Instance,
        session: &SessionInfo,
        transaction: Option<&mut Transaction>,
    ) -> Result<Answer, Failure> {
        let done = Ok(Answer::default());
        match (statement, transaction) {
            (Instance::FreeMemory, _) => done,
            (Instance::SetStorageMode(StorageMode::InMemoryTransactional), _) => {
                self.set_analytical(false).await.map(|()| Answer::default())
            }
            (Instance::SetStorageMode(StorageMode::InMemoryAnalytical), _) => {
                self.set_analytical(true).await.map(|()| Answer::default())
            }
            (Instance::SetStorageMode(StorageMode::OnDiskTransactional), _) => {
                Err(messages::unsupported("storage on disk"))
            }
            (Instance::DumpDatabase, Some(transaction)) => {
                let lines = self.database.borrow().graph.dump(transaction.view);
                Ok(rows(lines.into_iter().map(|line| vec![line.into()]).collect()))
            }
            (Instance::DumpDatabase, None) => {
                Err(messages::unsupported("DUMP DATABASE without a transaction"))
            }
            (Instance::LockDataDirectory, _) => Ok(status(if self.lock_directory() {
                "Data directory is now locked."
            } else {
                "Data directory is already locked."
            })),
            (Instance::UnlockDataDirectory, _) => Ok(status(if self.unlock_directory() {
                "Data directory is now unlocked."
            } else {
                "Data directory is already unlocked."
            })),
            (Instance::DataDirectoryLockStatus, _) => Ok(status(if self.is_directory_locked() {
                "Data directory is locked."
            } else {
                "Data directory is unlocked."
            })),
            (Instance::SetIsolationLevel { scope, level }, _) => {
                let level = match level {
                    IsolationLevel::Snapshot => Isolation::Snapshot,
                    IsolationLevel::ReadCommitted => Isolation::ReadCommitted,
                    IsolationLevel::ReadUncommitted => Isolation::ReadUncommitted,
                };
                match scope {
                    IsolationScope::Global => self.isolation.set(level),
                    IsolationScope::Session => session.isolation.set(Some(level)),
                    IsolationScope::Next => session.next_isolation.set(Some(level)),
                }
                done
            }
            (Instance::ReloadBoltTls | Instance::ReloadClusterTls, _) => {
                Err(messages::enterprise(self.config.version, "RELOAD TLS"))
            }
        }
    }

    /// `STORAGE MODE ..`, which waits for everybody else for as long as it takes. Since 3.8 the way back makes a
    /// snapshot, since what was done in analytical mode is in no log (`InMemoryStorage::SetStorageMode`).
    async fn set_analytical(self: &Rc<Self>, analytical: bool) -> Result<(), Failure> {
        let _alone = self.access.acquire(Access::Unique).await;
        let version = self.config.version;
        if self.database.borrow().analytical == analytical {
            return Ok(());
        }
        if analytical {
            let constrained = !self.database.borrow().graph.schema().constraints.is_empty();
            if version >= Version::V3_8 && constrained {
                return Err(messages::analytical_with_constraints());
            }
            let replicas = self.attached_replicas();
            if version >= Version::Head && replicas > 0 {
                return Err(messages::analytical_with_replicas(replicas));
            }
        } else if version >= Version::V3_8 {
            // Before 3.10 it counts as no newer than the last logged transaction.
            let transaction = self.begin().await;
            let durable = (version < Version::V3_10).then(|| self.database.borrow().durable);
            if let Err(error) = self.write_snapshot(transaction, durable).await {
                self.log_snapshot_error(&error);
            }
        }
        self.database.borrow_mut().analytical = analytical;
        Ok(())
    }

    pub(super) fn storage_info(
        &self,
        scope: &StorageInfoScope,
        session: &SessionInfo,
    ) -> Result<Vec<Vec<BoltValue>>, Failure> {
        let version = self.config.version;
        match scope {
            StorageInfoScope::Unqualified if version >= Version::V3_11 => Ok(self.instance_rows(session)),
            StorageInfoScope::Unqualified => Ok(self.database_and_instance_rows(session)),
            StorageInfoScope::CurrentDatabase => Ok(self.database_rows()),
            StorageInfoScope::Database(name) if name == DATABASE => Ok(self.database_rows()),
            StorageInfoScope::Database(_) => Err(messages::enterprise(version, "multi-tenancy")),
        }
    }

    fn figures(&self) -> Figures {
        let database = self.database.borrow();
        let (nodes, relationships) = database.graph.counts();
        let degree = if nodes == 0 {
            0.0
        } else {
            2.0 * relationships as f64 / nodes as f64
        };
        let catalogue = self.catalogue.borrow();
        let snapshots: u64 = catalogue.snapshots.iter().map(|file| file.size as u64).sum();
        let logs: u64 = catalogue.wals.iter().map(|file| file.size).sum();
        let current = database.wal.as_ref().map_or(0, |wal| wal.size);
        let memory = nodes as u64 * NODE_BYTES + relationships as u64 * RELATIONSHIP_BYTES;
        Figures {
            nodes: integer(nodes),
            relationships: integer(relationships),
            degree: BoltValue::Float(degree),
            uuid: database.uuid.to_string(),
            mode: mode_name(database.analytical),
            memory: readable_size(memory),
            memory_limit: match self.config.memory_limit {
                Some(limit) => readable_size(limit),
                None => UNKNOWN.to_owned(),
            },
            disk: readable_size(snapshots + logs + current),
        }
    }

    /// What 3.11 tells without being asked for a database. Mode and isolation level are those of the flags.
    fn instance_rows(&self, session: &SessionInfo) -> Vec<Vec<BoltValue>> {
        let figures = self.figures();
        let mut rows = vec![
            vec!["vm_max_map_count".into(), BoltValue::Integer(524_288)],
            texts(["memory_res", &figures.memory]),
            texts(["peak_memory_res", &figures.memory]),
            texts(["disk_usage", &figures.disk]),
            texts(["memory_tracked", &figures.memory]),
            texts(["memory_limit", &figures.memory_limit]),
            texts(["license_memory_limit", UNLIMITED]),
            texts(["query+graph_memory_tracked", &figures.memory]),
            texts(["vector_index_memory_tracked", UNKNOWN]),
            texts(["global_isolation_level", self.config.isolation.as_str()]),
        ];
        rows.extend(session_levels(session));
        rows.push(texts(["global_storage_mode", mode_name(self.config.analytical)]));
        rows
    }

    /// What was told before 3.11.
    fn database_and_instance_rows(&self, session: &SessionInfo) -> Vec<Vec<BoltValue>> {
        let version = self.config.version;
        let figures = self.figures();
        let mut rows = vec![texts(["name", DATABASE])];
        if version >= Version::V3_5 {
            rows.push(texts(["database_uuid", &figures.uuid]));
        }
        rows.extend([
            vec!["vertex_count".into(), figures.nodes],
            vec!["edge_count".into(), figures.relationships],
            vec!["average_degree".into(), figures.degree],
            vec!["vm_max_map_count".into(), BoltValue::Integer(524_288)],
            texts(["memory_res", &figures.memory]),
            texts(["peak_memory_res", &figures.memory]),
            vec!["unreleased_delta_objects".into(), BoltValue::Integer(0)],
        ]);
        if version >= Version::V3_10 {
            rows.extend([
                texts(["global_disk_usage", &figures.disk]),
                texts(["global_memory_tracked", &figures.memory]),
                texts(["global_runtime_allocation_limit", &figures.memory_limit]),
                texts(["global_license_allocation_limit", UNLIMITED]),
                texts(["db_memory_tracked", &figures.memory]),
                texts(["db_storage_memory_tracked", &figures.memory]),
                texts(["db_embedding_memory_tracked", UNKNOWN]),
                texts(["db_query_memory_tracked", UNKNOWN]),
            ]);
        } else {
            rows.extend([
                texts(["disk_usage", &figures.disk]),
                texts(["memory_tracked", &figures.memory]),
                texts(["allocation_limit", &figures.memory_limit]),
            ]);
        }
        rows.push(texts(["global_isolation_level", self.isolation.get().as_str()]));
        rows.extend(session_levels(session));
        rows.push(texts(["storage_mode", figures.mode]));
        rows
    }

    fn database_rows(&self) -> Vec<Vec<BoltValue>> {
        let figures = self.figures();
        let since_3_12 = self.config.version >= Version::V3_12;
        let mut rows = vec![texts(["name", DATABASE]), texts(["database_uuid", &figures.uuid])];
        if since_3_12 {
            rows.push(texts(["state", "HOT"]));
        }
        rows.extend([
            texts(["storage_mode", figures.mode]),
            vec!["vertex_count".into(), figures.nodes],
            vec!["edge_count".into(), figures.relationships],
            vec!["average_degree".into(), figures.degree],
            vec!["unreleased_delta_objects".into(), BoltValue::Integer(0)],
            texts(["disk_usage", &figures.disk]),
            texts(["graph_memory_tracked", &figures.memory]),
            texts(["query_memory_tracked", UNKNOWN]),
            texts(["vector_index_memory_tracked", UNKNOWN]),
            texts(["tenant_memory_tracked", &figures.memory]),
            texts(["tenant_peak_memory_tracked", &figures.memory]),
            texts(["tenant_memory_limit", UNLIMITED]),
            texts(["storage_isolation_level", self.isolation.get().as_str()]),
        ]);
        if since_3_12 {
            rows.push(texts([
                "health",
                if self.broken.get() { "broken" } else { "ready" },
            ]));
        }
        rows
    }
}

const fn mode_name(analytical: bool) -> &'static str {
    if analytical {
        "IN_MEMORY_ANALYTICAL"
    } else {
        "IN_MEMORY_TRANSACTIONAL"
    }
}

fn status(text: &str) -> Answer {
    rows(vec![texts([text])])
}

fn session_levels(session: &SessionInfo) -> [Vec<BoltValue>; 2] {
    let name = |level: Option<Isolation>| level.map_or("", Isolation::as_str);
    [
        texts(["session_isolation_level", name(session.isolation.get())]),
        texts(["next_session_isolation_level", name(session.next_isolation.get())]),
    ]
}

fn integer(value: usize) -> BoltValue {
    BoltValue::Integer(i64::try_from(value).unwrap_or(i64::MAX))
}
