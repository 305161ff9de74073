//! What all parts need: a control plane, machines, an operator, clusters.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use e2e_cluster::{
    audit::Follower, cluster::Cluster, folders::Folders, interrupt::Interrupt, progress::Progress,
    spec::Options,
};
use kube::{
    Client, Config,
    config::{KubeConfigOptions, Kubeconfig},
};
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

use crate::{
    fleet::{Fleet, namespaces},
    foreign,
    kubelet::{Killer, Kubelet, STORAGE_CLASS},
    machines::Machines,
    operator::{Operator, Program, Usage, with_token},
};

/// Name of the cluster.
const NAME: &str = "operator-bench";
/// The operator's namespace, as `config/` has it.
const NAMESPACE: &str = "memgraph-operator-system";
/// The user name under which the operator talks to the API server.
const USER: &str = "system:serviceaccount:memgraph-operator-system:memgraph-operator";
/// The operator's manifests.
const CONFIG: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../config/default");
/// So many clusters are on one machine.
const SHARE: usize = 200;
/// For so long the operator may go on to write after all is as it should be.
const UNREST: Duration = Duration::from_secs(600);
/// Where data is, so that no disk is measured.
const MEMORY: &str = "/dev/shm";

/// All of it.
pub struct Stand {
    /// A client with the rights of an administrator.
    pub client: Client,
    /// The clusters.
    pub fleet: Fleet,
    /// Who kills databases.
    pub killer: Killer,
    /// The API server's audit log.
    pub audit: Follower,
    program: Program,
    operator: Option<Operator>,
    _folder: TempDir,
}

/// The control plane. It must be removed with [`ControlPlane::down`].
pub struct ControlPlane {
    cluster: Cluster,
    folders: Folders,
}

impl ControlPlane {
    /// Starts it. What an earlier run has left is removed.
    pub fn up(interrupt: &Interrupt) -> Result<Self> {
        let folders = Folders::of_user()?;
        let options = Options {
            control_plane_only: true,
            ..Options::new(NAME)
        };
        let mut progress = Progress::on_stderr();
        Cluster::down(NAME, &folders, &mut progress, interrupt)?;
        let cluster = Cluster::up(&options, &folders, &mut progress, interrupt)?;
        Ok(Self { cluster, folders })
    }

    /// Removes it.
    pub fn down(&self) -> Result<()> {
        let mut progress = Progress::on_stderr();
        Cluster::down(NAME, &self.folders, &mut progress, &Interrupt::never())
    }

    /// Installs what the operator needs, but not its Deployment: there is no node.
    fn install(&self) -> Result<()> {
        let kubectl = self.cluster.kubectl();
        let manifests = kubectl.output(&["kustomize", CONFIG])?;
        let others: Vec<&str> = manifests
            .split("\n---\n")
            .filter(|it| !it.contains("kind: Deployment\n") || it.contains("kind: CustomResourceDefinition"))
            .collect();
        kubectl.apply(&others.join("\n---\n"))?;
        kubectl.output(&[
            "wait",
            "--for=condition=Established",
            "crd/memgraphclusters.memgraph.dev",
            "--timeout=60s",
        ])?;
        let class = format!(
            "{{apiVersion: storage.k8s.io/v1, kind: StorageClass, metadata: {{name: {STORAGE_CLASS}}}, \
             provisioner: kubernetes.io/no-provisioner}}"
        );
        let namespaces = namespaces()
            .chain([foreign::NAMESPACE.to_owned()])
            .map(|name| format!("{{apiVersion: v1, kind: Namespace, metadata: {{name: {name}}}}}"));
        let all: Vec<String> = namespaces.chain([class]).collect();
        kubectl.apply(&all.join("\n---\n"))
    }
}

impl Stand {
    /// For so many clusters with so many gateways each, and an operator that does not run yet.
    pub async fn new(
        control: &ControlPlane,
        program: PathBuf,
        clusters: usize,
        gateways: i32,
    ) -> Result<Self> {
        control.install()?;
        let kubeconfig = control.cluster.kubeconfig();
        let memory = Path::new(MEMORY);
        let folder = if memory.is_dir() {
            tempfile::Builder::new()
                .prefix("operator-bench-")
                .tempdir_in(memory)
        } else {
            tempfile::tempdir()
        };
        let folder = folder.context("cannot make a folder for data")?;
        let own = folder.path().join("kubeconfig");
        let kubectl = control.cluster.kubectl();
        let namespace = format!("--namespace={NAMESPACE}");
        let token = kubectl.output(&[
            "create",
            "token",
            "memgraph-operator",
            &namespace,
            "--duration=24h",
        ])?;
        with_token(&kubeconfig, token.trim(), &own)?;
        let config = Kubeconfig::read_from(&kubeconfig)?;
        let config = Config::from_custom_kubeconfig(config, &KubeConfigOptions::default()).await?;
        let client = Client::try_from(config)?;
        let machines = Machines::start(clusters.div_ceil(SHARE), &kubeconfig)?;
        let (kubelet, killer) = Kubelet::new(client.clone(), machines, folder.path())?;
        tokio::spawn(async move {
            if let Err(error) = kubelet.run().await {
                eprintln!("no pod is looked after any more: {error:#}");
            }
        });
        Ok(Self {
            fleet: Fleet::follow(&client, gateways),
            client,
            killer,
            audit: Follower::of(&control.cluster.audit_log()),
            program: Program {
                path: program,
                kubeconfig: own,
                namespace: NAMESPACE,
                log: control.cluster.folder().path().join("operator.log"),
            },
            operator: None,
            _folder: folder,
        })
    }

    /// Starts the operator, unless it runs.
    pub fn start_operator(&mut self) -> Result<()> {
        if self.operator.is_none() {
            self.operator = Some(self.program.start()?);
        }
        Ok(())
    }

    /// Ends it.
    pub async fn stop_operator(&mut self) -> Result<()> {
        match self.operator.take() {
            Some(operator) => operator.stop().await,
            None => Ok(()),
        }
    }

    /// What it has used.
    pub fn usage(&self) -> Result<Usage> {
        self.operator
            .as_ref()
            .context("the operator does not run")?
            .usage()
    }

    /// Waits until the operator has written nothing for so long, but for its Lease.
    pub async fn until_quiet(&mut self, quiet: Duration) -> Result<()> {
        let begun = Instant::now();
        loop {
            self.requests()?;
            sleep(quiet).await;
            let requests = self.requests()?;
            if requests.keys().all(|what| !is_write(what)) {
                return Ok(());
            }
            if begun.elapsed() > UNREST {
                bail!("the operator does not come to rest; it has asked for {requests:?}");
            }
        }
    }

    /// By verb and resource: how many requests the operator has made since the last call.
    pub fn requests(&mut self) -> Result<BTreeMap<String, usize>> {
        let mut counts = BTreeMap::new();
        for request in self.audit.news()?.iter().filter(|it| it.user.username == USER) {
            let object = request.object_ref.clone().unwrap_or_default();
            let what = [object.resource, object.subresource].join("/");
            let what = format!("{} {}", request.verb, what.trim_end_matches('/'));
            *counts.entry(what).or_insert(0) += 1;
        }
        Ok(counts)
    }
}

fn is_write(what: &str) -> bool {
    !["get ", "list ", "watch "]
        .iter()
        .any(|verb| what.starts_with(verb))
        && !what.ends_with(" leases")
}
