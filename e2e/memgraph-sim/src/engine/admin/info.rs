//! Statements that tell about the instance, and the remaining ones.

use std::rc::Rc;

use bolt_server::{Failure, Value as BoltValue, Version};
use cypher_subset::ast::{
    Durability, Instance, MultiDatabase, StorageInfoScope, StorageMode, SystemInfo, TransactionStatus,
};

use super::texts;
use crate::{
    durability::files,
    engine::{
        Node,
        session::{Answer, DATABASE},
    },
    messages,
    storage::Transaction,
};

/// What memory figures show: the simulator does not count memory.
const NO_MEMORY: &str = "0B";

fn rows(rows: Vec<Vec<BoltValue>>) -> Answer {
    Answer {
        rows,
        notifications: Vec::new(),
    }
}

fn integer(value: usize) -> BoltValue {
    BoltValue::Integer(i64::try_from(value).unwrap_or(i64::MAX))
}

pub(super) fn transaction_fields(version: Version) -> &'static [&'static str] {
    if version >= Version::V3_12 {
        &[
            "username",
            "transaction_id",
            "query",
            "status",
            "metadata",
            "start_time",
            "elapsed_ms",
        ]
    } else if version >= Version::V3_10 {
        &["username", "transaction_id", "query", "status", "metadata"]
    } else {
        &["username", "transaction_id", "query", "metadata"]
    }
}

/// Multi-tenancy is an enterprise feature, but one may ask for the one database.
pub(super) fn databases(version: Version, statement: &MultiDatabase) -> Result<Answer, Failure> {
    match statement {
        MultiDatabase::ShowCurrent => Ok(rows(vec![texts([DATABASE])])),
        MultiDatabase::Use(name) if name == DATABASE => {
            Ok(rows(vec![texts([format!("Using {DATABASE}").as_str()])]))
        }
        MultiDatabase::ShowAll
        | MultiDatabase::Use(_)
        | MultiDatabase::Create(_)
        | MultiDatabase::Drop { .. } => Err(messages::enterprise(version, "multi-tenancy")),
    }
}

impl Node {
    pub(super) fn show_system(&self, info: &SystemInfo) -> Result<Answer, Failure> {
        Ok(rows(match info {
            SystemInfo::Version => vec![texts([self.config.version.number()])],
            SystemInfo::Storage(scope) => self.storage_info(scope)?,
            SystemInfo::Build => vec![texts(["build_type", "Release"])],
            SystemInfo::License => vec![
                texts(["organization_name", ""]),
                texts(["license_key", ""]),
                vec!["is_valid".into(), BoltValue::Boolean(false)],
                texts(["license_type", ""]),
                texts(["valid_until", ""]),
                texts(["memory_limit", "UNLIMITED"]),
                texts(["status", "You have not provided any license!"]),
                texts(["memory_limit_policy", ""]),
            ],
            SystemInfo::ActiveUsers => Vec::new(),
            SystemInfo::Config => self
                .config
                .flags
                .iter()
                .map(|[name, default, current, about]| texts([name, default, current, about]))
                .collect(),
        }))
    }

    fn storage_info(&self, scope: &StorageInfoScope) -> Result<Vec<Vec<BoltValue>>, Failure> {
        let version = self.config.version;
        match scope {
            StorageInfoScope::Unqualified if version >= Version::V3_11 => Ok(self.instance_rows()),
            StorageInfoScope::Unqualified => Ok(self.database_and_instance_rows()),
            StorageInfoScope::CurrentDatabase => Ok(self.database_rows()),
            StorageInfoScope::Database(name) if name == DATABASE => Ok(self.database_rows()),
            StorageInfoScope::Database(_) => Err(messages::enterprise(version, "multi-tenancy")),
        }
    }

