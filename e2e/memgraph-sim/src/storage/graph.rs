//! The graph: reads and writes of one transaction at a time, with snapshot isolation between them.

use std::collections::{BTreeMap, HashMap, VecDeque};

use thin_vec::ThinVec;

use super::{
    finish::Garbage,
    gids::{GidMap, GidSet},
    index::ValueIndex,
    mvcc::{Conflict, TransactionId, Versions, View},
    names::{Name, Names},
    node::{self, Node, NodeData, Relationship, RelationshipData},
    schema::{Index, Schema},
    transaction::{Delta, Transaction},
};
use crate::value::{Gid, Value};

/// Why a write was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WriteError {
    /// Another transaction wrote it first.
    Conflict,
    /// The object does not exist (any more).
    Missing,
    /// The node still has relationships.
    HasRelationships,
}

impl From<Conflict> for WriteError {
    fn from(_: Conflict) -> Self {
        Self::Conflict
    }
}

/// A labelled property graph with versions.
#[derive(Debug, Default)]
pub(crate) struct Graph {
    pub(super) names: Names,
    pub(super) nodes: GidMap<Node>,
    pub(super) relationships: GidMap<Relationship>,
    /// Which nodes have a label in any version.
    pub(super) by_label: HashMap<Name, GidSet>,
    pub(super) value_indexes: Vec<ValueIndex>,
    pub(super) schema: Schema,
    /// Indexes and constraints of `schema` that open transactions have created.
    pub(super) unpublished: Schema,
    pub(super) next_node: u64,
    pub(super) next_relationship: u64,
    next_transaction: u64,
    /// Start timestamps of open transactions, with how many share one.
    pub(super) open: BTreeMap<u64, usize>,
    pub(super) garbage: VecDeque<Garbage>,
}

impl Graph {
    /// Opens a transaction that sees what was committed before `start`.
    pub(crate) fn begin(&mut self, start: u64) -> Transaction {
        self.next_transaction += 1;
        *self.open.entry(start).or_default() += 1;
        Transaction::new(TransactionId(self.next_transaction), start)
    }

    /// The schema as it is now; it has no versions. What open transactions have created is in it.
    pub(crate) fn schema(&self) -> &Schema {
        &self.schema
    }

    /// The schema without indexes and constraints of transactions that have not committed, which nobody is shown
    /// (`ListIndices` in `src/storage/v2/inmemory/label_index.cpp`). What they have dropped is gone already.
    pub(crate) fn published_schema(&self) -> Schema {
        let mut schema = self.schema.clone();
        let Schema {
            indexes, constraints, ..
        } = &self.unpublished;
        schema.indexes.retain(|index| !indexes.contains(index));
        schema
            .constraints
            .retain(|constraint| !constraints.contains(constraint));
        schema
    }

    pub(crate) fn name(&self, name: Name) -> &str {
        self.names.text(name)
    }

    pub(crate) fn find_name(&self, text: &str) -> Option<Name> {
        self.names.find(text)
    }

    /// The node as `view` sees it.
    pub(crate) fn node(&self, view: View, gid: Gid) -> Option<&NodeData> {
        self.nodes.get(gid)?.versions.get(view)
    }

    /// The relationship as `view` sees it.
    pub(crate) fn relationship(&self, view: View, gid: Gid) -> Option<&RelationshipData> {
        self.relationships.get(gid)?.versions.get(view)
    }

    /// Type and ends of a relationship.
    pub(crate) fn ends(&self, gid: Gid) -> Option<(Name, Gid, Gid)> {
        self.relationships.get(gid).map(|it| (it.kind, it.from, it.to))
    }

    /// Relationships that start at the node.
    pub(crate) fn outgoing(&self, view: View, node: Gid) -> Vec<Gid> {
        self.visible(view, self.nodes.get(node).map(|node| &node.outgoing))
    }

    /// Relationships that end at the node.
    pub(crate) fn incoming(&self, view: View, node: Gid) -> Vec<Gid> {
        self.visible(view, self.nodes.get(node).map(|node| &node.incoming))
    }

    fn visible(&self, view: View, relationships: Option<&ThinVec<Gid>>) -> Vec<Gid> {
        relationships
            .into_iter()
            .flatten()
            .copied()
            .filter(|gid| self.relationship(view, *gid).is_some())
            .collect()
    }

    /// Nodes in order of their ids.
    pub(crate) fn all_nodes(&self, view: View) -> Vec<Gid> {
        self.nodes
            .iter()
            .filter(|(_, node)| node.versions.get(view).is_some())
            .map(|(gid, _)| gid)
            .collect()
    }

    /// Nodes with a label, in order of their ids.
    pub(crate) fn nodes_with_label(&self, view: View, label: Name) -> Vec<Gid> {
        self.by_label
            .get(&label)
            .into_iter()
            .flat_map(GidSet::iter)
            .filter(|gid| {
                self.node(view, *gid)
                    .is_some_and(|node| node.labels.contains(&label))
            })
            .collect()
    }

