//! What happens to pods.

use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::process::Command;
use std::str::FromStr;

use anyhow::{Context, Result, bail};
use e2e_cluster::address::BoxName;
use e2e_cluster::cgroup;
use e2e_cluster::faults::Container;
use e2e_cluster::process;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::node::Node;
use crate::scene::Scene;

const API_SERVER: &str = "kube-apiserver";

/// A pod whose packets are dropped. Its network is this one's, whatever becomes of its processes.
pub struct BlackHole {
    network: File,
}

impl BlackHole {
    /// Lets packets pass again.
    ///
    /// # Errors
    /// When the firewall refuses it.
    pub fn heal(self) -> Result<()> {
        self.nft("delete table inet black-hole")
    }

    fn nft(&self, rules: &str) -> Result<()> {
        let own = std::process::id();
        let network = format!("--net=/proc/{own}/fd/{}", self.network.as_raw_fd());
        let mut nft = Command::new("nsenter");
        nft.args([&network, "--", "nft", "-f", "-"]);
        tokio::task::block_in_place(|| process::output_with_input(&mut nft, rules)).map(drop)
    }
}

impl Scene {
    /// Freezes an instance until [`Self::thaw`], as a process that hangs.
    ///
    /// # Errors
    /// When it does not run.
    pub fn freeze(&self, pod: &str) -> Result<()> {
        self.freeze_in(&self.namespace, pod)
    }

    /// Freezes a pod of any namespace until [`Self::thaw`].
    ///
    /// # Errors
    /// When it does not run.
    pub fn freeze_in(&self, namespace: &str, pod: &str) -> Result<()> {
        self.node.cluster.freeze_container(&Container {
            namespace: namespace.to_owned(),
            pod: pod.to_owned(),
            container: None,
        })
    }

    /// Thaws all that is frozen.
    ///
    /// # Errors
    /// When the kernel refuses it.
    pub fn thaw(&self) -> Result<()> {
        self.node.cluster.thaw()
    }
}

impl Node {
    /// Kills all processes of a pod's first container with SIGKILL, as the kernel's out-of-memory killer does. The kubelet
    /// starts the container again.
    ///
    /// # Errors
    /// When it does not run.
    pub fn kill(&self, pod: &Pod) -> Result<()> {
        self.signal(pod, Signal::SIGKILL)
    }

    /// Stops all processes of a pod's first container until [`Self::go_on`]. Unlike those that [`Scene::freeze`] has frozen,
    /// they can be killed.
    ///
    /// # Errors
    /// When it does not run.
    pub fn stop(&self, pod: &Pod) -> Result<()> {
        self.signal(pod, Signal::SIGSTOP)
    }

    /// Lets processes go on that were stopped.
    ///
    /// # Errors
    /// When the container does not run.
    pub fn go_on(&self, pod: &Pod) -> Result<()> {
        self.signal(pod, Signal::SIGCONT)
    }

    fn signal(&self, pod: &Pod, signal: Signal) -> Result<()> {
        for process in self.processes(pod)? {
            kill(Pid::from_raw(process), signal).with_context(|| {
                format!(
                    "cannot send {signal} to process {process} of pod {}",
                    pod.name_any()
                )
            })?;
        }
        Ok(())
    }

    /// Drops every packet to and from a pod until [`BlackHole::heal`]. Nobody is told: connections stay open.
    ///
    /// # Errors
    /// When it does not run or the firewall refuses it.
    pub fn black_hole(&self, pod: &Pod) -> Result<BlackHole> {
        let process = self.processes(pod)?[0];
        let network = File::open(format!("/proc/{process}/ns/net"))
            .with_context(|| format!("cannot open the network of pod {}", pod.name_any()))?;
        let hole = BlackHole { network };
        hole.nft(
            "table inet black-hole {
               chain in { type filter hook input priority -300; drop; }
               chain out { type filter hook output priority -300; drop; }
             }",
        )?;
        Ok(hole)
    }

    /// Ends the API server and keeps it away until [`Self::api_server_is_back`].
    ///
    /// # Errors
    /// When it cannot be held.
    pub fn api_server_goes(&self) -> Result<()> {
        self.cluster.hold_program(BoxName::ControlPlane, API_SERVER)
    }

    /// Lets the API server be started again.
    ///
    /// # Errors
    /// When it was not away.
    pub fn api_server_is_back(&self) -> Result<()> {
        self.cluster.release_program(BoxName::ControlPlane, API_SERVER)
    }

    /// Resident memory of a pod's first container, in KiB.
    ///
    /// # Errors
    /// When it does not run.
    pub fn resident_kib(&self, pod: &Pod) -> Result<u64> {
        let mut sum = 0;
        for process in self.processes(pod)? {
            let status = fs::read_to_string(format!("/proc/{process}/status"))?;
            let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
            let value = line.and_then(|line| line.split_whitespace().next());
            sum += u64::from_str(value.context("a process without VmRSS")?)?;
        }
        Ok(sum)
    }

    /// The only process of a pod's first container, as this machine numbers it.
    pub(crate) fn process(&self, pod: &Pod) -> Result<i32> {
        match self.processes(pod)?.as_slice() {
            [process] => Ok(*process),
            several => bail!(
                "the container of pod {} has processes {several:?}",
                pod.name_any()
            ),
        }
    }

    /// The processes of a pod's first container, as this machine numbers them.
    fn processes(&self, pod: &Pod) -> Result<Vec<i32>> {
        let name = pod.name_any();
        let node: BoxName = pod
            .spec
            .as_ref()
            .and_then(|spec| spec.node_name.as_deref())
            .with_context(|| format!("pod {name} has no node"))?
            .parse()?;
        let statuses = pod
            .status
            .as_ref()
            .and_then(|status| status.container_statuses.as_ref());
        let id = statuses.and_then(|all| {
            all.first()?
                .container_id
                .as_deref()?
                .strip_prefix("containerd://")
        });
        let id = id.with_context(|| format!("pod {name} has no container"))?;
        let group = cgroup::freezer_of_container(&self.cluster.spec().name, node, id)
            .with_context(|| format!("the container of pod {name} does not run"))?;
        let list = fs::read_to_string(group.join("cgroup.procs"))?;
        let processes: Vec<i32> = list.lines().filter_map(|line| line.parse().ok()).collect();
        if processes.is_empty() {
            bail!("the container of pod {name} has no process");
        }
        Ok(processes)
    }
}
