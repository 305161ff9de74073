//! What an instance of Memgraph 3.11 or newer holds and uses, as it tells itself.
//!
//! `SHOW STORAGE INFO` takes no lock of the storage and begins no transaction there; it reads `/proc` and walks the data directory
//! (`PrepareSystemInfoQuery` and `GetInstanceStorageInfo` in Memgraph's `query/interpreter.cpp`, `GetBaseInfo` in
//! `storage/v2/inmemory/storage.cpp`). A replica answers it as MAIN does. Before 3.11 that walk could fail
//! ([`crate::plan::counts_files_safely`]).
//!
//! `SHOW SNAPSHOTS` is not asked: it waits for a snapshot that is being taken, for as long as that takes, and keeps one of the few
//! threads that serve clients meanwhile; while it looks, it holds the lock for which the recovery of a replica waits, and in
//! older releases a demotion (`snapshot_lock_`).

use std::{net::SocketAddr, time::Duration};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    Bolt, BoltError, Row, Session,
    rows::{SHOW_DATABASE_STORAGE, SHOW_STORAGE},
};

/// What an instance holds and uses. Sizes are as exact as Memgraph tells them: two digits after the point of KiB, MiB, GiB or TiB.
/// None: it does not tell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Usage {
    /// Nodes, those included that were deleted lately.
    pub vertices: Option<u64>,
    /// Relationships.
    pub edges: Option<u64>,
    /// Memory that its process has in RAM.
    pub memory_bytes: Option<u64>,
    /// The most that this has been since the process was started.
    pub memory_peak_bytes: Option<u64>,
    /// Memory that it counts against its limit.
    pub memory_tracked_bytes: Option<u64>,
    /// The limit: beyond it, queries fail. None also: there is none.
    pub memory_limit_bytes: Option<u64>,
    /// Files in its data directory: snapshots and logs.
    pub disk_bytes: Option<u64>,
}

impl Usage {
    /// What rows about the instance and rows about its database tell. Both have a row `disk_usage`.
    fn read(instance: &[Row], database: &[Row]) -> Self {
        let size = |name| bytes(value(instance, name)?.as_str()?);
        let count = |name| value(database, name)?.as_u64();
        let limits = [size("memory_limit"), size("license_memory_limit")];
        Self {
            vertices: count("vertex_count"),
            edges: count("edge_count"),
            memory_bytes: size("memory_res"),
            memory_peak_bytes: size("peak_memory_res"),
            memory_tracked_bytes: size("memory_tracked"),
            memory_limit_bytes: limits.into_iter().flatten().filter(|limit| *limit > 0).min(),
            disk_bytes: size("disk_usage"),
        }
    }
}

fn value<'a>(rows: &'a [Row], name: &str) -> Option<&'a Value> {
    let named = |row: &&Row| row.get("storage info").and_then(Value::as_str) == Some(name);
    rows.iter().find(named)?.get("value")
}

/// What the instance at this address holds and uses. Each of its two answers is waited for until `deadline`.
///
/// # Errors
/// When it gave none.
pub async fn usage<B: Bolt>(client: &B, at: SocketAddr, deadline: Duration) -> Result<Usage, BoltError> {
    let mut session = client.session(at);
    let instance = session.run(SHOW_STORAGE, deadline).await?;
    let database = session.run(SHOW_DATABASE_STORAGE, deadline).await?;
    Ok(Usage::read(&instance, &database))
}

/// A size as Memgraph writes it for people (`utils/readable_size.cpp`): `17B`, `1.50KiB`.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "it is not negative, and one that is too large becomes the largest"
)]
fn bytes(text: &str) -> Option<u64> {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let (number, unit) = text.split_at(text.find(|c: char| c.is_ascii_alphabetic())?);
    let (_, power) = UNITS.iter().zip(0..).find(|(known, _)| **known == unit)?;
    let number: f64 = number.parse().ok()?;
    (number >= 0.0).then(|| (number * 1024_f64.powi(power)).round() as u64)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn rows(told: &[(&str, Value)]) -> Vec<Row> {
        let row = |(name, value): &(&str, Value)| {
            Row::from([
                ("storage info".to_owned(), json!(name)),
                ("value".to_owned(), value.clone()),
            ])
        };
        told.iter().map(row).collect()
    }

    #[test]
    fn sizes_are_read_as_memgraph_writes_them() {
        for (text, expected) in [
            ("0B", Some(0)),
            ("1023B", Some(1023)),
            ("1.50KiB", Some(1536)),
            ("921.00MiB", Some(921 << 20)),
            ("12.34GiB", Some(13_249_974_108)),
            ("2048.00TiB", Some(2048 << 40)),
            ("unlimited", None),
            ("-7B", None),
            ("1.5 KiB", None),
            ("1.5KB", None),
            ("7", None),
            ("", None),
            ("KiB", None),
        ] {
            assert_eq!(bytes(text), expected, "{text}");
        }
    }

    #[test]
    fn memory_and_files_are_those_of_the_instance_and_the_graph_that_of_its_database() {
        let instance = rows(&[
            ("memory_res", json!("3.00MiB")),
            ("peak_memory_res", json!("4.00MiB")),
            ("disk_usage", json!("1.00KiB")),
            ("memory_tracked", json!("2.00MiB")),
            ("memory_limit", json!("12.00MiB")),
            ("license_memory_limit", json!("9.00MiB")),
        ]);
        let database = rows(&[
            ("vertex_count", json!(7)),
            ("edge_count", json!(5)),
            ("disk_usage", json!("7B")),
            ("tenant_memory_limit", json!("unlimited")),
        ]);
        let expected = Usage {
            vertices: Some(7),
            edges: Some(5),
            memory_bytes: Some(3 << 20),
            memory_peak_bytes: Some(4 << 20),
            memory_tracked_bytes: Some(2 << 20),
            memory_limit_bytes: Some(9 << 20),
            disk_bytes: Some(1 << 10),
        };
        assert_eq!(Usage::read(&instance, &database), expected);
    }

    #[test]
    fn what_is_not_told_is_not_made_up() {
        let instance = rows(&[
            ("memory_limit", json!("0B")),
            ("license_memory_limit", json!("unlimited")),
            ("memory_res", json!(7)),
        ]);
        let database = rows(&[("vertex_count", json!(-1))]);
        assert_eq!(Usage::read(&instance, &database), Usage::default());
    }
}
