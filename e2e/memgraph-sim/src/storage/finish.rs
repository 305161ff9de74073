//! The end of transactions, and of versions that nobody sees any more.

use std::collections::{BTreeSet, HashSet};

use super::{graph::Graph, node::NodeData, transaction::Transaction};
use crate::value::Gid;

/// Objects of a finished transaction whose old versions nobody has dropped yet.
#[derive(Debug)]
pub(super) struct Garbage {
    committed_at: u64,
    nodes: Vec<Gid>,
    relationships: Vec<Gid>,
}

impl Graph {
    /// Makes the changes visible to transactions that start after `at`.
    pub(crate) fn commit(&mut self, txn: Transaction, at: u64) {
        for gid in &txn.nodes {
            if let Some(node) = self.nodes.get_mut(*gid) {
                node.versions.commit(txn.id(), at);
            }
        }
        for gid in &txn.relationships {
            if let Some(relationship) = self.relationships.get_mut(*gid) {
                relationship.versions.commit(txn.id(), at);
            }
        }
        self.publish_schema(&txn);
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

    /// Takes the changes back, also those of indexes and constraints where the release does. Enums keep theirs:
    /// Memgraph does not undo them (its enum store has no versions and no abort callback).
    pub(crate) fn abort(&mut self, txn: Transaction) {
        self.abort_schema(&txn);
        // Relationships first, because they hang on nodes.
        for gid in &txn.relationships {
            if let Some(relationship) = self.relationships.get_mut(*gid) {
                relationship.versions.abort(txn.id());
            }
        }
        self.drop_relationships_if_gone(&txn.relationships);
        for gid in &txn.nodes {
            let Some(node) = self.nodes.get_mut(*gid) else {
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
            for gid in &garbage.relationships {
                if let Some(relationship) = self.relationships.get_mut(*gid) {
                    relationship.versions.trim(oldest);
                }
            }
            self.drop_relationships_if_gone(&garbage.relationships);
            for gid in garbage.nodes {
                let Some(node) = self.nodes.get_mut(gid) else {
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
        let Some(node) = self.nodes.get(gid) else { return };
        for label in &version.labels {
            if !node.versions.all().any(|other| other.labels.contains(label))
                && let Some(nodes) = self.by_label.get_mut(label)
            {
                nodes.remove(gid);
            }
        }
        for index in &mut self.value_indexes {
            index.forget(gid, version, node.versions.all());
        }
    }

    fn drop_node_if_gone(&mut self, gid: Gid) {
        if self.nodes.get(gid).is_some_and(|node| node.versions.is_gone()) {
            self.nodes.remove(gid);
        }
    }

    fn drop_relationships_if_gone(&mut self, gids: &[Gid]) {
        let mut gone = HashSet::new();
        let mut ends = BTreeSet::new();
        for gid in gids {
            if self
                .relationships
                .get(*gid)
                .is_some_and(|it| it.versions.is_gone())
                && let Some(relationship) = self.relationships.remove(*gid)
            {
                gone.insert(*gid);
                ends.extend([relationship.from, relationship.to]);
            }
        }
        // One pass over the list of each node, however many of its relationships go.
        for end in ends {
            if let Some(node) = self.nodes.get_mut(end) {
                node.outgoing.retain(|known| !gone.contains(known));
                node.incoming.retain(|known| !gone.contains(known));
            }
        }
    }
}
