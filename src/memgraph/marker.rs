//! The marker: a reserved enum in the data that names the cluster's history and the term.
//!
//! It is O(1) whatever the size of the graph, lies in WAL and snapshots, is replicated, and can be read on a
//! replica (`SHOW ENUMS` is a read). It has one value, `<lineage>_t<term>`, which is renamed at each term;
//! both `CREATE ENUM` and `ALTER ENUM .. UPDATE VALUE` need unique access to the storage.

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

pub(super) fn value(marker: &Marker) -> String {
    format!("{}_t{}", marker.lineage, marker.term)
}

fn parse(value: &str) -> Option<Marker> {
    let (lineage, term) = value.rsplit_once("_t")?;
    let marker = Marker {
        lineage: lineage.to_owned(),
        term: term.parse().ok()?,
    };
    let ours = lineage.starts_with('l') && lineage.bytes().all(|b| b.is_ascii_alphanumeric());
    (ours && self::value(&marker) == value).then_some(marker)
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
            term: 12,
        };
        let rows = [row("Suit", &["Hearts"]), row(ENUM, &[&value(&marker)])];
        assert_eq!(read(&rows), Reading::Marker(marker));
        assert_eq!(others(&rows), 1);
    }

    #[test]
    fn what_this_operator_did_not_write_is_foreign() {
        for values in [&["x"][..], &["l1_t"], &["l1_t01"], &["l1_t1", "l1_t2"], &[]] {
            assert!(
                matches!(read(&[row(ENUM, values)]), Reading::Foreign(_)),
                "{values:?}"
            );
        }
        assert_eq!(read(&[row("Suit", &["l1_t1"])]), Reading::None);
    }
}
