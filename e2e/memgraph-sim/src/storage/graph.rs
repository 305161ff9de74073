//! The graph: reads and writes of one transaction at a time, with snapshot isolation between them.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use super::{
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

/// Objects of a finished transaction whose old versions nobody has dropped yet.
#[derive(Debug)]
struct Garbage {
    committed_at: u64,
    nodes: Vec<Gid>,
    relationships: Vec<Gid>,
}

/// A labelled property graph with versions.
#[derive(Debug, Default)]
pub(crate) struct Graph {
    pub(super) names: Names,
    pub(super) nodes: BTreeMap<Gid, Node>,
    pub(super) relationships: BTreeMap<Gid, Relationship>,
    /// Which nodes have a label in any version.
    by_label: HashMap<Name, BTreeSet<Gid>>,
    pub(super) value_indexes: Vec<ValueIndex>,
    pub(super) schema: Schema,
    pub(super) next_node: u64,
    pub(super) next_relationship: u64,
    next_transaction: u64,
    /// Start timestamps of open transactions, with how many share one.
    open: BTreeMap<u64, usize>,
    garbage: VecDeque<Garbage>,
}

impl Graph {
    /// Opens a transaction that sees what was committed before `start`.
    pub(crate) fn begin(&mut self, start: u64) -> Transaction {
        self.next_transaction += 1;
        *self.open.entry(start).or_default() += 1;
        Transaction::new(TransactionId(self.next_transaction), start)
    }

    /// The schema as it is now; it has no versions.
    pub(crate) fn schema(&self) -> &Schema {
        &self.schema
    }

    pub(crate) fn name(&self, name: Name) -> &str {
        self.names.text(name)
    }

    pub(crate) fn find_name(&self, text: &str) -> Option<Name> {
        self.names.find(text)
    }

    /// The node as `view` sees it.
    pub(crate) fn node(&self, view: View, gid: Gid) -> Option<&NodeData> {
        self.nodes.get(&gid)?.versions.get(view)
    }

    /// The relationship as `view` sees it.
    pub(crate) fn relationship(&self, view: View, gid: Gid) -> Option<&RelationshipData> {
        self.relationships.get(&gid)?.versions.get(view)
    }

    /// Type and ends of a relationship.
    pub(crate) fn ends(&self, gid: Gid) -> Option<(Name, Gid, Gid)> {
        self.relationships.get(&gid).map(|it| (it.kind, it.from, it.to))
    }

    /// Relationships that start at the node.
    pub(crate) fn outgoing(&self, view: View, node: Gid) -> Vec<Gid> {
        self.visible(view, self.nodes.get(&node).map(|node| &node.outgoing))
    }

    /// Relationships that end at the node.
    pub(crate) fn incoming(&self, view: View, node: Gid) -> Vec<Gid> {
        self.visible(view, self.nodes.get(&node).map(|node| &node.incoming))
    }

    fn visible(&self, view: View, relationships: Option<&Vec<Gid>>) -> Vec<Gid> {
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
            .map(|(gid, _)| *gid)
            .collect()
    }

