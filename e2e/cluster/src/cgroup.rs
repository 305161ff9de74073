//! The boxes' control groups (version 1): the kubelets put their pods below them, and a whole box is frozen by its own.

use std::collections::BTreeSet;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::address::BoxName;
use crate::folders;

/// Where the hierarchies are mounted.
const ROOT: &str = "/sys/fs/cgroup";

/// Hierarchies that a kubelet of Kubernetes 1.37 and runc make groups in. `freezer` also serves our own faults.
const HIERARCHIES: [&str; 9] = [
    "blkio", "cpu", "cpuacct", "cpuset", "devices", "freezer", "memory", "pids", "systemd",
];

/// Parent of all clusters' groups.
const PARENT: &str = "e2e-cluster";

/// The hierarchies that this machine lacks.
pub fn missing_hierarchies() -> Vec<&'static str> {
    HIERARCHIES
        .into_iter()
        .filter(|name| !Path::new(ROOT).join(name).join("cgroup.procs").exists())
        .collect()
}

/// The path of a box's group as seen from a hierarchy's root.
pub fn path_of_box(cluster: &str, name: BoxName) -> String {
    format!("/{PARENT}/{cluster}/{name}")
}

/// Folder of a box's group in the freezer hierarchy.
pub fn freezer_of_box(cluster: &str, name: BoxName) -> PathBuf {
    of_cluster("freezer", cluster).join(name.to_string())
}

fn of_cluster(hierarchy: &str, cluster: &str) -> PathBuf {
    Path::new(ROOT).join(hierarchy).join(PARENT).join(cluster)
}

/// Makes a box's group in every hierarchy: a kubelet does not start without.
///
/// # Errors
/// When one cannot be made.
pub fn make(cluster: &str, name: BoxName) -> Result<()> {
    HIERARCHIES
        .iter()
        .try_for_each(|hierarchy| folders::make(&of_cluster(hierarchy, cluster).join(name.to_string())))
}

/// Moves a process, and with it all that it will start, into its box's freezer group.
///
/// # Errors
/// When the process has ended or the group does not exist.
pub fn add_process(cluster: &str, name: BoxName, pid: i32) -> Result<()> {
    folders::write(
        &freezer_of_box(cluster, name).join("cgroup.procs"),
        pid.to_string(),
    )
}

/// Freezes or thaws a freezer group. A frozen process does nothing at all, its connections stay open.
///
/// # Errors
/// When the group does not exist.
pub fn set_frozen(group: &Path, frozen: bool) -> Result<()> {
    folders::write(
        &group.join("freezer.state"),
        if frozen { "FROZEN" } else { "THAWED" },
    )
}

/// Whether all processes of a freezer group are frozen by now.
///
/// # Errors
/// When the group does not exist.
pub fn is_frozen(group: &Path) -> Result<bool> {
    Ok(folders::read(&group.join("freezer.state"))?.starts_with(b"FROZEN"))
}

/// The cluster's groups that were frozen, not counting those inside a frozen one.
pub fn frozen_groups(cluster: &str) -> Vec<PathBuf> {
    let groups = groups_below(&of_cluster("freezer", cluster));
    let asked = |group: &PathBuf| {
        fs::read_to_string(group.join("freezer.self_freezing")).is_ok_and(|s| s.trim() == "1")
    };
    groups.into_iter().filter(asked).collect()
}

/// A container's group below its box, found by the container's id.
pub fn freezer_of_container(cluster: &str, name: BoxName, container: &str) -> Option<PathBuf> {
    let groups = groups_below(&freezer_of_box(cluster, name));
    groups
        .into_iter()
        .find(|group| group.file_name().is_some_and(|last| last == container))
}

/// All processes in the cluster's groups.
pub fn processes(cluster: &str) -> BTreeSet<i32> {
    let groups = HIERARCHIES
        .iter()
        .flat_map(|hierarchy| groups_below(&of_cluster(hierarchy, cluster)));
    let lists = groups.filter_map(|group| fs::read_to_string(group.join("cgroup.procs")).ok());
    lists
        .flat_map(|list| {
            list.lines()
                .filter_map(|pid| pid.parse().ok())
                .collect::<Vec<_>>()
        })
        .collect()
}

/// Removes the cluster's groups; `false` when some are still in use.
///
/// # Errors
/// When the hierarchies cannot be read.
pub fn remove(cluster: &str) -> Result<bool> {
    let mut all_gone = true;
    // Also where the kernel offers version 2 beside version 1: runc makes groups there as well.
    for hierarchy in HIERARCHIES.into_iter().chain(["unified"]) {
        let own = of_cluster(hierarchy, cluster);
        // Innermost first: only a group without children can be removed.
        for group in groups_below(&own).into_iter().rev() {
            all_gone &= remove_group(&group)?;
        }
        if let Some(parent) = own.parent() {
            // Refused while another cluster is up.
            remove_group(parent)?;
        }
    }
    Ok(all_gone)
}

fn remove_group(group: &Path) -> Result<bool> {
    match fs::remove_dir(group) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(true),
        Err(error)
            if matches!(
                error.kind(),
                ErrorKind::ResourceBusy | ErrorKind::DirectoryNotEmpty
            ) =>
        {
            Ok(false)
        }
        Err(error) => {
            Err(error).with_context(|| format!("cannot remove the control group {}", group.display()))
        }
    }
}

/// A group and all below it, parents first; empty if there is none. A group that ends meanwhile is left out.
fn groups_below(group: &Path) -> Vec<PathBuf> {
    if !group.is_dir() {
        return Vec::new();
    }
    let mut groups = vec![group.to_owned()];
    for entry in fs::read_dir(group).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            groups.extend(groups_below(&entry.path()));
        }
    }
    groups
}
