//! Clusters: starting, opening, loading images, waiting.

use std::fs::{self, File};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::address::{self, API_PORT, AddressPlan, BoxName};
use crate::binaries;
use crate::firewall;
use crate::folders::{self, ClusterFolder, Folders};
use crate::image::{self, archive::Archive};
use crate::interrupt::Interrupt;
use crate::kubectl::Kubectl;
use crate::launch;
use crate::network;
use crate::node::programs;
use crate::pki;
use crate::preflight;
use crate::progress::Progress;
use crate::spec::{ClusterSpec, Options};
use crate::teardown;

/// How long a part of the start-up may take; on a quiet machine each takes seconds.
const START_LIMIT: Duration = Duration::from_secs(180);

/// How long another command that changes the cluster is waited for. Builds do not count.
const LOCK_LIMIT: Duration = Duration::from_secs(300);

/// DNS, StorageClass and what they need.
const ADDONS: &str = include_str!("../manifests/addons.yaml");

/// A cluster that has been started.
#[derive(Debug, Clone)]
pub struct Cluster {
    spec: ClusterSpec,
    folder: ClusterFolder,
    kubectl: Kubectl,
}

impl Cluster {
    /// Starts a cluster and returns when it can run pods. Builds what is missing first. What an earlier start that did not
    /// end well has left is removed; when this one does not, everything is removed as well.
    ///
    /// # Errors
    /// When the machine does not fit, the cluster is up already, something fails, or a stop is asked for.
    pub fn up(
        options: &Options,
        folders: &Folders,
        progress: &mut Progress,
        interrupt: &Interrupt,
    ) -> Result<Self> {
        options.check()?;
        preflight::check_machine()?;
        preflight::install_packages()?;
        let binaries = binaries::ensure(options.kubernetes, folders, progress, interrupt)?;
        let _lock = lock(folders, &options.name, progress, interrupt)?;
        let folder = folders.cluster(&options.name);
        if folder.up().exists() && ClusterSpec::read(&folder)?.is_some() {
            let name = &options.name;
            bail!("cluster {name} is up: use it, or remove it first with `devcluster down --name {name}`");
        }
        teardown::remove(folders, &options.name)?;
        let started = Self::start(options, folders, &folder, &binaries, progress, interrupt);
        if started.is_err() {
            progress.done("the start did not end well: removing the cluster");
            teardown::remove(folders, &options.name).context("and it could not be removed")?;
            let logs = folders.last_logs(&options.name);
            return started
                .with_context(|| format!("cannot start the cluster; its logs are in {}", logs.display()));
        }
        started
    }

    fn start(
        options: &Options,
        folders: &Folders,
        folder: &ClusterFolder,
        binaries: &Path,
        progress: &mut Progress,
        interrupt: &Interrupt,
    ) -> Result<Self> {
        let spec = reserve(options, folders, binaries)?;
        let [pause, coredns] = image::build_for_cluster(binaries, folders, &folder.images())?;
        let spec = ClusterSpec {
            pause_image: pause.reference,
            coredns_image: coredns.reference,
            ..spec
        };
        spec.write(folder)?;
        launch::install_program(folder)?;
        pki::make(&spec, folder)?;
        network::make(spec.addresses)?;
        firewall::make(spec.addresses)?;
        interrupt.check()?;

        let cluster = Self::at(spec, folder.clone());
        for name in cluster.spec.boxes() {
            launch::start(&cluster.spec, folder, name)?;
            interrupt.check()?;
        }
        network::route_services(
            cluster.spec.addresses,
            &cluster.spec.node_boxes().collect::<Vec<_>>(),
        )?;
        progress.done(&format!(
            "{} started",
            count(cluster.spec.boxes().count(), "machine")
        ));
        cluster.wait_for_api(interrupt)?;
        progress.done("API server ready");
        cluster.kubectl.apply(&addons(&cluster.spec))?;
        cluster.wait_for_controllers(interrupt)?;
        progress.done("controllers work");
        if cluster.spec.nodes > 0 {
            cluster.wait_for_nodes(interrupt, START_LIMIT)?;
            progress.done(&format!("{} ready", count(cluster.spec.nodes.into(), "node")));
            cluster.wait_for_dns(interrupt)?;
            progress.done("cluster DNS ready");
        }
        folders::write(&folder.up(), "")?;
        Ok(cluster)
    }

    /// A cluster that was started, perhaps by another process.
    ///
    /// # Errors
    /// When there is none of that name.
    pub fn open(name: &str, folders: &Folders) -> Result<Self> {
        let folder = folders.cluster(name);
        let spec = ClusterSpec::read(&folder)?.with_context(|| {
            format!("there is no cluster {name}: start it with `devcluster up --name {name}`")
        })?;
        Ok(Self::at(spec, folder))
    }

    /// Removes a cluster and all that belongs to it, in whatever state it is. One that does not exist is no error.
    ///
    /// # Errors
    /// When something cannot be removed.
    pub fn down(name: &str, folders: &Folders, progress: &mut Progress, interrupt: &Interrupt) -> Result<()> {
        Options::new(name).check()?;
        let _lock = lock(folders, name, progress, interrupt)?;
        teardown::remove(folders, name)
    }

