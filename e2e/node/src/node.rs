//! A Kubernetes cluster, mostly of one node, and the operator in it, for all tests of a run.

use std::env;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use e2e_cluster::cluster::Cluster;
use e2e_cluster::folders::Folders;
use e2e_cluster::interrupt::Interrupt;
use e2e_cluster::progress::Progress;
use e2e_cluster::release::Release;
use e2e_cluster::spec::Options;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use tokio::signal::unix::{SignalKind, signal};

use crate::installation::{PUBLISHED_IMAGE, Version};

/// Name of the cluster. Another one with `DEVCLUSTER_NAME`.
pub const NAME: &str = "node-test";
/// Name of the cluster of the tests on an API server without a node. Another one with `DEVCLUSTER_NAME`.
pub const API_NAME: &str = "api-test";
/// Name of the cluster on which versions change (`make e2e-upgrade`).
pub const UPGRADE_NAME: &str = "upgrade-test";

/// With this variable in the environment, the cluster has so many nodes instead of one.
pub const NODES_VARIABLE: &str = "NODES";

/// Namespace of the operator, as `config/` has it.
pub const OPERATOR_NAMESPACE: &str = "memgraph-operator-system";

/// The user name under which the operator talks to the API server.
pub const OPERATOR_USER: &str = "system:serviceaccount:memgraph-operator-system:memgraph-operator";

/// Names of the images under test.
#[derive(Debug, Clone)]
pub struct Images {
    /// Operator and gateway.
    pub operator: String,
    /// What takes Memgraph's place.
    pub memgraph: String,
    /// Python with the official drivers.
    pub client: String,
    /// Memgraph's command line client.
    pub mgconsole: String,
}

/// The cluster that the tests run on.
pub struct Node {
    /// The cluster.
    pub cluster: Cluster,
    /// A client with the rights of an administrator.
    pub client: Client,
    /// The images that it has.
    pub images: Images,
    folders: Folders,
    keep: bool,
}

impl Node {
    /// Starts a cluster, loads the images of a folder and installs the operator. With `REUSE=1` in the environment, a
    /// cluster of that name that is up already is used, and stays. With `KUBERNETES=1.33` it is of that release.
    ///
    /// # Errors
    /// When something of it fails; the cluster is then removed.
    pub async fn up(images: &Path, interrupt: &Interrupt) -> Result<Self> {
        let folders = Folders::of_user()?;
        let name = env::var("DEVCLUSTER_NAME").unwrap_or_else(|_| NAME.to_owned());
        let keep = env::var("REUSE").is_ok_and(|value| value == "1");
        let mut options = Options {
            kubernetes: Release::of_environment()?,
            ..Options::new(&name)
        };
        if let Ok(nodes) = env::var(NODES_VARIABLE) {
            options.nodes = nodes.parse().context("NODES is no number")?;
        }
        let mut progress = Progress::on_stderr();
        let running = Cluster::open(&name, &folders).ok().filter(|cluster| {
            let spec = cluster.spec();
            let fits = spec.nodes == options.nodes && spec.kubernetes == options.kubernetes;
            keep && cluster.folder().up().exists() && fits
        });
        let cluster = match running {
            Some(cluster) => cluster,
            None => {
                Cluster::down(&name, &folders, &mut progress, interrupt)?;
                Cluster::up(&options, &folders, &mut progress, interrupt)?
            }
        };
        match prepare(&cluster, images).await {
            Ok((images, client)) => {
                progress.done("operator installed");
                Ok(Self {
                    cluster,
                    client,
                    images,
                    folders,
                    keep,
                })
            }
            Err(error) => {
                if !keep {
                    Cluster::down(&name, &folders, &mut progress, &Interrupt::never())?;
                }
                Err(error)
            }
        }
    }