    fn mode(&self) -> &'static str {
        if self.database.borrow().analytical {
            "IN_MEMORY_ANALYTICAL"
        } else {
            "IN_MEMORY_TRANSACTIONAL"
        }
    }

    fn counts(&self) -> (BoltValue, BoltValue, BoltValue) {
        let (nodes, relationships) = self.database.borrow().graph.counts();
        let degree = if nodes == 0 {
            0.0
        } else {
            2.0 * relationships as f64 / nodes as f64
        };
        (integer(nodes), integer(relationships), BoltValue::Float(degree))
    }

    fn instance_rows(&self) -> Vec<Vec<BoltValue>> {
        vec![
            vec!["vm_max_map_count".into(), BoltValue::Integer(524_288)],
            texts(["memory_res", NO_MEMORY]),
            texts(["peak_memory_res", NO_MEMORY]),
            texts(["disk_usage", NO_MEMORY]),
            texts(["memory_tracked", NO_MEMORY]),
            texts(["memory_limit", NO_MEMORY]),
            texts(["license_memory_limit", "UNLIMITED"]),
            texts(["query+graph_memory_tracked", NO_MEMORY]),
            texts(["vector_index_memory_tracked", NO_MEMORY]),
            texts(["global_isolation_level", "SNAPSHOT_ISOLATION"]),
            texts(["session_isolation_level", ""]),
            texts(["next_session_isolation_level", ""]),
            texts(["global_storage_mode", self.mode()]),
        ]
    }

    fn database_and_instance_rows(&self) -> Vec<Vec<BoltValue>> {
        let version = self.config.version;
        let renamed = version >= Version::V3_10;
        let (nodes, relationships, degree) = self.counts();
        let mut rows = vec![texts(["name", DATABASE])];
        if version >= Version::V3_6 {
            let uuid = self.database.borrow().uuid.to_string();
            rows.push(texts(["database_uuid", uuid.as_str()]));
        }
        rows.extend([
            vec!["vertex_count".into(), nodes],
            vec!["edge_count".into(), relationships],
            vec!["average_degree".into(), degree],
            vec!["vm_max_map_count".into(), BoltValue::Integer(524_288)],
            texts(["memory_res", NO_MEMORY]),
            texts(["peak_memory_res", NO_MEMORY]),
            vec!["unreleased_delta_objects".into(), BoltValue::Integer(0)],
            texts(["disk_usage", NO_MEMORY]),
            texts(["memory_tracked", NO_MEMORY]),
            texts(["allocation_limit", NO_MEMORY]),
            texts(["global_isolation_level", "SNAPSHOT_ISOLATION"]),
            texts(["session_isolation_level", ""]),
            texts(["next_session_isolation_level", ""]),
            texts([
                if renamed {
                    "db_storage_mode"
                } else {
                    "storage_mode"
                },
                self.mode(),
            ]),
        ]);
        rows
    }

    fn database_rows(&self) -> Vec<Vec<BoltValue>> {
        let (nodes, relationships, degree) = self.counts();
        let uuid = self.database.borrow().uuid.to_string();
        let since_3_12 = self.config.version >= Version::V3_12;
        let mut rows = vec![texts(["name", DATABASE]), texts(["database_uuid", uuid.as_str()])];
        if since_3_12 {
            rows.push(texts(["state", "HOT"]));
        }
        rows.extend([
            texts(["storage_mode", self.mode()]),
            vec!["vertex_count".into(), nodes],
            vec!["edge_count".into(), relationships],
            vec!["average_degree".into(), degree],
            vec!["unreleased_delta_objects".into(), BoltValue::Integer(0)],
            texts(["disk_usage", NO_MEMORY]),
            texts(["graph_memory_tracked", NO_MEMORY]),
            texts(["query_memory_tracked", NO_MEMORY]),
            texts(["vector_index_memory_tracked", NO_MEMORY]),
            texts(["tenant_memory_tracked", NO_MEMORY]),
            texts(["tenant_peak_memory_tracked", NO_MEMORY]),
            texts(["tenant_memory_limit", "UNLIMITED"]),
            texts(["storage_isolation_level", "SNAPSHOT_ISOLATION"]),
        ]);
        if since_3_12 {
            rows.push(texts(["health", "ready"]));
        }
        rows
    }

    pub(super) fn show_transactions(&self, statuses: &[TransactionStatus]) -> Answer {
        let version = self.config.version;
        let mut answer = Vec::new();
        for (user, running) in self.sessions.running() {
            let status = if running.committing {
                TransactionStatus::Committing
            } else {
                TransactionStatus::Running
            };
            if !statuses.is_empty() && !statuses.contains(&status) {
                continue;
            }
            let queries = running.queries.into_iter().map(BoltValue::from).collect();
            let mut row = vec![
                user.into(),
                running.id.to_string().into(),
                BoltValue::List(queries),
            ];
            if version >= Version::V3_10 {
                row.push(
                    if running.committing {
                        "committing"
                    } else {
                        "running"
                    }
                    .into(),
                );
            }
            row.push(BoltValue::Map(running.metadata));
            if version >= Version::V3_12 {
                let started = i64::try_from(running.started.as_micros()).unwrap_or(i64::MAX);
                row.push(files::readable_time(self.config.started_at.saturating_add(started)).into());
                let elapsed = self.io.now().saturating_sub(running.started).as_millis();
                row.push(BoltValue::Integer(i64::try_from(elapsed).unwrap_or(i64::MAX)));
            }
            answer.push(row);
        }
        rows(answer)
    }

    pub(super) fn terminate_transactions(&self, ids: &[String]) -> Answer {
        let killed = |id: &String| id.parse().is_ok_and(|id| self.sessions.terminate(id));
        rows(
            ids.iter()
                .map(|id| vec![id.as_str().into(), BoltValue::Boolean(killed(id))])
                .collect(),
        )
    }

    pub(super) async fn durability_statement(
        self: &Rc<Self>,
        statement: &Durability,
    ) -> Result<Answer, Failure> {
        let version = self.config.version;
        match statement {
            Durability::CreateSnapshot => {
                // 3.4 makes none that would be the same as the last one.
                let path = self
                    .create_snapshot(version >= Version::V3_5)
                    .await
                    .map_err(|error| messages::snapshot_error(version, &error))?;
                if version < Version::V3_5 {
                    return Ok(Answer::default());
                }
                Ok(rows(vec![texts([self.absolute(&path).as_str()])]))
            }
            Durability::RecoverSnapshot { path, force } => {
                self.recover_snapshot(path, *force).await?;
                Ok(Answer::default())
            }
            Durability::ShowSnapshots => {
                let catalogue = self.catalogue.borrow();
                let row = |file: &crate::engine::snapshots::SnapshotFile| {
                    vec![
                        self.absolute(&file.path).into(),
                        BoltValue::Integer(i64::try_from(file.durable).unwrap_or(i64::MAX)),
                        files::readable_time(file.created_at).into(),
                        format!("{}B", file.size).into(),
                    ]
                };
                Ok(rows(catalogue.snapshots.iter().rev().map(row).collect()))
            }
            Durability::ShowNextSnapshot => {
                let next = self.next_snapshot.get().map(|at| {
                    let at = i64::try_from(at.as_micros()).unwrap_or(i64::MAX);
                    let time = files::readable_time(self.config.started_at.saturating_add(at));
                    texts([self.absolute(files::SNAPSHOTS).as_str(), time.as_str()])
                });
                Ok(rows(next.into_iter().collect()))
            }
        }
    }

    pub(super) fn instance_statement(
        &self,
        statement: &Instance,
        transaction: Option<&mut Transaction>,
    ) -> Result<Answer, Failure> {
        match (statement, transaction) {
            (Instance::FreeMemory, _) => Ok(Answer::default()),
            (Instance::SetStorageMode(StorageMode::InMemoryTransactional), _) => {
                self.database.borrow_mut().analytical = false;
                Ok(Answer::default())
            }
            (Instance::SetStorageMode(StorageMode::InMemoryAnalytical), _) => {
                let replicas = self.attached_replicas();
                if self.config.version >= Version::Head && replicas > 0 {
                    return Err(messages::analytical_with_replicas(replicas));
                }
                self.database.borrow_mut().analytical = true;
                Ok(Answer::default())
            }
            (Instance::SetStorageMode(StorageMode::OnDiskTransactional), _) => {
                Err(messages::unsupported("storage on disk"))
            }
            (Instance::DumpDatabase, Some(transaction)) => {
                let lines = self.database.borrow().graph.dump(transaction.view);
                Ok(rows(lines.into_iter().map(|line| vec![line.into()]).collect()))
            }
            (Instance::DataDirectoryLockStatus, _) => Ok(rows(vec![texts(["Data directory is unlocked."])])),
            (Instance::LockDataDirectory | Instance::UnlockDataDirectory, _) => {
                Err(messages::unsupported("locking the data directory"))
            }
            (Instance::SetIsolationLevel { .. }, _) => Err(messages::unsupported("other isolation levels")),
            (Instance::DumpDatabase, None) => {
                Err(messages::unsupported("DUMP DATABASE without a transaction"))
            }
        }
    }

    fn absolute(&self, path: &str) -> String {
        format!("{}/{path}", self.config.data_directory.trim_end_matches('/'))
    }
}
