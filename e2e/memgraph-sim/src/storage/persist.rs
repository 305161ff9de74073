//! The graph as snapshots hold it.

use serde::{Deserialize, Serialize};

use super::{
    graph::Graph,
    mvcc::{Versions, View},
    node::{NodeData, Properties, Relationship, RelationshipData},
    schema::Schema,
};
use crate::value::{Gid, Value};

/// A node in a snapshot.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct NodeRecord {
    pub(crate) gid: Gid,
    pub(crate) labels: Vec<String>,
    pub(crate) properties: Vec<(String, Value)>,
}

/// A relationship in a snapshot.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct RelationshipRecord {
    pub(crate) gid: Gid,
    pub(crate) kind: String,
    pub(crate) from: Gid,
    pub(crate) to: Gid,
    pub(crate) properties: Vec<(String, Value)>,
}

/// A snapshot's content contradicts itself.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the snapshot has a relationship without one of its nodes")]
pub(crate) struct RestoreError;

impl Graph {
    /// The ids that the next node and the next relationship get.
    pub(crate) fn next_ids(&self) -> (u64, u64) {
        (self.next_node, self.next_relationship)
    }

    /// The nodes that `view` sees.
    pub(crate) fn node_records(&self, view: View) -> impl Iterator<Item = NodeRecord> {
        self.nodes.iter().filter_map(move |(gid, node)| {
            let data = node.versions.get(view)?;
            Some(NodeRecord {
                gid,
                labels: data
                    .labels
                    .iter()
                    .map(|label| self.name(*label).to_owned())
                    .collect(),
                properties: self.texts(&data.properties),
            })
        })
    }

    /// The relationships that `view` sees.
    pub(crate) fn relationship_records(&self, view: View) -> impl Iterator<Item = RelationshipRecord> {
        self.relationships.iter().filter_map(move |(gid, it)| {
            let data = it.versions.get(view)?;
            Some(RelationshipRecord {
                gid,
                kind: self.name(it.kind).to_owned(),
                from: it.from,
                to: it.to,
                properties: self.texts(&data.properties),
            })
        })
    }

    fn texts(&self, properties: &[(super::Name, Value)]) -> Vec<(String, Value)> {
        properties
            .iter()
            .map(|(key, value)| (self.name(*key).to_owned(), value.clone()))
            .collect()
    }

    /// Takes a node from a snapshot.
    pub(crate) fn load_node(&mut self, record: NodeRecord) {
        let data = NodeData {
            labels: record
                .labels
                .iter()
                .map(|label| self.names.intern(label))
                .collect(),
            properties: self.interned(record.properties),
        };
        self.restore_node(record.gid, data);
    }

    /// Takes a relationship from a snapshot; its nodes come first.
    ///
    /// # Errors
    ///
    /// One of its nodes is missing.
    pub(crate) fn load_relationship(&mut self, record: RelationshipRecord) -> Result<(), RestoreError> {
        let RelationshipRecord {
            gid,
            kind,
            from,
            to,
            properties,
        } = record;
        if !self.nodes.contains(from) || !self.nodes.contains(to) {
            return Err(RestoreError);
        }
        let data = RelationshipData {
            properties: self.interned(properties),
        };
        let kind = self.names.intern(&kind);
        self.attach(
            gid,
            Relationship {
                versions: Versions::committed(data),
                kind,
                from,
                to,
            },
        );
        Ok(())
    }

    /// Takes the rest of a snapshot, after nodes and relationships.
    pub(crate) fn finish_load(&mut self, (next_node, next_relationship): (u64, u64), schema: Schema) {
        self.next_node = next_node;
        self.next_relationship = next_relationship;
        self.restore_schema(schema);
    }

    fn interned(&mut self, properties: Vec<(String, Value)>) -> Properties {
        properties
            .into_iter()
            .map(|(key, value)| (self.names.intern(&key), value))
            .collect()
    }
}
