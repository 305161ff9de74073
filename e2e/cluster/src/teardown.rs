//! Removes a cluster: everything on the machine that belongs to it, whatever state it is in.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::address::{BoxName, MAX_NODES};
use crate::cgroup;
use crate::firewall;
use crate::folders::{self, ClusterFolder, Folders};
use crate::interrupt::Interrupt;
use crate::launch;
use crate::network;
use crate::process::{self, command};
use crate::spec::ClusterSpec;

/// How long the kernel may take to let go of something whose users are gone.
const LIMIT: Duration = Duration::from_secs(60);

/// Removes a cluster. May be called when there is none, or half of one.
///
/// # Errors
/// When something cannot be removed; then it may be called again.
pub fn remove(folders: &Folders, name: &str) -> Result<()> {
    let folder = folders.cluster(name);
    let boxes = || std::iter::once(BoxName::ControlPlane).chain((1..=MAX_NODES).map(BoxName::Node));
    // A frozen process does not even die.
    for group in cgroup::frozen_groups(name) {
        cgroup::set_frozen(&group, false)?;
    }
    for own in boxes() {
        launch::kill_box(&folder, own)?;
    }
    end_processes(name)?;
    Interrupt::never().wait_until("the control groups to become empty", LIMIT, || {
        cgroup::remove(name)
    })?;
    for own in boxes() {
        release_volumes(&folder, own)?;
    }
    // Without a specification nothing has been made on the network yet. The addresses stay unreachable until the end.
    if let Some(spec) = ClusterSpec::read(&folder)? {
        firewall::remove(spec.addresses)?;
        network::remove(spec.addresses)?;
    }
    keep_logs(folders, name, boxes())?;
    if folder.path().exists() {
        fs::remove_dir_all(folder.path())
            .with_context(|| format!("cannot remove {}", folder.path().display()))?;
    }
    Ok(())
}

/// Ends what is left in the cluster's control groups: normally nothing, the boxes took it with them.
fn end_processes(cluster: &str) -> Result<()> {
    Interrupt::never().wait_until("the cluster's processes to end", LIMIT, || {
        let left = cgroup::processes(cluster);
        for pid in &left {
            let _ = kill(Pid::from_raw(*pid), Signal::SIGKILL);
        }
        Ok(left.is_empty())
    })
}

/// Waits until the kernel has unmounted a box's volumes after the end of the box. Before, their files must be neither
/// removed nor mounted again.
///
/// # Errors
/// When a loop device stays in use.
pub fn release_volumes(folder: &ClusterFolder, name: BoxName) -> Result<()> {
    let volumes = folder.of_box(name).join("volumes");
    let mut asked = BTreeSet::new();
    Interrupt::never().wait_until(&format!("the volumes of {name} to be unmounted"), LIMIT, || {
        let devices = loop_devices_on(&volumes)?;
        for device in &devices {
            // One whose mount failed half-way has no user that the kernel could wait for.
            if asked.insert(device.clone()) {
                process::succeeds(&mut command("losetup", ["--detach", device]));
            }
        }
        Ok(devices.is_empty())
    })
}

/// The loop devices whose files lie in a folder.
fn loop_devices_on(folder: &Path) -> Result<Vec<String>> {
    let mut devices = Vec::new();
    for entry in fs::read_dir("/sys/block").context("cannot read /sys/block")? {
        let entry = entry?;
        // Only a device in use has a backing file.
        let Ok(file) = fs::read_to_string(entry.path().join("loop/backing_file")) else {
            continue;
        };
        if Path::new(file.trim_end_matches('\n')).starts_with(folder) {
            devices.push(format!("/dev/{}", entry.file_name().to_string_lossy()));
        }
    }
    Ok(devices)
}

/// Moves the logs to where they outlive the cluster, replacing those of the last one of its name.
fn keep_logs(folders: &Folders, name: &str, boxes: impl Iterator<Item = BoxName>) -> Result<()> {
    let folder = folders.cluster(name);
    let mut moves: Vec<(PathBuf, String)> = Vec::new();
    for own in boxes {
        moves.push((folder.logs(own), own.to_string()));
        moves.push((folder.of_box(own).join("init.log"), format!("{own}-init.log")));
    }
    moves.push((folder.audit_log(), "audit.log".to_owned()));
    moves.retain(|(from, _)| from.exists());
    if moves.is_empty() {
        return Ok(());
    }
    let target = folders.last_logs(name);
    if target.exists() {
        fs::remove_dir_all(&target).with_context(|| format!("cannot remove {}", target.display()))?;
    }
    folders::make(&target)?;
    for (from, to) in moves {
        fs::rename(&from, target.join(to)).with_context(|| format!("cannot move {}", from.display()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logs_outlive_the_cluster() {
        let folder = tempfile::tempdir().unwrap();
        let folders = Folders::below(folder.path());
        let logs = folders.cluster("demo").logs(BoxName::Node(1));
        folders::make(&logs).unwrap();
        folders::write(&logs.join("kubelet.log"), "text").unwrap();
        keep_logs(&folders, "demo", std::iter::once(BoxName::Node(1))).unwrap();
        assert_eq!(
            fs::read_to_string(folders.last_logs("demo").join("node1/kubelet.log")).unwrap(),
            "text"
        );
        keep_logs(&folders, "demo", std::iter::once(BoxName::Node(1))).unwrap();
        assert!(folders.last_logs("demo").exists(), "a second removal keeps them");
    }
}
