//! Values of nodes by label and properties, for look-ups and for unique constraints.

use std::{
    cmp::Ordering,
    collections::{BTreeMap, BTreeSet},
};

use super::{names::Name, node::NodeData};
use crate::value::{Gid, Value};

/// A value under the total order of values.
#[derive(Debug, Clone)]
pub(super) struct Key(pub(super) Value);

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Key {}

impl PartialOrd for Key {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Key {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.order(&other.0)
    }
}

/// Which nodes have (in any version that somebody can see) a label and given values of properties.
#[derive(Debug)]
pub(super) struct ValueIndex {
    pub(super) label: Name,
    pub(super) properties: Vec<Name>,
    entries: BTreeMap<Vec<Key>, BTreeSet<Gid>>,
}

impl ValueIndex {
    pub(super) fn new(label: Name, properties: Vec<Name>) -> Self {
        Self {
            label,
            properties,
            entries: BTreeMap::new(),
        }
    }

    /// What the index holds for a node with this data; `None` when it is not covered.
    pub(super) fn key_of(&self, node: &NodeData) -> Option<Vec<Key>> {
        if !node.labels.contains(&self.label) {
            return None;
        }
        self.properties
            .iter()
            .map(|key| node.property(*key).cloned().map(Key))
            .collect()
    }

    pub(super) fn insert(&mut self, gid: Gid, node: &NodeData) {
        if let Some(key) = self.key_of(node) {
            self.entries.entry(key).or_default().insert(gid);
        }
    }

    /// Forgets a version of a node, unless one of those that `remain` has the same values.
    pub(super) fn forget<'a>(
        &mut self,
        gid: Gid,
        version: &NodeData,
        mut remain: impl Iterator<Item = &'a NodeData>,
    ) {
        let Some(key) = self.key_of(version) else { return };
        if remain.any(|other| self.key_of(other).as_ref() == Some(&key)) {
            return;
        }
        if let Some(nodes) = self.entries.get_mut(&key) {
            nodes.remove(&gid);
            if nodes.is_empty() {
                self.entries.remove(&key);
            }
        }
    }

    /// The nodes that may have these values; the caller checks what its view sees.
    pub(super) fn candidates(&self, key: &[Key]) -> impl Iterator<Item = Gid> {
        self.entries.get(key).into_iter().flatten().copied()
    }

    pub(super) fn clear(&mut self) {
        self.entries.clear();
    }
}
