//! What a cluster is started with.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use crate::address::{AddressPlan, BoxName, MAX_NODES};
use crate::folders::{self, ClusterFolder};
use crate::release::Release;

/// What the user asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Name of the cluster: lower-case letters, digits and `-`, at most 20 characters.
    pub name: String,
    /// Number of nodes, 1 to [`MAX_NODES`].
    pub nodes: u8,
    /// Only etcd, API server and controllers, for tests that run no pods.
    pub control_plane_only: bool,
    /// Notice a dead node after 8 s and evict its pods 5 s later, instead of after 50 s and 300 s.
    pub fast_node_monitoring: bool,
    /// Which Kubernetes it is of.
    pub kubernetes: Release,
}

impl Options {
    /// One node of the newest Kubernetes, with its own time-outs.
    pub fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            nodes: 1,
            control_plane_only: false,
            fast_node_monitoring: false,
            kubernetes: Release::default(),
        }
    }

    /// Whether the values are within their limits.
    ///
    /// # Errors
    /// Names the value and its limits.
    pub fn check(&self) -> Result<()> {
        let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        let name = &self.name;
        if name.is_empty() || name.len() > 20 || !name.chars().all(allowed) || name.starts_with('-') {
            bail!("'{name}' is no cluster name: use at most 20 of a-z, 0-9 and -, not beginning with -");
        }
        if !(1..=MAX_NODES).contains(&self.nodes) {
            bail!("{} nodes: ask for 1 to {MAX_NODES}", self.nodes);
        }
        Ok(())
    }
}

/// A cluster as its boxes and all later commands know it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterSpec {
    /// Name of the cluster.
    pub name: String,
    /// Number of nodes; 0 for a control plane alone.
    pub nodes: u8,
    /// Notice dead nodes quickly.
    pub fast_node_monitoring: bool,
    /// Its addresses.
    pub addresses: AddressPlan,
    /// Which Kubernetes it is of. Clusters of an earlier checkout do not tell.
    #[serde(default)]
    pub kubernetes: Release,
    /// Folder of the Kubernetes binaries.
    pub binaries: PathBuf,
    /// The image that holds each pod's namespaces.
    pub pause_image: String,
    /// The image of the cluster's DNS.
    pub coredns_image: String,
}

impl ClusterSpec {
    /// All nodes.
    pub fn node_boxes(&self) -> impl Iterator<Item = BoxName> + use<> {
        (1..=self.nodes).map(BoxName::Node)
    }

    /// All boxes, the control plane first.
    pub fn boxes(&self) -> impl Iterator<Item = BoxName> + use<> {
        std::iter::once(BoxName::ControlPlane).chain(self.node_boxes())
    }

    /// A box of this cluster by its name.
    ///
    /// # Errors
    /// When this cluster has none of that name.
    pub fn find_box(&self, name: &str) -> Result<BoxName> {
        let found = name
            .parse()
            .ok()
            .filter(|wanted| self.boxes().any(|own| own == *wanted));
        found.with_context(|| {
            let all: Vec<_> = self.boxes().map(|own| own.to_string()).collect();
            format!(
                "cluster {} has no machine '{name}': it has {}",
                self.name,
                all.join(", ")
            )
        })
    }

    /// URL of the API server.
    pub fn api_server(&self) -> String {
        format!(
            "https://{}:{}",
            self.addresses.address(BoxName::ControlPlane),
            crate::address::API_PORT
        )
    }

    /// Reads what [`Self::write`] wrote; `None` when the cluster does not exist.
    ///
    /// # Errors
    /// When the file cannot be read or understood.
    pub fn read(folder: &ClusterFolder) -> Result<Option<Self>> {
        let file = folder.spec();
        if !file.exists() {
            return Ok(None);
        }
        let text = folders::read(&file)?;
        let spec =
            serde_json::from_slice(&text).with_context(|| format!("cannot understand {}", file.display()))?;
        Ok(Some(spec))
    }

    /// Keeps it in the cluster's folder.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write(&self, folder: &ClusterFolder) -> Result<()> {
        folders::make(folder.path())?;
        // Under another name first: a reader never sees half of it.
        let unfinished = folder.path().join("cluster.json.new");
        folders::write(&unfinished, serde_json::to_vec_pretty(self)?)?;
        std::fs::rename(&unfinished, folder.spec())
            .with_context(|| format!("cannot write {}", folder.spec().display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_outside_their_limits_are_refused() {
        assert!(Options::new("demo").check().is_ok());
        for name in ["", "-a", "Demo", "a_b", "../x", "aaaaaaaaaaaaaaaaaaaaa"] {
            assert!(Options::new(name).check().is_err(), "{name}");
        }
        for nodes in [0, MAX_NODES + 1] {
            assert!(
                Options {
                    nodes,
                    ..Options::new("demo")
                }
                .check()
                .is_err(),
                "{nodes}"
            );
        }
    }

    #[test]
    fn a_spec_reads_as_it_was_written() {
        let folder = tempfile::tempdir().unwrap();
        let folder = ClusterFolder::at(&folder.path().join("demo"));
        assert_eq!(ClusterSpec::read(&folder).unwrap(), None);
        let spec = ClusterSpec {
            name: "demo".into(),
            nodes: 2,
            fast_node_monitoring: true,
            addresses: AddressPlan::all().nth(1).unwrap(),
            kubernetes: Release::Oldest,
            binaries: "/b".into(),
            pause_image: "p".into(),
            coredns_image: "c".into(),
        };
        spec.write(&folder).unwrap();
        assert_eq!(ClusterSpec::read(&folder).unwrap().as_ref(), Some(&spec));
        assert_eq!(spec.find_box("node2").unwrap(), BoxName::Node(2));
        assert!(
            spec.find_box("node3")
                .unwrap_err()
                .to_string()
                .contains("it has cp, node1, node2")
        );
    }
}
