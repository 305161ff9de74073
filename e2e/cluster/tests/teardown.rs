//! `down` leaves the machine as it was, whatever happened before. Needs root; the clusters are real.

// Clippy takes only functions marked as tests for tests.
#![allow(clippy::unwrap_used)]

mod harness;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use e2e_cluster::address::BoxName;
use e2e_cluster::cluster::Cluster;
use e2e_cluster::folders::Folders;
use e2e_cluster::interrupt::Interrupt;
use e2e_cluster::launch;
use e2e_cluster::process::{self, command};
use e2e_cluster::progress::Progress;
use e2e_cluster::spec::Options;
use harness::{TestCluster, eventually, folders};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

const NAME: &str = "teardown-test";

/// Everything on the machine that a cluster could leave behind, one thing per line.
#[derive(Debug, PartialEq, Eq)]
struct Machine {
    things: BTreeSet<String>,
}

impl Machine {
    fn now() -> Self {
        let mut things = BTreeSet::new();
        for args in [
            &["-br", "link"][..],
            &["-br", "addr"],
            &["-4", "route", "show", "table", "all"],
            &["netns"],
        ] {
            let output = process::output(&mut command("ip", args)).unwrap();
            things.extend(
                output
                    .lines()
                    .map(|line| format!("ip {}: {line}", args.join(" "))),
            );
        }
        let rules = process::output(&mut command("nft", ["list", "ruleset"])).unwrap();
        things.extend(rules.lines().map(|line| format!("nft: {line}")));
        let loops = process::output(&mut command("losetup", ["--all"])).unwrap();
        things.extend(loops.lines().map(|line| format!("losetup: {line}")));
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
        things.extend(mounts.lines().map(|line| format!("mount: {line}")));
        for hierarchy in folders_in(Path::new("/sys/fs/cgroup")) {
            things.extend(
                folders_in(&hierarchy)
                    .iter()
                    .map(|group| format!("cgroup: {}", group.display())),
            );
        }
        things.extend(processes_of_clusters());
        Self { things }
    }

    #[track_caller]
    fn assert_unchanged(&self) {
        let now = Self::now();
        let left: Vec<_> = now.things.difference(&self.things).collect();
        let lost: Vec<_> = self.things.difference(&now.things).collect();
        assert!(
            left.is_empty() && lost.is_empty(),
            "left behind: {left:#?}\nlost: {lost:#?}"
        );
    }
}

fn folders_in(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().flatten();
    entries
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|entry| entry.path())
        .collect()
}

/// Processes whose command line names this test's cluster.
fn processes_of_clusters() -> Vec<String> {
    let folder = folders().cluster(NAME).path().display().to_string();
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        if line.contains(&folder) {
            found.push(format!("process {}: {line}", entry.file_name().display()));
        }
    }
    found
}

fn down(folders: &Folders) {
    Cluster::down(NAME, folders, &mut Progress::silent(), &Interrupt::never()).unwrap();
    assert!(!folders.cluster(NAME).path().exists());
}

fn start_devcluster(args: &[&str]) -> Child {
    Command::new(env!("CARGO_BIN_EXE_devcluster"))
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

fn wait_for_box(name: BoxName) {
    let folder = folders().cluster(NAME);
    eventually(
        "the box to run",
        60,
        || Ok(launch::find(&folder, name)?.is_some()),
    );
}

fn kill_hard(pid: i32) {
    kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
}

/// A pod with a volume runs.
fn use_cluster(cluster: &TestCluster) {
    let image = cluster.load_python();
    let manifest = format!(
        "
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {{name: data}}
spec: {{accessModes: [ReadWriteOnce], resources: {{requests: {{storage: 32Mi}}}}}}
---
apiVersion: v1
kind: Pod
metadata: {{name: user}}
spec:
  containers:
  - name: user
    image: {image}
    imagePullPolicy: Never
    command: [sh, -c, \"echo x > /data/x; exec sleep infinity\"]
    volumeMounts: [{{name: data, mountPath: /data}}]
  volumes: [{{name: data, persistentVolumeClaim: {{claimName: data}}}}]
"
    );
    cluster.apply(&manifest);
    cluster.wait_ready("user");
}

#[test]
#[ignore = "needs root and starts a real cluster"]
fn a_cluster_that_was_used_leaves_nothing() {
    let before = Machine::now();
    let cluster = TestCluster::up(&Options {
        nodes: 2,
        ..Options::new(NAME)
    });
    use_cluster(&cluster);
    assert_ne!(Machine::now(), before, "the comparison sees a running cluster");
    down(&folders());
    before.assert_unchanged();
    down(&folders());
    before.assert_unchanged();
    assert!(folders().last_logs(NAME).join("node1/kubelet.log").exists());
}

#[test]
#[ignore = "needs root and starts a real cluster"]
fn a_cluster_whose_machines_were_killed_leaves_nothing() {
    let before = Machine::now();
    let cluster = TestCluster::up(&Options {
        nodes: 2,
        ..Options::new(NAME)
    });
    use_cluster(&cluster);
    for name in [BoxName::ControlPlane, BoxName::Node(2)] {
        kill_hard(launch::find(cluster.folder(), name).unwrap().unwrap());
    }
    down(&folders());
    before.assert_unchanged();
}

#[test]
#[ignore = "needs root and starts a real cluster"]
fn a_frozen_machine_does_not_hold_up_the_removal() {
    let before = Machine::now();
    let cluster = TestCluster::up(&Options::new(NAME));
    use_cluster(&cluster);
    cluster.freeze_machine(BoxName::Node(1)).unwrap();
    down(&folders());
    before.assert_unchanged();
}

#[test]
#[ignore = "needs root and starts a real cluster"]
fn a_start_that_was_killed_can_be_removed_and_repeated() {
    let before = Machine::now();
    let mut up = start_devcluster(&["up", "--name", NAME, "--nodes", "2"]);
    wait_for_box(BoxName::Node(1));
    kill_hard(i32::try_from(up.id()).unwrap());
    up.wait().unwrap();
    let again = start_devcluster(&["up", "--name", NAME]).wait().unwrap();
    assert!(again.success(), "a start removes what a killed one has left");
    down(&folders());
    before.assert_unchanged();
}

#[test]
#[ignore = "needs root and starts a real cluster"]
fn a_start_that_was_interrupted_removes_itself() {
    let before = Machine::now();
    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        let mut up = start_devcluster(&["up", "--name", NAME]);
        wait_for_box(BoxName::Node(1));
        kill(Pid::from_raw(i32::try_from(up.id()).unwrap()), signal).unwrap();
        assert!(!up.wait().unwrap().success());
        before.assert_unchanged();
    }
}