    /// Nodes with a label and a value, if an index can tell; `None` when a scan is needed.
    pub(crate) fn nodes_with_value(
        &self,
        view: View,
        label: Name,
        key: Name,
        value: &Value,
    ) -> Option<Vec<Gid>> {
        let index = self
            .value_indexes
            .iter()
            .find(|index| index.label == label && index.properties.as_slice() == [key])?;
        let wanted = [super::index::Key(value.clone())];
        Some(
            index
                .candidates(&wanted)
                .filter(|gid| self.node(view, *gid).is_some())
                .collect(),
        )
    }

    /// How many objects an index covers.
    pub(crate) fn count(&self, index: &Index) -> usize {
        let labelled = |label: &String| {
            let nodes = self.find_name(label).and_then(|label| self.by_label.get(&label));
            nodes
                .into_iter()
                .flat_map(GidSet::iter)
                .filter_map(|gid| self.nodes.get(gid)?.versions.latest_committed())
        };
        let typed = |kind: &String| {
            let kind = self.find_name(kind);
            self.relationships
                .values()
                .filter(move |it| Some(it.kind) == kind)
                .filter_map(|it| it.versions.latest_committed())
        };
        match index {
            Index::Label(label) => labelled(label).count(),
            Index::LabelProperties(label, keys) => {
                let keys: Vec<_> = keys.iter().map(|key| self.find_name(key)).collect();
                let has = |node: &&NodeData| {
                    keys.iter()
                        .all(|key| key.and_then(|key| node.property(key)).is_some())
                };
                labelled(label).filter(has).count()
            }
            Index::RelationshipType(kind) => typed(kind).count(),
            Index::RelationshipTypeProperty(kind, key) => {
                let key = self.find_name(key);
                typed(kind)
                    .filter(|data| key.and_then(|key| data.property(key)).is_some())
                    .count()
            }
        }
    }

    /// How many nodes and relationships the newest committed state has.
    pub(crate) fn counts(&self) -> (usize, usize) {
        let nodes = self
            .nodes
            .values()
            .filter(|node| node.versions.latest_committed().is_some())
            .count();
        let relationships = self
            .relationships
            .values()
            .filter(|it| it.versions.latest_committed().is_some())
            .count();
        (nodes, relationships)
    }

    pub(crate) fn create_node(&mut self, txn: &mut Transaction) -> Gid {
        let gid = Gid(self.next_node);
        self.insert_node(txn, gid);
        txn.changes.nodes_created += 1;
        gid
    }

    pub(super) fn insert_node(&mut self, txn: &mut Transaction, gid: Gid) {
        self.next_node = self.next_node.max(gid.0 + 1);
        let versions = Versions::pending(txn.id(), NodeData::default());
        self.nodes.insert(
            gid,
            Node {
                versions,
                outgoing: ThinVec::new(),
                incoming: ThinVec::new(),
            },
        );
        txn.nodes.push(gid);
        txn.deltas.push(Delta::CreateNode { gid });
    }

    fn write_node(&mut self, txn: &mut Transaction, gid: Gid) -> Result<&mut NodeData, WriteError> {
        let node = self.nodes.get_mut(gid).ok_or(WriteError::Missing)?;
        let (data, fresh) = node.versions.write(txn.view)?;
        if fresh {
            txn.nodes.push(gid);
        }
        data.as_mut().ok_or(WriteError::Missing)
    }

    /// Adds a label; `false` when the node has it already.
    pub(crate) fn add_label(
        &mut self,
        txn: &mut Transaction,
        gid: Gid,
        label: &str,
    ) -> Result<bool, WriteError> {
        let name = self.names.intern(label);
        let data = self.write_node(txn, gid)?;
        if data.labels.contains(&name) {
            return Ok(false);
        }
        data.labels.push(name);
        self.by_label.entry(name).or_default().insert(gid);
        self.reindex(txn.view, gid);
        txn.changes.labels_added += 1;
        txn.deltas.push(Delta::AddLabel {
            gid,
            label: self.names.shared(name),
        });
        Ok(true)
    }

    /// Removes a label; `false` when the node does not have it.
    pub(crate) fn remove_label(
        &mut self,
        txn: &mut Transaction,
        gid: Gid,
        label: &str,
    ) -> Result<bool, WriteError> {
        let name = self.names.intern(label);
        let data = self.write_node(txn, gid)?;
        let Some(at) = data.labels.iter().position(|known| *known == name) else {
            return Ok(false);
        };
        data.labels.remove(at);
        txn.changes.labels_removed += 1;
        txn.deltas.push(Delta::RemoveLabel {
            gid,
            label: self.names.shared(name),
        });
        Ok(true)
    }

    /// Sets a property of a node; null removes it.
    pub(crate) fn set_node_property(
        &mut self,
        txn: &mut Transaction,
        gid: Gid,
        key: &str,
        value: Value,
    ) -> Result<(), WriteError> {
        let name = self.names.intern(key);
        node::set(&mut self.write_node(txn, gid)?.properties, name, value.clone());
        self.reindex(txn.view, gid);
        txn.changes.properties_set += 1;
        txn.deltas.push(Delta::SetNodeProperty {
            gid,
            key: self.names.shared(name),
            value,
        });
        Ok(())
    }

