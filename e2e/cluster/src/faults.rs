//! Breaks a running cluster as machines, networks and programs break, and mends it.

use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::address::BoxName;
use crate::cgroup;
use crate::cluster::Cluster;
use crate::firewall::{self, Cut};
use crate::folders;
use crate::interrupt::Interrupt;
use crate::launch;
use crate::network;
use crate::teardown;

/// How long freezing may take: each process has to come to a stop.
const FREEZE_LIMIT: Duration = Duration::from_secs(30);

/// A container of a pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Container {
    /// Namespace of the pod.
    pub namespace: String,
    /// Name of the pod.
    pub pod: String,
    /// Name of the container; without, the pod's first one.
    pub container: Option<String>,
}

impl std::str::FromStr for Container {
    type Err = anyhow::Error;

    /// Reads `NAMESPACE/POD` or `NAMESPACE/POD/CONTAINER`.
    fn from_str(text: &str) -> Result<Self> {
        let parts: Vec<_> = text.split('/').collect();
        match parts[..] {
            [namespace, pod] => Ok(Self {
                namespace: namespace.into(),
                pod: pod.into(),
                container: None,
            }),
            [namespace, pod, container] => Ok(Self {
                namespace: namespace.into(),
                pod: pod.into(),
                container: Some(container.into()),
            }),
            _ => bail!("'{text}' names no container: write NAMESPACE/POD or NAMESPACE/POD/CONTAINER"),
        }
    }
}

impl Cluster {
    /// Cuts a machine's power: all its processes end at once, pods included. What was written to its disk stays, also what
    /// was not synced, since the real machine goes on.
    ///
    /// # Errors
    /// When the machine does not vanish.
    pub fn power_cut(&self, name: BoxName) -> Result<()> {
        let (spec, folder) = (self.spec(), self.folder());
        let group = cgroup::freezer_of_box(&spec.name, name);
        if cgroup::frozen_groups(&spec.name)
            .iter()
            .any(|frozen| frozen.starts_with(&group))
        {
            self.thaw_below(&group)?;
        }
        launch::kill_box(folder, name)?;
        teardown::release_volumes(folder, name)?;
        self.route_services()
    }

    /// Switches a machine on again. Its kubelet needs a few seconds more: see [`Cluster::wait_for_nodes`].
    ///
    /// # Errors
    /// When it is on already, or does not start.
    pub fn power_on(&self, name: BoxName) -> Result<()> {
        launch::start(self.spec(), self.folder(), name)?;
        self.route_services()
    }

    /// Cuts a machine's network, or a part of it, until [`Self::heal`]. Packets are dropped without a word. Only what
    /// leaves the machine is concerned: two pods of one node go on talking.
    ///
    /// # Errors
    /// When the firewall refuses it.
    pub fn partition(&self, cut: Cut) -> Result<()> {
        if cut.from == Some(cut.machine) {
            bail!("{} cannot be cut off from itself", cut.machine);
        }
        firewall::cut(self.spec().addresses, cut)
    }

    /// Mends all networks.
    ///
    /// # Errors
    /// When the firewall refuses it.
    pub fn heal(&self) -> Result<()> {
        firewall::heal(self.spec().addresses)
    }

    /// Freezes a whole machine with its pods: nothing in it runs any more, its connections stay open.
    ///
    /// # Errors
    /// When it is switched off or does not come to a stop.
    pub fn freeze_machine(&self, name: BoxName) -> Result<()> {
        if launch::find(self.folder(), name)?.is_none() {
            bail!("{name} is switched off");
        }
        freeze(&cgroup::freezer_of_box(&self.spec().name, name))
    }

    /// Freezes one container, as a process that hangs.
    ///
    /// # Errors
    /// When it does not run or does not come to a stop.
    pub fn freeze_container(&self, container: &Container) -> Result<()> {
        let Container { namespace, pod, .. } = container;
        let filter = match &container.container {
            Some(name) => format!(r#"?(@.name=="{name}")"#),
            None => "0".to_owned(),
        };
        let fields =
            format!("jsonpath={{.spec.nodeName}} {{.status.containerStatuses[{filter}].containerID}}");
        let found =
            self.kubectl()
                .output(&["--namespace", namespace, "get", "pod", pod, "--output", &fields])?;
        let (node, id) = found
            .split_once(" containerd://")
            .with_context(|| format!("pod {namespace}/{pod} has no such container, or it does not run"))?;
        let group = cgroup::freezer_of_container(&self.spec().name, node.parse()?, id)
            .with_context(|| format!("the container of pod {namespace}/{pod} does not run"))?;
        freeze(&group)
    }

    /// Thaws all that is frozen.
    ///
    /// # Errors
    /// When a control group cannot be written.
    pub fn thaw(&self) -> Result<()> {
        cgroup::frozen_groups(&self.spec().name)
            .iter()
            .try_for_each(|group| cgroup::set_frozen(group, false))
    }

    /// Kills one program of a machine, such as `kubelet` or `kube-apiserver`, and keeps it from being started again until
    /// [`Self::release_program`]. The names are those of the logs.
    ///
    /// # Errors
    /// When the program cannot be held.
    pub fn hold_program(&self, name: BoxName, program: &str) -> Result<()> {
        if !self.folder().logs(name).join(format!("{program}.log")).exists() {
            bail!("{name} runs no program {program}");
        }
        folders::write(&self.folder().held_programs(name).join(program), "")
    }

    /// Lets a program that was held be started again.
    ///
    /// # Errors
    /// When it was not held.
    pub fn release_program(&self, name: BoxName, program: &str) -> Result<()> {
        let file = self.folder().held_programs(name).join(program);
        std::fs::remove_file(&file).with_context(|| format!("{program} of {name} was not held"))
    }

    fn thaw_below(&self, group: &std::path::Path) -> Result<()> {
        let frozen = cgroup::frozen_groups(&self.spec().name);
        frozen
            .iter()
            .filter(|own| own.starts_with(group))
            .try_for_each(|own| cgroup::set_frozen(own, false))
    }

    /// Sends the host's own packets for Services to the nodes that are on, as a load balancer with health checks would.
    fn route_services(&self) -> Result<()> {
        network::route_services(self.spec().addresses, &self.running_nodes()?)
    }
}

fn freeze(group: &std::path::Path) -> Result<()> {
    cgroup::set_frozen(group, true)?;
    Interrupt::never().wait_until("all processes to be frozen", FREEZE_LIMIT, || {
        cgroup::is_frozen(group)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn containers_are_named_by_their_pods() {
        let container: Container = "default/web-0".parse().unwrap();
        assert_eq!((container.pod.as_str(), container.container), ("web-0", None));
        let container: Container = "default/web-0/db".parse().unwrap();
        assert_eq!(container.container.as_deref(), Some("db"));
        assert!("web-0".parse::<Container>().is_err());
    }
}
