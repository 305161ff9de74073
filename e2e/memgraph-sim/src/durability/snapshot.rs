//! Snapshots: a whole database as one transaction sees it.

use serde::{Deserialize, Serialize};

use super::frame::{self, CorruptFile, Records};
use crate::{
    ident::Uuid,
    storage::{Graph, NodeRecord, RelationshipRecord, Schema, View},
};

/// An epoch that ended, and the last transaction that was durable in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PastEpoch {
    pub(crate) id: Uuid,
    pub(crate) last: u64,
}

/// Everything of a snapshot but the graph.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SnapshotHeader {
    pub(crate) database: Uuid,
    pub(crate) epoch: Uuid,
    pub(crate) history: Vec<PastEpoch>,
    /// The last durable timestamp.
    pub(crate) durable: u64,
    pub(crate) next_ids: (u64, u64),
    pub(crate) schema: Schema,
}

#[derive(Debug, Serialize, Deserialize)]
enum Record {
    Header(SnapshotHeader),
    Node(NodeRecord),
    Relationship(RelationshipRecord),
    /// Only a snapshot with this record is complete.
    End,
}

/// Encodes what `view` sees of `graph`.
pub(crate) fn encode(header: SnapshotHeader, graph: &Graph, view: View) -> Vec<u8> {
    let mut bytes = Vec::new();
    frame::append(&mut bytes, &Record::Header(header));
    for node in graph.node_records(view) {
        frame::append(&mut bytes, &Record::Node(node));
    }
    for relationship in graph.relationship_records(view) {
        frame::append(&mut bytes, &Record::Relationship(relationship));
    }
    frame::append(&mut bytes, &Record::End);
    bytes
}

/// Reads only the first record.
///
/// # Errors
///
/// It is not whole.
pub(crate) fn read_header(bytes: &[u8]) -> Result<SnapshotHeader, CorruptFile> {
    header(&mut Records::new(bytes, "snapshot"))
}

fn header(records: &mut Records<'_>) -> Result<SnapshotHeader, CorruptFile> {
    match records.require()? {
        Record::Header(header) => Ok(header),
        _ => Err(CorruptFile {
            what: "snapshot",
            reason: "it does not start with a header".into(),
        }),
    }
}

/// Builds the graph of a snapshot.
///
/// # Errors
///
/// The snapshot is not complete, or contradicts itself.
pub(crate) fn load(bytes: &[u8]) -> Result<(SnapshotHeader, Graph), CorruptFile> {
    let mut records = Records::new(bytes, "snapshot");
    let header = header(&mut records)?;
    let mut graph = Graph::default();
    loop {
        match records.require()? {
            Record::Node(node) => graph.load_node(node),
            Record::Relationship(relationship) => {
                graph
                    .load_relationship(relationship)
                    .map_err(|error| CorruptFile {
                        what: "snapshot",
                        reason: error.to_string(),
                    })?
            }
            Record::End => break,
            Record::Header(_) => {
                return Err(CorruptFile {
                    what: "snapshot",
                    reason: "it has two headers".into(),
                });
            }
        }
    }
    graph.finish_load(header.next_ids, header.schema.clone());
    Ok((header, graph))
}