    /// Nodes with a label, in order of their ids.
    pub(crate) fn nodes_with_label(&self, view: View, label: Name) -> Vec<Gid> {
        self.by_label
            .get(&label)
            .into_iter()
            .flatten()
            .copied()
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
                .flatten()
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

    fn insert_node(&mut self, txn: &mut Transaction, gid: Gid) {
        self.next_node = self.next_node.max(gid.0 + 1);
        let versions = Versions::pending(txn.id(), NodeData::default());
        self.nodes.insert(
            gid,
            Node {
                versions,
                outgoing: Vec::new(),
                incoming: Vec::new(),
            },
        );
        txn.nodes.push(gid);
        txn.deltas.push(Delta::CreateNode { gid });
    }

    fn write_node(&mut self, txn: &mut Transaction, gid: Gid) -> Result<&mut NodeData, WriteError> {
        let node = self.nodes.get_mut(&gid).ok_or(WriteError::Missing)?;
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
            label: label.to_owned(),
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
            label: label.to_owned(),
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
            key: key.to_owned(),
            value,
        });
        Ok(())
    }

    fn reindex(&mut self, view: View, gid: Gid) {
        if self.value_indexes.is_empty() {
            return;
        }
        if let Some(data) = self.nodes.get(&gid).and_then(|node| node.versions.get(view)) {
            for index in &mut self.value_indexes {
                index.insert(gid, data);
            }
        }
    }

    /// Deletes a node that has no relationships.
    pub(crate) fn delete_node(&mut self, txn: &mut Transaction, gid: Gid) -> Result<(), WriteError> {
        self.write_node(txn, gid)?;
        let node = self.nodes.get_mut(&gid).ok_or(WriteError::Missing)?;
        // A relationship of another open transaction stands in the way, too.
        let still_there = |of: &Vec<Gid>| {
            of.iter().any(|gid| {
                self.relationships
                    .get(gid)
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

    fn insert_relationship(
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
            kind: kind.to_owned(),
            from,
            to,
        });
        Ok(())
    }

    pub(super) fn attach(&mut self, gid: Gid, relationship: Relationship) {
        if let Some(node) = self.nodes.get_mut(&relationship.from) {
            node.outgoing.push(gid);
        }
        if let Some(node) = self.nodes.get_mut(&relationship.to) {
            node.incoming.push(gid);
        }
        self.relationships.insert(gid, relationship);
    }

    fn write_relationship(
        &mut self,
        txn: &mut Transaction,
        gid: Gid,
    ) -> Result<&mut Option<RelationshipData>, WriteError> {
        let relationship = self.relationships.get_mut(&gid).ok_or(WriteError::Missing)?;
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
            key: key.to_owned(),
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

    /// Repeats a logged change inside `txn`.
    pub(crate) fn apply(&mut self, txn: &mut Transaction, delta: Delta) -> Result<(), ApplyError> {
        let fault = |error| move |reason| ApplyError { delta: error, reason };
        match delta {
            Delta::CreateNode { gid } => {
                if self.nodes.contains_key(&gid) {
                    return Err(ApplyError {
                        delta: "create an existing node",
                        reason: WriteError::Conflict,
                    });
                }
                self.insert_node(txn, gid);
                Ok(())
            }
            Delta::DeleteNode { gid } => self.delete_node(txn, gid).map_err(fault("delete a node")),
            Delta::AddLabel { gid, label } => self
                .add_label(txn, gid, &label)
                .map(drop)
                .map_err(fault("add a label")),
            Delta::RemoveLabel { gid, label } => self
                .remove_label(txn, gid, &label)
                .map(drop)
                .map_err(fault("remove a label")),
            Delta::SetNodeProperty { gid, key, value } => self
                .set_node_property(txn, gid, &key, value)
                .map_err(fault("set a property of a node")),
            Delta::CreateRelationship { gid, kind, from, to } => self
                .insert_relationship(txn, gid, &kind, from, to)
                .map_err(fault("create a relationship")),
            Delta::DeleteRelationship { gid } => self
                .delete_relationship(txn, gid)
                .map_err(fault("delete a relationship")),
            Delta::SetRelationshipProperty { gid, key, value } => self
                .set_relationship_property(txn, gid, &key, value)
                .map_err(fault("set a property of a relationship")),
            Delta::Schema(change) => self.apply_schema(txn, change),
        }
    }

    /// Makes the changes visible to transactions that start after `at`.
    pub(crate) fn commit(&mut self, txn: Transaction, at: u64) {
        for gid in &txn.nodes {
            if let Some(node) = self.nodes.get_mut(gid) {
                node.versions.commit(txn.id(), at);
            }
        }
        for gid in &txn.relationships {
            if let Some(relationship) = self.relationships.get_mut(gid) {
                relationship.versions.commit(txn.id(), at);
            }
        }
        self.close(txn.view.start);
        if !txn.nodes.is_empty() || !txn.relationships.is_empty() {
            let garbage = Garbage {
                committed_at: at,
                nodes: txn.nodes,
                relationships: txn.relationships,
            };
            self.garbage.push_back(garbage);
        }
        self.collect_garbage();
    }

    /// Takes the changes back. Enums keep theirs: Memgraph does not undo them (its enum store has no
    /// versions and no abort callback).
    pub(crate) fn abort(&mut self, txn: Transaction) {
        for change in txn.schema_undo.iter().rev() {
            self.undo_schema(change);
        }
        // Relationships first, because they hang on nodes.
        for gid in &txn.relationships {
            if let Some(relationship) = self.relationships.get_mut(gid) {
                relationship.versions.abort(txn.id());
            }
            self.drop_relationship_if_gone(*gid);
        }
        for gid in &txn.nodes {
            let Some(node) = self.nodes.get_mut(gid) else {
                continue;
            };
            if let Some(Some(data)) = node.versions.abort(txn.id()) {
                self.forget_version(*gid, &data);
            }
            self.drop_node_if_gone(*gid);
        }
        self.close(txn.view.start);
        self.collect_garbage();
    }

    fn close(&mut self, start: u64) {
        if let Some(count) = self.open.get_mut(&start) {
            *count -= 1;
            if *count == 0 {
                self.open.remove(&start);
            }
        }
    }

    fn collect_garbage(&mut self) {
        let oldest = self.open.keys().next().copied().unwrap_or(u64::MAX);
        while self
            .garbage
            .front()
            .is_some_and(|garbage| garbage.committed_at < oldest)
        {
            let Some(garbage) = self.garbage.pop_front() else {
                break;
            };
            for gid in garbage.relationships {
                if let Some(relationship) = self.relationships.get_mut(&gid) {
                    relationship.versions.trim(oldest);
                }
                self.drop_relationship_if_gone(gid);
            }
            for gid in garbage.nodes {
                let Some(node) = self.nodes.get_mut(&gid) else {
                    continue;
                };
                for version in node.versions.trim(oldest) {
                    self.forget_version(gid, &version);
                }
                self.drop_node_if_gone(gid);
            }
        }
    }

    /// Takes a dropped version out of the indexes, as far as no other version needs the entry.
    fn forget_version(&mut self, gid: Gid, version: &NodeData) {
        let Some(node) = self.nodes.get(&gid) else { return };
        for label in &version.labels {
            if !node.versions.all().any(|other| other.labels.contains(label))
                && let Some(nodes) = self.by_label.get_mut(label)
            {
                nodes.remove(&gid);
            }
        }
        for index in &mut self.value_indexes {
            index.forget(gid, version, node.versions.all());
        }
    }

    fn drop_node_if_gone(&mut self, gid: Gid) {
        if self.nodes.get(&gid).is_some_and(|node| node.versions.is_gone()) {
            self.nodes.remove(&gid);
        }
    }

    fn drop_relationship_if_gone(&mut self, gid: Gid) {
        if !self
            .relationships
            .get(&gid)
            .is_some_and(|it| it.versions.is_gone())
        {
            return;
        }
        let Some(relationship) = self.relationships.remove(&gid) else {
            return;
        };
        if let Some(node) = self.nodes.get_mut(&relationship.from) {
            node.outgoing.retain(|known| *known != gid);
        }
        if let Some(node) = self.nodes.get_mut(&relationship.to) {
            node.incoming.retain(|known| *known != gid);
        }
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
                outgoing: Vec::new(),
                incoming: Vec::new(),
            },
        );
    }
}

/// Whether a relationship stands in the way of deleting one of its nodes.
fn blocks(versions: &Versions<RelationshipData>, view: View) -> bool {
    versions.get(view).is_some() || (versions.latest_committed().is_none() && versions.all().next().is_some())
}

/// A logged change does not fit the graph.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("cannot {delta}: {reason:?}")]
pub(crate) struct ApplyError {
    pub(super) delta: &'static str,
    pub(super) reason: WriteError,
}