    fn at(spec: ClusterSpec, folder: ClusterFolder) -> Self {
        let kubectl = Kubectl::new(&spec.binaries, &folder.kubeconfig());
        Self {
            spec,
            folder,
            kubectl,
        }
    }

    /// What the cluster was started with.
    pub fn spec(&self) -> &ClusterSpec {
        &self.spec
    }

    /// Its state on disk.
    pub fn folder(&self) -> &ClusterFolder {
        &self.folder
    }

    /// `kubectl` with the rights of an administrator.
    pub fn kubectl(&self) -> &Kubectl {
        &self.kubectl
    }

    /// The administrator's kubeconfig.
    pub fn kubeconfig(&self) -> PathBuf {
        self.folder.kubeconfig()
    }

    /// The API server's audit log, for [`crate::audit`].
    pub fn audit_log(&self) -> PathBuf {
        self.folder.audit_log()
    }

    /// A command inside a machine of the cluster.
    ///
    /// # Errors
    /// When it is switched off.
    pub fn command_in(&self, name: BoxName) -> Result<Command> {
        launch::command_in(&self.spec, &self.folder, name)
    }

    /// Gives an image archive made by [`image::build`] to all nodes, also to those that are switched on later. Returns the
    /// image's names for use in pods, with `imagePullPolicy: Never` or `IfNotPresent`.
    ///
    /// # Errors
    /// When the file is no such archive or a node refuses it.
    pub fn load_image(&self, file: &Path) -> Result<Archive> {
        let archive = image::archive::read(file)?;
        // A copy: the original may be replaced, and a node that is switched on needs this one. Nodes take all files of the
        // folder, hence the rename.
        let kept = self
            .folder
            .images()
            .join(format!("{}.tar", archive.reference.replace(['/', ':'], "_")));
        let unfinished = self.folder.path().join(format!("image.{}", std::process::id()));
        fs::copy(file, &unfinished).with_context(|| format!("cannot copy {}", file.display()))?;
        fs::rename(&unfinished, &kept).with_context(|| format!("cannot write {}", kept.display()))?;
        for name in self.running_nodes()? {
            for args in programs::import_commands(&kept, &archive.name, &archive.reference) {
                let words: Vec<String> = std::iter::once("ctr".to_owned()).chain(args).collect();
                launch::output_in(&self.spec, &self.folder, name, &words)
                    .with_context(|| format!("{name} does not take the image {}", archive.reference))?;
            }
        }
        Ok(archive)
    }

    /// Waits until the API server serves requests.
    ///
    /// # Errors
    /// When it does not in time, or a stop is asked for.
    pub fn wait_for_api(&self, interrupt: &Interrupt) -> Result<()> {
        let address = SocketAddr::from((self.spec.addresses.address(BoxName::ControlPlane), API_PORT));
        interrupt.wait_until("the API server to be ready", START_LIMIT, || {
            Ok(api_answers(address, || {
                self.kubectl.succeeds(&["get", "--raw=/readyz"])
            }))
        })
    }

    /// Waits until all nodes that are switched on are Ready and their kubelets answer. (Of a node that was switched off and
    /// on again the API server goes on saying that it is Ready until it notices.)
    ///
    /// # Errors
    /// When they are not in time, or a stop is asked for.
    pub fn wait_for_nodes(&self, interrupt: &Interrupt, limit: Duration) -> Result<()> {
        let running = self.running_nodes()?;
        let ready =
            r#"{range .items[*]}{.metadata.name}={.status.conditions[?(@.type=="Ready")].status}{"\n"}{end}"#;
        interrupt.wait_until("all nodes to be Ready", limit, || {
            let nodes = self
                .kubectl
                .output(&["get", "nodes", "--output", &format!("jsonpath={ready}")])?;
            let is_ready = |name: &BoxName| nodes.lines().any(|line| line == format!("{name}=True"));
            Ok(running
                .iter()
                .all(|name| is_ready(name) && self.kubelet_answers(*name)))
        })
    }

    /// The nodes that are switched on.
    ///
    /// # Errors
    /// When /proc cannot be read.
    pub fn running_nodes(&self) -> Result<Vec<BoxName>> {
        let mut running = Vec::new();
        for name in self.spec.node_boxes() {
            if launch::find(&self.folder, name)?.is_some() {
                running.push(name);
            }
        }
        Ok(running)
    }

    fn kubelet_answers(&self, name: BoxName) -> bool {
        self.kubectl
            .succeeds(&["get", "--raw", &format!("/api/v1/nodes/{name}/proxy/healthz")])
    }

    fn wait_for_controllers(&self, interrupt: &Interrupt) -> Result<()> {
        interrupt.wait_until(
            "the controllers to make the default ServiceAccount",
            START_LIMIT,
            || Ok(self.kubectl.succeeds(&["get", "serviceaccount", "default"])),
        )
    }

