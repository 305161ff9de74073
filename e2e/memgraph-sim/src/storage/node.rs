//! Nodes and relationships.

use smallvec::SmallVec;
use thin_vec::ThinVec;

use super::{mvcc::Versions, names::Name};
use crate::value::{Gid, Value};

/// Properties, in the order in which they were first set.
pub(super) type Properties = ThinVec<(Name, Value)>;

/// One version of a node.
#[derive(Debug, Clone, Default)]
pub(crate) struct NodeData {
    /// In the order in which they were added.
    pub(crate) labels: SmallVec<[Name; 4]>,
    pub(crate) properties: Properties,
}

impl NodeData {
    pub(crate) fn property(&self, key: Name) -> Option<&Value> {
        find(&self.properties, key)
    }
}

/// A node. Its relationships are listed without versions: each relationship has its own.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) versions: Versions<NodeData>,
    pub(super) outgoing: ThinVec<Gid>,
    pub(super) incoming: ThinVec<Gid>,
}

/// One version of a relationship.
#[derive(Debug, Clone, Default)]
pub(crate) struct RelationshipData {
    pub(crate) properties: Properties,
}

impl RelationshipData {
    pub(crate) fn property(&self, key: Name) -> Option<&Value> {
        find(&self.properties, key)
    }
}

/// A relationship. Its type and ends never change.
#[derive(Debug)]
pub(super) struct Relationship {
    pub(super) versions: Versions<RelationshipData>,
    pub(super) kind: Name,
    pub(super) from: Gid,
    pub(super) to: Gid,
}

fn find(properties: &Properties, key: Name) -> Option<&Value> {
    properties
        .iter()
        .find(|(known, _)| *known == key)
        .map(|(_, value)| value)
}

/// Sets a property, or removes it when the value is null.
pub(super) fn set(properties: &mut Properties, key: Name, value: Value) {
    let at = properties.iter().position(|(known, _)| *known == key);
    match (at, value) {
        (Some(at), Value::Null) => {
            properties.remove(at);
        }
        (None, Value::Null) => {}
        (Some(at), value) => properties[at].1 = value,
        (None, value) => {
            // Most nodes have few properties, and there can be many nodes.
            properties.reserve_exact(1);
            properties.push((key, value));
        }
    }
}
