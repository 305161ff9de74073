//! Versions of the operator, and how they are installed from their own manifests.

use std::env;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use e2e_cluster::cluster::Cluster;
use e2e_cluster::kubectl::Kubectl;

use crate::node::{Images, Node, wait_for_operator};

/// This project.
pub const PROJECT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

/// The folder that `e2e/images/earlier.sh` has made, in the environment.
const EARLIER_VARIABLE: &str = "EARLIER";

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

/// What there was before.
pub struct Earlier {
    /// A version of the operator.
    pub operator: Version,
    /// The image of what takes an earlier Memgraph's place.
    pub memgraph: String,
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

    /// The values of the chart that name the image, as Helm's arguments.
    ///
    /// # Errors
    /// When the image has no tag.
    pub fn chart_values(&self) -> Result<String> {
        let (repository, tag) = self.image.rsplit_once(':').context("an image without a tag")?;
        Ok(format!(
            "--set image.repository={repository} --set-string image.tag={tag}"
        ))
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
    /// The version under test.
    pub fn this_version(&self) -> Version {
        Version::this(&self.images)
    }

    /// What there was before, whose images are loaded.
    ///
    /// # Errors
    /// When it was not made, or its operator is this one.
    pub fn earlier(&self) -> Result<Earlier> {
        let folder = env::var_os(EARLIER_VARIABLE).map(PathBuf::from);
        let folder = folder.context("there is no earlier version: run `make e2e-upgrade`")?;
        let load = |name: &str| {
            let file = folder.join(format!("images/{name}.tar"));
            let archive = tokio::task::block_in_place(|| self.cluster.load_image(&file))?;
            Ok::<_, anyhow::Error>(archive.reference)
        };
        let operator = Version {
            image: load("operator")?,
            project: folder.join("source"),
        };
        ensure!(
            operator.image != self.images.operator,
            "the earlier operator is this one: name another commit with PREVIOUS"
        );
        Ok(Earlier {
            operator,
            memgraph: load("memgraph-sim")?,
        })
    }

    /// Installs the version under test from `config/`, as README.md says but for the image, and waits until it is ready.
    ///
    /// # Errors
    /// When the API server refuses it or it does not become ready.
    pub fn install_operator(&self) -> Result<()> {
        self.install(&self.this_version())
    }

    /// Installs a version, as [`Version::install`] does.
    ///
    /// # Errors
    /// As there.
    pub fn install(&self, version: &Version) -> Result<()> {
        tokio::task::block_in_place(|| version.install(&self.cluster))
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
