//! Statements that tell about the instance, and the remaining ones.

use std::rc::Rc;

use bolt_server::{Failure, Notification, Temporal, Value as BoltValue, Version};
use cypher_subset::ast::{Durability, MultiDatabase, SystemInfo, TransactionStatus};

use super::texts;
use crate::{
    durability::files,
    engine::{
        Node, Time,
        session::{Answer, DATABASE},
        sessions::SessionInfo,
    },
    messages,
};

pub(super) fn rows(rows: Vec<Vec<BoltValue>>) -> Answer {
    Answer {
        rows,
        notifications: Vec::new(),
    }
}

pub(super) fn transaction_fields(version: Version) -> &'static [&'static str] {
    if version >= Version::V3_11 {
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
    pub(super) fn show_system(&self, info: &SystemInfo, session: &SessionInfo) -> Result<Answer, Failure> {
        Ok(rows(match info {
            SystemInfo::Version => vec![texts([self.config.version.number()])],
            SystemInfo::Storage(scope) => self.storage_info(scope, session)?,
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
                .map(|[name, default, current, about]| {
                    let current = self.current_flag(name).unwrap_or_else(|| current.clone());
                    texts([name, default, &current, about])
                })
                .collect(),
        }))
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
            // Up to 3.8 one that has begun to commit is passed over.
            if running.committing && version < Version::V3_10 {
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
            if version >= Version::V3_11 {
                row.extend(self.since(running.started));
            }
            answer.push(row);
        }
        // `BuildSnapshotTransactionRow` in `query/interpreter.cpp`, from 3.9 on. There is no row of a GC: none takes any time here.
        let wanted = statuses.is_empty() || statuses.contains(&TransactionStatus::Running);
        let snapshot = self.snapshot_abort.borrow();
        if let Some((_, began)) = snapshot.as_ref().filter(|_| version >= Version::V3_10 && wanted) {
            answer.push(self.snapshot_row(*began));
        }
        rows(answer)
    }

    /// The snapshot that is being written, among the transactions.
    fn snapshot_row(&self, began: Time) -> Vec<BoltValue> {
        let queries = vec![BoltValue::from("CREATE SNAPSHOT")];
        let phase = [("phase".to_owned(), "vertices".into())].into_iter().collect();
        let mut row = vec![
            "".into(),
            "snapshot".into(),
            BoltValue::List(queries),
            "running".into(),
            BoltValue::Map(phase),
        ];
        if self.config.version >= Version::V3_11 {
            row.extend(self.since(began));
        }
        row
    }

    /// When something began, and for how many milliseconds it has been under way (`StartTimeAndElapsedMs` in `query/interpreter.cpp` from
    /// 3.11 on).
    fn since(&self, began: Time) -> [BoltValue; 2] {
        let began_at = i64::try_from(began.as_micros()).unwrap_or(i64::MAX);
        let began_at = self.config.started_at.saturating_add(began_at);
        let elapsed = self.io.now().saturating_sub(began).as_millis();
        [
            BoltValue::Temporal(Temporal::InUtc {
                seconds: began_at.div_euclid(1_000_000),
                nanoseconds: began_at.rem_euclid(1_000_000) * 1_000,
            }),
            BoltValue::Integer(i64::try_from(elapsed).unwrap_or(i64::MAX)),
        ]
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
                        files::readable_size(file.size as u64).into(),
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

    /// `RELOAD BOLT_SERVER TLS` (`PrepareReloadSSLQuery` in query/interpreter.cpp).
    pub(super) async fn reload_tls(&self) -> Result<Answer, Failure> {
        self.io.reload_tls().await.map_err(Failure::client)?;
        let title = if self.config.version >= Version::V3_11 {
            "Reloaded TLS on Bolt server"
        } else {
            "Reloading SSL for Bolt server"
        };
        Ok(Answer {
            rows: Vec::new(),
            notifications: vec![Notification::info("ReloadSSL", title)],
        })
    }

    fn absolute(&self, path: &str) -> String {
        format!("{}/{path}", self.config.data_directory.trim_end_matches('/'))
    }
}
