//! Reads Memgraph's rows. Columns are found by name and further ones are ignored, because they differ between
//! versions.

use std::time::Duration;

use serde_json::Value;

use super::Row;
use crate::{
    api::RegistrationMode,
    plan::{
        observation::{DataStatus, Registration, Role, StorageMode},
        tells_mode_of_a_database,
    },
};

/// An answer that does not look as any supported version's does.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{statement} answered {detail}; is this a supported Memgraph version (3.5 or newer)?")]
pub struct UnexpectedAnswer {
    /// The statement.
    pub statement: &'static str,
    /// What was seen.
    pub detail: String,
}

fn text<'a>(statement: &'static str, row: &'a Row, column: &str) -> Result<&'a str, UnexpectedAnswer> {
    row.get(column)
        .and_then(Value::as_str)
        .ok_or_else(|| UnexpectedAnswer {
            statement,
            detail: format!("a row without {column:?}: {row:?}"),
        })
}

fn only(statement: &'static str, rows: &[Row]) -> Result<Row, UnexpectedAnswer> {
    match rows {
        [row] => Ok(row.clone()),
        rows => Err(UnexpectedAnswer {
            statement,
            detail: format!("{} rows instead of one", rows.len()),
        }),
    }
}

pub(super) const SHOW_ROLE: &str = "SHOW REPLICATION ROLE";
pub(super) const SHOW_REPLICAS: &str = "SHOW REPLICAS";
pub(super) const SHOW_TRANSACTIONS: &str = "SHOW TRANSACTIONS";
pub(super) const SHOW_VERSION: &str = "SHOW VERSION";
pub(super) const SHOW_STORAGE: &str = "SHOW STORAGE INFO";
/// From 3.11 on.
pub(super) const SHOW_DATABASE_STORAGE: &str = "SHOW STORAGE INFO ON CURRENT DATABASE";

pub(super) fn role(rows: &[Row]) -> Result<Role, UnexpectedAnswer> {
    let row = only(SHOW_ROLE, rows)?;
    match text(SHOW_ROLE, &row, "replication role")? {
        "main" => Ok(Role::Main),
        "replica" => Ok(Role::Replica),
        other => Err(UnexpectedAnswer {
            statement: SHOW_ROLE,
            detail: format!("the role {other:?}"),
        }),
    }
}

/// What changes nothing and holds nothing, and is asked by this operator: the very question, and one that takes long on a slow disk.
const QUESTIONS: [&str; 3] = [SHOW_TRANSACTIONS, SHOW_STORAGE, SHOW_DATABASE_STORAGE];

/// The transactions of sessions that run, but for those that only ask: the queries of each, and whether it commits. Before 3.9 that is
/// not told: each may begin to at any moment, and one that has begun is not listed any more (`interpreter.cpp`).
///
/// What the server does by itself has a word in the place of the number: `snapshot` from 3.9 on, `gc` from 3.11 on
/// (`BuildBackgroundTaskRow` in `query/interpreter.cpp`). Neither keeps a MAIN from stepping down, or leaves anything behind in it.
fn running(rows: &[Row]) -> Result<Vec<(Vec<&str>, bool)>, UnexpectedAnswer> {
    let mut running = Vec::new();
    for row in rows {
        let queries = row
            .get("query")
            .and_then(Value::as_array)
            .ok_or_else(|| UnexpectedAnswer {
                statement: SHOW_TRANSACTIONS,
                detail: format!("a row without a list \"query\": {row:?}"),
            })?;
        let queries: Vec<&str> = queries
            .iter()
            .map(|query| query.as_str().unwrap_or_default())
            .collect();
        let only_asks = |query: &&str| QUESTIONS.iter().any(|known| query.eq_ignore_ascii_case(known));
        let asks = !queries.is_empty() && queries.iter().all(only_asks);
        let by_itself = row
            .get("transaction_id")
            .and_then(Value::as_str)
            .is_some_and(|id| id.parse::<u64>().is_err());
        if !asks && !by_itself {
            let status = row.get("status").and_then(Value::as_str);
            running.push((queries, status.is_none_or(|status| status == "committing")));
        }
    }
    Ok(running)
}

/// How many of them there are.
pub(super) fn transactions(rows: &[Row]) -> Result<usize, UnexpectedAnswer> {
    Ok(running(rows)?.len())
}

/// Whether one of them commits.
pub(super) fn commits(rows: &[Row]) -> Result<bool, UnexpectedAnswer> {
    Ok(running(rows)?.iter().any(|(_, commits)| *commits))
}

