//! The marker: a reserved enum in the data that names the cluster's history.
//!
//! It is O(1) whatever the size of the graph, lies in WAL and snapshots, gets to replicas, and can be read there
//! (`SHOW ENUMS` is a read). It has one value, the lineage, and is made once and never changed: Memgraph takes changes of
//! enums that were aborted back nowhere but in its log (`storage/v2/enum_store.hpp`), so that a second change could find a
//! copy on which the first one is there although it was never committed, or the other way round.

use super::Row;
use crate::plan::observation::Marker;

/// The enum's name. A user's own enum of this name would be taken for the marker, so it is an unlikely one.
pub(super) const ENUM: &str = "__memgraph_operator";

/// What the enum says.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Reading {
    /// There is no such enum.
    None,
    /// It says this.
    Marker(Marker),
    /// It has other values than this operator writes.
    Foreign(String),
}

fn parse(value: &str) -> Option<Marker> {
    let ours = value.starts_with('l') && value.bytes().all(|b| b.is_ascii_alphanumeric());
    ours.then(|| Marker {
        lineage: value.to_owned(),
    })
}

/// Reads the rows of `SHOW ENUMS` (columns `Enum Name` and `Enum Values`).
pub(super) fn read(rows: &[Row]) -> Reading {
    let name = |row: &&Row| row.get("Enum Name").and_then(|v| v.as_str()) == Some(ENUM);
    let Some(row) = rows.iter().find(name) else {
        return Reading::None;
    };
    let values = row.get("Enum Values").and_then(|v| v.as_array());
    match values.map(Vec::as_slice) {
        Some([serde_json::Value::String(only)]) => {
            parse(only).map_or_else(|| Reading::Foreign(only.clone()), Reading::Marker)
        }
        other => Reading::Foreign(format!("{other:?}")),
    }
}

/// Names of the enums that are not the marker.
pub(super) fn others(rows: &[Row]) -> usize {
    rows.iter()
        .filter(|row| row.get("Enum Name").and_then(|v| v.as_str()) != Some(ENUM))
        .count()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn row(name: &str, values: &[&str]) -> Row {
        Row::from([
            ("Enum Name".into(), json!(name)),
            ("Enum Values".into(), json!(values)),
        ])
    }

    #[test]
    fn a_marker_is_read_as_it_was_written() {
        let marker = Marker {
            lineage: "l0a1b".into(),
        };
        let rows = [row("Suit", &["Hearts"]), row(ENUM, &["l0a1b"])];
        assert_eq!(read(&rows), Reading::Marker(marker));
        assert_eq!(others(&rows), 1);
    }

    #[test]
    fn what_this_operator_did_not_write_is_foreign() {
        for values in [&["x"][..], &[""], &["l1_t1"], &["l1", "l2"], &[]] {
            assert!(
                matches!(read(&[row(ENUM, values)]), Reading::Foreign(_)),
                "{values:?}"
            );
        }
        assert_eq!(read(&[row("Suit", &["l1"])]), Reading::None);
    }
}
