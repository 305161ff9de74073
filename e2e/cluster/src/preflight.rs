//! Checks that this machine can carry a cluster, and installs the Debian packages that it needs.

use std::env;
use std::fs;
use std::path::Path;

use anyhow::{Result, bail};

use crate::cgroup;
use crate::process::{self, command};

/// Debian packages that the boxes and this program call.
const PACKAGES: [&str; 11] = [
    "conntrack",
    "containernetworking-plugins",
    "iproute2",
    "iptables",
    "kmod",
    "mount",
    "nftables",
    "procps",
    "runc",
    "util-linux",
    "xfsprogs",
];

/// Programs that a build needs besides; they come with the usual toolchains.
const BUILD_TOOLS: [(&str, &str); 2] = [
    ("go", "Go (1.26 or newer)"),
    ("gcc", "a C compiler (Debian: gcc libc6-dev)"),
];

/// Says what of the machine does not fit, all of it at once.
///
/// # Errors
/// When something does not fit.
pub fn check_machine() -> Result<()> {
    let mut missing = Vec::new();
    if env::consts::OS != "linux" || env::consts::ARCH != "x86_64" {
        missing.push(format!(
            "Linux on x86_64 (this is {} on {})",
            env::consts::OS,
            env::consts::ARCH
        ));
    }
    if !nix::unistd::geteuid().is_root() {
        missing.push("root: the nodes are made of namespaces, mounts and cgroups".to_owned());
    }
    if !Path::new("/etc/debian_version").exists() {
        missing.push("Debian or a derivative of it: packages are installed with apt-get".to_owned());
    }
    let absent = cgroup::missing_hierarchies();
    if !absent.is_empty() {
        missing.push(format!(
            "cgroup version 1 with the hierarchies {} mounted below /sys/fs/cgroup (start the kernel with \
             systemd.unified_cgroup_hierarchy=0, or mount them)",
            absent.join(", ")
        ));
    }
    if !Path::new("/dev/loop-control").exists() {
        missing
            .push("loop devices (/dev/loop-control; `modprobe loop`): volumes are made of them".to_owned());
    }
    for (name, user) in [("overlay", "containers"), ("xfs", "volumes")] {
        if !filesystem_known(name) {
            missing.push(format!("the file system {name}, for {user} (`modprobe {name}`)"));
        }
    }
    report(&missing)
}

/// Says which of the build's tools are missing.
///
/// # Errors
/// When one is missing.
pub fn check_build_tools() -> Result<()> {
    let missing: Vec<String> = BUILD_TOOLS
        .iter()
        .filter(|(program, _)| !on_path(program))
        .map(|(_, description)| (*description).to_owned())
        .collect();
    report(&missing)
}

/// Installs the packages that are missing; asks the network for nothing when none is.
///
/// # Errors
/// When apt-get fails.
pub fn install_packages() -> Result<()> {
    let missing: Vec<&str> = PACKAGES
        .into_iter()
        .filter(|package| !installed(package))
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    update_package_lists()?;
    let mut install = command(
        "apt-get",
        [
            "-o",
            "DPkg::Lock::Timeout=500",
            "install",
            "-y",
            "--no-install-recommends",
        ],
    );
    process::run(install.args(missing).env("DEBIAN_FRONTEND", "noninteractive"))
}

/// Fetches the lists of Debian packages.
///
/// # Errors
/// When apt-get fails.
pub fn update_package_lists() -> Result<()> {
    process::run(&mut command(
        "apt-get",
        ["-o", "DPkg::Lock::Timeout=500", "update"],
    ))
}

fn installed(package: &str) -> bool {
    let status = process::output(&mut command(
        "dpkg-query",
        ["-W", "-f", "${db:Status-Status}", package],
    ));
    status.is_ok_and(|status| status == "installed")
}

fn on_path(program: &str) -> bool {
    env::var_os("PATH")
        .is_some_and(|path| env::split_paths(&path).any(|folder| folder.join(program).is_file()))
}

/// Whether the kernel has a file system, or a module of it that it loads by itself.
fn filesystem_known(name: &str) -> bool {
    let listed = fs::read_to_string("/proc/filesystems").unwrap_or_default();
    listed
        .lines()
        .any(|line| line.split_whitespace().last() == Some(name))
        || process::succeeds(&mut command("modprobe", [name]))
}

fn report(missing: &[String]) -> Result<()> {
    if !missing.is_empty() {
        bail!("this machine lacks:\n  - {}", missing.join("\n  - "));
    }
    Ok(())
}