    fn wait_for_dns(&self, interrupt: &Interrupt) -> Result<()> {
        let available = "jsonpath={.status.availableReplicas}";
        interrupt.wait_until("the cluster's DNS to be available", START_LIMIT, || {
            let get = [
                "--namespace=kube-system",
                "get",
                "deployment",
                "coredns",
                "--output",
                available,
            ];
            Ok(self.kubectl.output(&get)? == "1")
        })
    }
}

/// Whether the API server is ready. Nothing is asked of it until its port is open: on a busy machine each start of
/// `kubectl` slows down the API server's own.
pub fn api_answers(address: SocketAddr, ready: impl FnOnce() -> bool) -> bool {
    TcpStream::connect_timeout(&address, Duration::from_secs(1)).is_ok() && ready()
}

/// Chooses the cluster's addresses and writes down what it is, before anything is made that `down` would have to find.
fn reserve(options: &Options, folders: &Folders, binaries: &Path) -> Result<ClusterSpec> {
    let all = folders.clusters();
    folders::make(&all)?;
    let lock = File::create(all.join(".lock")).context("cannot make a lock file")?;
    lock.lock().context("cannot lock the folder of the clusters")?;
    let addresses = address::choose(&used_addresses(folders)?, &network::host_routes()?)?;
    let spec = ClusterSpec {
        name: options.name.clone(),
        nodes: if options.control_plane_only {
            0
        } else {
            options.nodes
        },
        fast_node_monitoring: options.fast_node_monitoring,
        addresses,
        kubernetes: options.kubernetes,
        binaries: binaries.to_owned(),
        pause_image: String::new(),
        coredns_image: String::new(),
    };
    spec.write(&folders.cluster(&options.name))?;
    Ok(spec)
}

fn used_addresses(folders: &Folders) -> Result<Vec<AddressPlan>> {
    let specs = names(folders)?
        .into_iter()
        .map(|name| ClusterSpec::read(&folders.cluster(&name)));
    Ok(specs
        .collect::<Result<Vec<_>>>()?
        .into_iter()
        .flatten()
        .map(|spec| spec.addresses)
        .collect())
}

/// The names of all clusters of this user.
///
/// # Errors
/// When their folder cannot be read.
pub fn names(folders: &Folders) -> Result<Vec<String>> {
    let all = folders.clusters();
    if !all.exists() {
        return Ok(Vec::new());
    }
    let entries = fs::read_dir(&all).with_context(|| format!("cannot read {}", all.display()))?;
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry?;
        if entry.path().is_dir() {
            names.extend(entry.file_name().into_string().ok());
        }
    }
    names.sort();
    Ok(names)
}

/// Lets only one command at a time change a cluster. The kernel gives it back when this process ends, however it does.
fn lock(folders: &Folders, name: &str, progress: &mut Progress, interrupt: &Interrupt) -> Result<File> {
    let path = folders.lock_file(name);
    if let Some(parent) = path.parent() {
        folders::make(parent)?;
    }
    let file = File::create(&path).with_context(|| format!("cannot make {}", path.display()))?;
    let start = Instant::now();
    interrupt.wait_until(
        &format!("another command on cluster {name} to end"),
        LOCK_LIMIT,
        || match file.try_lock() {
            Ok(()) => Ok(true),
            Err(fs::TryLockError::WouldBlock) => {
                progress.working(start, || format!("waiting for another command on cluster {name}"));
                Ok(false)
            }
            Err(fs::TryLockError::Error(error)) => Err(error).context("cannot lock the cluster"),
        },
    )?;
    Ok(file)
}

fn addons(spec: &ClusterSpec) -> String {
    ADDONS
        .replace("${COREDNS_IMAGE}", &spec.coredns_image)
        .replace("${DNS_SERVICE}", &spec.addresses.dns_service().to_string())
}

fn count(number: usize, what: &str) -> String {
    if number == 1 {
        format!("1 {what}")
    } else {
        format!("{number} {what}s")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::release::Release;

    #[test]
    fn the_addons_are_filled_in_completely() {
        let spec = ClusterSpec {
            name: "demo".into(),
            nodes: 1,
            fast_node_monitoring: false,
            addresses: AddressPlan::all().nth(2).unwrap(),
            kubernetes: Release::Newest,
            binaries: "/b".into(),
            pause_image: "p".into(),
            coredns_image: "localhost/coredns:abc".into(),
        };
        let (comment, objects) = ADDONS.split_once('\n').unwrap();
        assert!(comment.starts_with('#'));
        let filled = addons(&spec);
        assert!(objects.contains("${") && !filled.split_once('\n').unwrap().1.contains("${"));
        assert!(filled.contains("image: localhost/coredns:abc") && filled.contains("clusterIP: 10.98.0.10"));
    }

    #[test]
    fn names_are_those_of_the_folders() {
        let folder = tempfile::tempdir().unwrap();
        let folders = Folders::below(folder.path());
        assert!(names(&folders).unwrap().is_empty());
        folders::make(folders.cluster("b").path()).unwrap();
        folders::make(folders.cluster("a").path()).unwrap();
        assert_eq!(names(&folders).unwrap(), ["a", "b"]);
    }
}
