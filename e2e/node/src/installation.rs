//! Versions of the operator, and how they are installed from their own manifests.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use e2e_cluster::cluster::Cluster;
use e2e_cluster::kubectl::Kubectl;

use crate::node::{Images, Node, wait_for_operator};

/// This project.
pub const PROJECT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

/// The operator's image in `config/`, which is replaced by the one that was built.
pub const PUBLISHED_IMAGE: &str = "ghcr.io/memgraph-operator/memgraph-operator";

/// A version of the operator.
#[derive(Debug, Clone)]
pub struct Version {
    /// Its image.
    pub image: String,
    /// The project as it was then, with chart and manifests.
    pub project: PathBuf,
}

impl Version {
    /// The one under test.
    pub fn this(images: &Images) -> Self {
        Self {
            image: images.operator.clone(),
            project: Path::new(PROJECT).to_owned(),
        }
    }

    /// What `config/default` has, with the image in place of the published one.
    ///
    /// # Errors
    /// When kustomize cannot make it, or it names the image at other places than this knows.
    pub fn manifests(&self, kubectl: &Kubectl) -> Result<String> {
        let folder = self.project.join("config/default");
        let manifests = kubectl.output(&["kustomize", &folder.to_string_lossy()])?;
        let manifests: Vec<String> = manifests
            .lines()
            .map(|line| match line.split_once(PUBLISHED_IMAGE) {
                Some((before, _)) => format!("{before}{}", self.image),
                None => line.to_owned(),
            })
            .collect();
        let replaced = manifests
            .iter()
            .filter(|line| line.ends_with(&self.image))
            .count();
        if replaced != 2 {
            bail!(
                "config/default names the operator's image {replaced} times, not as image and as OPERATOR_IMAGE"
            );
        }
        Ok(manifests.join("\n"))
    }

    /// Applies its manifests in place of those that are there, as `kubectl apply -k` does, and waits until it is ready.
    ///
    /// # Errors
    /// When the API server refuses it or it does not become ready.
    pub fn install(&self, cluster: &Cluster) -> Result<()> {
        self.apply(cluster)?;
        wait_for_operator(cluster)
    }

    /// As [`Self::install`], where nobody may start it.
    ///
    /// # Errors
    /// When the API server refuses it.
    pub fn apply(&self, cluster: &Cluster) -> Result<()> {
        let kubectl = cluster.kubectl();
        kubectl.apply(&self.manifests(kubectl)?)?;
        kubectl.output(&[
            "wait",
            "--for=condition=Established",
            "crd/memgraphclusters.memgraph.dev",
            "--timeout=60s",
        ])?;
        Ok(())
    }
}

impl Node {
    /// Installs the version under test from `config/`, as README.md says but for the image, and waits until it is ready.
    ///
    /// # Errors
    /// When the API server refuses it or it does not become ready.
    pub fn install_operator(&self) -> Result<()> {
        tokio::task::block_in_place(|| Version::this(&self.images).install(&self.cluster))
    }

    /// Removes all that [`Self::install_operator`] has made, and with it every MemgraphCluster.
    ///
    /// # Errors
    /// When something cannot be removed.
    pub fn remove_operator(&self) -> Result<()> {
        let folder = format!("{PROJECT}/config/default");
        self.kubectl(&["delete", "--ignore-not-found", "-k", &folder])
            .map(drop)
    }
}