    fn reindex(&mut self, view: View, gid: Gid) {
        if self.value_indexes.is_empty() {
            return;
        }
        if let Some(data) = self.nodes.get(gid).and_then(|node| node.versions.get(view)) {
            for index in &mut self.value_indexes {
                index.insert(gid, data);
            }
        }
    }

    /// Deletes a node that has no relationships.
    pub(crate) fn delete_node(&mut self, txn: &mut Transaction, gid: Gid) -> Result<(), WriteError> {
        self.write_node(txn, gid)?;
        let node = self.nodes.get_mut(gid).ok_or(WriteError::Missing)?;
        // A relationship of another open transaction stands in the way, too.
        let still_there = |of: &[Gid]| {
            of.iter().any(|gid| {
                self.relationships
                    .get(*gid)
                    .is_some_and(|it| blocks(&it.versions, txn.view))
            })
        };
        if still_there(&node.outgoing) || still_there(&node.incoming) {
            return Err(WriteError::HasRelationships);
        }
        *node.versions.write(txn.view)?.0 = None;
        txn.changes.nodes_deleted += 1;
        txn.deltas.push(Delta::DeleteNode { gid });
        Ok(())
    }

    pub(crate) fn create_relationship(
        &mut self,
        txn: &mut Transaction,
        kind: &str,
        from: Gid,
        to: Gid,
    ) -> Result<Gid, WriteError> {
        let gid = Gid(self.next_relationship);
        self.insert_relationship(txn, gid, kind, from, to)?;
        txn.changes.relationships_created += 1;
        Ok(gid)
    }

    pub(super) fn insert_relationship(
        &mut self,
        txn: &mut Transaction,
        gid: Gid,
        kind: &str,
        from: Gid,
        to: Gid,
    ) -> Result<(), WriteError> {
        for end in [from, to] {
            if self.node(txn.view, end).is_none() {
                return Err(WriteError::Missing);
            }
        }
        let name = self.names.intern(kind);
        self.next_relationship = self.next_relationship.max(gid.0 + 1);
        let versions = Versions::pending(txn.id(), RelationshipData::default());
        self.attach(
            gid,
            Relationship {
                versions,
                kind: name,
                from,
                to,
            },
        );
        txn.relationships.push(gid);
        txn.deltas.push(Delta::CreateRelationship {
            gid,
            kind: self.names.shared(name),
            from,
            to,
        });
        Ok(())
    }

    pub(super) fn attach(&mut self, gid: Gid, relationship: Relationship) {
        if let Some(node) = self.nodes.get_mut(relationship.from) {
            node.outgoing.push(gid);
        }
        if let Some(node) = self.nodes.get_mut(relationship.to) {
            node.incoming.push(gid);
        }
        self.relationships.insert(gid, relationship);
    }

    fn write_relationship(
        &mut self,
        txn: &mut Transaction,
        gid: Gid,
    ) -> Result<&mut Option<RelationshipData>, WriteError> {
        let relationship = self.relationships.get_mut(gid).ok_or(WriteError::Missing)?;
        let (data, fresh) = relationship.versions.write(txn.view)?;
        if fresh {
            txn.relationships.push(gid);
        }
        if data.is_none() {
            return Err(WriteError::Missing);
        }
        Ok(data)
    }

    /// Sets a property of a relationship; null removes it.
    pub(crate) fn set_relationship_property(
        &mut self,
        txn: &mut Transaction,
        gid: Gid,
        key: &str,
        value: Value,
    ) -> Result<(), WriteError> {
        let name = self.names.intern(key);
        let data = self
            .write_relationship(txn, gid)?
            .as_mut()
            .ok_or(WriteError::Missing)?;
        node::set(&mut data.properties, name, value.clone());
        txn.changes.properties_set += 1;
        txn.deltas.push(Delta::SetRelationshipProperty {
            gid,
            key: self.names.shared(name),
            value,
        });
        Ok(())
    }

    pub(crate) fn delete_relationship(&mut self, txn: &mut Transaction, gid: Gid) -> Result<(), WriteError> {
        *self.write_relationship(txn, gid)? = None;
        txn.changes.relationships_deleted += 1;
        txn.deltas.push(Delta::DeleteRelationship { gid });
        Ok(())
    }

    /// Puts a committed node in place, while a snapshot is loaded.
    pub(super) fn restore_node(&mut self, gid: Gid, data: NodeData) {
        for label in &data.labels {
            self.by_label.entry(*label).or_default().insert(gid);
        }
        let versions = Versions::committed(data);
        self.nodes.insert(
            gid,
            Node {
                versions,
                outgoing: ThinVec::new(),
                incoming: ThinVec::new(),
            },
        );
    }
}

/// Whether a relationship stands in the way of deleting one of its nodes.
fn blocks(versions: &Versions<RelationshipData>, view: View) -> bool {
    versions.get(view).is_some() || (versions.latest_committed().is_none() && versions.all().next().is_some())
}