/// Whether one of them is about this statement.
pub(super) fn has_begun(rows: &[Row], statement: &str) -> Result<bool, UnexpectedAnswer> {
    Ok(running(rows)?
        .iter()
        .any(|(queries, _)| queries.contains(&statement)))
}

pub(super) fn version(rows: &[Row]) -> Result<String, UnexpectedAnswer> {
    Ok(text(SHOW_VERSION, &only(SHOW_VERSION, rows)?, "version")?.to_owned())
}

/// What asks an instance of this version for its storage mode. It takes no lock of the storage, and walks the data directory
/// (`PrepareSystemInfoQuery` in `interpreter.cpp`, `GetBaseInfo` in `inmemory/storage.cpp`).
pub(super) fn show_storage(version: &str) -> &'static str {
    if tells_mode_of_a_database(version) {
        SHOW_DATABASE_STORAGE
    } else {
        SHOW_STORAGE
    }
}

/// The storage mode that the answer to [`show_storage`] tells; none where it tells none that is known.
pub(super) fn storage_mode(rows: &[Row]) -> Option<StorageMode> {
    let told = |row: &&Row| row.get("storage info").and_then(Value::as_str) == Some("storage_mode");
    let value = rows.iter().find(told)?.get("value")?.as_str()?;
    let all = [
        StorageMode::Transactional,
        StorageMode::Analytical,
        StorageMode::OnDisk,
    ];
    all.into_iter().find(|mode| mode.as_str() == value)
}

/// The database in which a session begins, and the only one without a license (`dbms/constants.hpp`).
const DEFAULT_DATABASE: &str = "memgraph";

/// The registrations that MAIN lists. `data_info` is a map from database to
/// `{ts, behind, status}`; it is empty for a ghost.
pub(super) fn registrations(rows: &[Row]) -> Result<Vec<Registration>, UnexpectedAnswer> {
    rows.iter().map(registration).collect()
}

fn registration(row: &Row) -> Result<Registration, UnexpectedAnswer> {
    let unexpected = |detail: String| UnexpectedAnswer {
        statement: SHOW_REPLICAS,
        detail,
    };
    let mode = match text(SHOW_REPLICAS, row, "sync_mode")? {
        "strict_sync" => RegistrationMode::StrictSync,
        "sync" => RegistrationMode::Sync,
        "async" => RegistrationMode::Async,
        other => return Err(unexpected(format!("the mode {other:?}"))),
    };
    let databases = match row.get("data_info") {
        Some(Value::Object(databases)) => databases,
        other => return Err(unexpected(format!("data_info {other:?}"))),
    };
    let mut status = None;
    let mut behind: i64 = 0;
    let mut reached = None;
    for (name, database) in databases {
        status = status.max(Some(data_status(database.get("status").and_then(Value::as_str))?));
        let number = |key: &str| {
            let number = database.get(key).and_then(Value::as_i64);
            number.ok_or_else(|| unexpected(format!("data_info {database}")))
        };
        let distance = number("behind")?;
        if distance.unsigned_abs() > behind.unsigned_abs() {
            behind = distance;
        }
        if distance < 0 && name == DEFAULT_DATABASE {
            reached = Some(number("ts")?);
        }
    }
    Ok(Registration {
        name: text(SHOW_REPLICAS, row, "name")?.to_owned(),
        address: text(SHOW_REPLICAS, row, "socket_address")?.to_owned(),
        mode,
        status,
        reached,
        behind,
        lacking_for: Duration::ZERO,
        unwell_for: Duration::ZERO,
        has_followed: false,
        advanced_ago: None,
        invalid_for: Duration::ZERO,
    })
}