    /// Starts a control plane without a node, and installs the operator, whose pods nobody runs: tests start its processes
    /// themselves ([`crate::beside`]).
    ///
    /// # Errors
    /// When something of it fails; the cluster is then removed.
    pub async fn control_plane(name: &str, interrupt: &Interrupt) -> Result<Self> {
        let folders = Folders::of_user()?;
        let mut progress = Progress::on_stderr();
        let options = Options {
            control_plane_only: true,
            kubernetes: Release::of_environment()?,
            ..Options::new(name)
        };
        Cluster::down(name, &folders, &mut progress, interrupt)?;
        let cluster = Cluster::up(&options, &folders, &mut progress, interrupt)?;
        // Nobody pulls them.
        let images = Images {
            operator: format!("{PUBLISHED_IMAGE}:test"),
            memgraph: "memgraph/memgraph:3.12.0".to_owned(),
            client: String::new(),
            mgconsole: String::new(),
        };
        let client = match Version::this(&images).apply(&cluster) {
            Ok(()) => client(&cluster).await,
            Err(error) => Err(error),
        };
        match client {
            Ok(client) => Ok(Self {
                cluster,
                client,
                images,
                folders,
                keep: false,
            }),
            Err(error) => {
                Cluster::down(name, &folders, &mut progress, &Interrupt::never())?;
                Err(error)
            }
        }
    }

    /// Removes the cluster, unless it is to be used again.
    ///
    /// # Errors
    /// When it cannot be removed.
    pub fn down(&self) -> Result<()> {
        if self.keep {
            return Ok(());
        }
        let name = &self.cluster.spec().name;
        Cluster::down(
            name,
            &self.folders,
            &mut Progress::on_stderr(),
            &Interrupt::never(),
        )
    }

    /// Removes the cluster, as [`Self::down`] does, and ends this process when it is told to end: who is interrupted leaves
    /// nothing behind.
    ///
    /// # Errors
    /// When signals cannot be waited for, or the cluster cannot be removed.
    pub async fn down_on_signal(self: Arc<Self>) -> Result<()> {
        let mut terminate = signal(SignalKind::terminate())?;
        tokio::select! {
            _ = terminate.recv() => {}
            _ = tokio::signal::ctrl_c() => {}
        }
        eprintln!("interrupted: removing the cluster");
        tokio::task::block_in_place(|| self.down())?;
        std::process::exit(130);
    }

    /// Runs kubectl and returns what it prints.
    ///
    /// # Errors
    /// When it fails; the error has what it said.
    pub fn kubectl(&self, args: &[&str]) -> Result<String> {
        tokio::task::block_in_place(|| self.cluster.kubectl().output(args))
    }
}

async fn prepare(cluster: &Cluster, images: &Path) -> Result<(Images, Client)> {
    let load = |name: &str| {
        let file = images.join(format!("{name}.tar"));
        if !file.exists() {
            bail!("there is no image {}: run `make images`", file.display());
        }
        Ok(cluster.load_image(&file)?.reference)
    };
    let images = Images {
        operator: load("operator")?,
        memgraph: load("memgraph-sim")?,
        client: load("client")?,
        mgconsole: load("mgconsole")?,
    };
    Version::this(&images).install(cluster)?;
    Ok((images, client(cluster).await?))
}

async fn client(cluster: &Cluster) -> Result<Client> {
    let kubeconfig = Kubeconfig::read_from(cluster.kubeconfig())?;
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
    Ok(Client::try_from(config)?)
}

/// The kubelet waits ever longer, up to five minutes, before it starts a container again that has ended often, and several
/// tests end the operator's.
const OPERATOR_LIMIT: Duration = Duration::from_secs(360);

/// Waits until the operator's pod is ready, and only that one is there.
///
/// # Errors
/// When it is not in time.
pub fn wait_for_operator(cluster: &Cluster) -> Result<()> {
    let begin = Instant::now();
    cluster
        .kubectl()
        .output(&[
            "--namespace",
            OPERATOR_NAMESPACE,
            "rollout",
            "status",
            "deployment/memgraph-operator",
            &format!("--timeout={}s", OPERATOR_LIMIT.as_secs()),
        ])
        .with_context(|| format!("the operator is not ready after {} s", begin.elapsed().as_secs()))?;
    Ok(())
}