fn data_status(status: Option<&str>) -> Result<DataStatus, UnexpectedAnswer> {
    Ok(match status {
        Some("ready") => DataStatus::Ready,
        Some("replicating") => DataStatus::Replicating,
        Some("recovery") => DataStatus::Recovery,
        Some("invalid") => DataStatus::Invalid,
        Some("diverged") => DataStatus::Diverged,
        other => {
            return Err(UnexpectedAnswer {
                statement: SHOW_REPLICAS,
                detail: format!("the data status {other:?}"),
            });
        }
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn replica(data_info: Value) -> Row {
        Row::from([
            ("name".into(), json!("pod_1_g7")),
            (
                "socket_address".into(),
                json!("demo-1.demo-instances.db.svc.cluster.local:10000"),
            ),
            ("sync_mode".into(), json!("strict_sync")),
            ("system_info".into(), Value::Null),
            ("data_info".into(), data_info),
        ])
    }

    #[test]
    fn only_sessions_have_transactions_that_are_waited_for() {
        let row = |id: &str, query: &str| {
            Row::from([
                ("transaction_id".into(), json!(id)),
                ("query".into(), json!([query])),
                ("status".into(), json!("running")),
            ])
        };
        let own = row("9223372036854775815", SHOW_TRANSACTIONS);
        let by_itself = [
            row("snapshot", "CREATE SNAPSHOT"),
            row("gc", "GARBAGE COLLECTION"),
        ];
        // On a slow disk the former question is still under way.
        let questions = [own, row("9223372036854775814", SHOW_DATABASE_STORAGE)];
        let rows: Vec<_> = by_itself.into_iter().chain(questions).collect();
        assert_eq!(transactions(&rows).unwrap(), 0);
        let import = row(
            "9223372036854775816",
            "LOAD CSV FROM '/a' NO HEADER AS row CREATE ()",
        );
        let rows: Vec<_> = rows.into_iter().chain([import]).collect();
        assert_eq!(transactions(&rows).unwrap(), 1);
    }

    #[test]
    fn what_commits_is_told_from_what_only_runs_and_counts_as_committing_where_that_is_not_told() {
        let row = |status: Option<&str>| {
            let mut row = Row::from([
                ("transaction_id".into(), json!("9223372036854775816")),
                ("query".into(), json!(["BEGIN", "CREATE ()"])),
            ]);
            row.extend(status.map(|status| ("status".into(), json!(status))));
            [row]
        };
        assert!(!commits(&row(Some("running"))).unwrap());
        assert!(commits(&row(Some("committing"))).unwrap());
        assert!(commits(&row(None)).unwrap());
        assert!(!commits(&[]).unwrap());
        assert!(has_begun(&row(None), "CREATE ()").unwrap());
        assert!(!has_begun(&row(None), "CREATE (n)").unwrap());
    }

    #[test]
    fn a_healthy_replica_is_in_sync() {
        let row = replica(json!({"memgraph": {"ts": 4, "behind": 0, "status": "ready"}}));
        let seen = registrations(&[row]).unwrap();
        assert!(seen[0].in_sync() && seen[0].is_sync());
    }

    #[test]
    fn the_worst_database_counts() {
        let row = replica(json!({
            "memgraph": {"ts": 4, "behind": 0, "status": "ready"},
            "other": {"ts": 2, "behind": -3, "status": "invalid"},
        }));
        let seen = registrations(&[row]).unwrap();
        assert_eq!((seen[0].status, seen[0].behind), (Some(DataStatus::Invalid), -3));
        assert_eq!(
            seen[0].reached, None,
            "a commit in the usual one would show it nothing"
        );
    }

    #[test]
    fn an_empty_data_info_is_a_ghost() {
        assert_eq!(registrations(&[replica(json!({}))]).unwrap()[0].status, None);
    }

    #[test]
    fn the_storage_mode_is_found_by_name_and_that_of_the_flag_is_not_taken_for_it() {
        let row = |name: &str, value: Value| {
            Row::from([("storage info".into(), json!(name)), ("value".into(), value)])
        };
        let told =
            |mode: &str| storage_mode(&[row("vertex_count", json!(3)), row("storage_mode", json!(mode))]);
        assert_eq!(told("IN_MEMORY_TRANSACTIONAL"), Some(StorageMode::Transactional));
        assert_eq!(told("IN_MEMORY_ANALYTICAL"), Some(StorageMode::Analytical));
        assert_eq!(told("ON_DISK_TRANSACTIONAL"), Some(StorageMode::OnDisk));
        assert_eq!(told("SOMEWHERE_ELSE"), None);
        let flag = row("global_storage_mode", json!("IN_MEMORY_TRANSACTIONAL"));
        assert_eq!(storage_mode(&[flag]), None);
    }

    #[test]
    fn the_statement_that_tells_the_mode_of_the_database_differs_between_releases() {
        assert_eq!(show_storage("3.10.1"), "SHOW STORAGE INFO");
        for newer in ["3.11.0", "3.12.0", "master"] {
            assert_eq!(show_storage(newer), "SHOW STORAGE INFO ON CURRENT DATABASE");
        }
    }

    #[test]
    fn unknown_words_are_errors_that_name_the_statement() {
        let row = replica(json!({"memgraph": {"ts": 4, "behind": 0, "status": "sleepy"}}));
        let error = registrations(&[row]).unwrap_err();
        assert_eq!(error.statement, "SHOW REPLICAS");
        assert!(error.to_string().contains("sleepy"), "{error}");
        assert!(registrations(&[replica(Value::Null)]).is_err());
        assert!(role(&[]).is_err());
    }
}
