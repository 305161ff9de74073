//! Turns fresh namespaces into a machine: host name, mounts, network.

use std::path::Path;

use anyhow::{Context, Result};
use nix::mount::{MsFlags, mount};

use crate::address::BoxName;
use crate::folders::{self, ClusterFolder};
use crate::network;
use crate::process::{self, command};
use crate::spec::ClusterSpec;

/// Search path of everything that runs in a box, after the cluster's own binaries.
const SYSTEM_PATH: &str = "/usr/sbin:/usr/bin:/sbin:/bin";

/// The value of `PATH` inside the boxes.
pub fn search_path(spec: &ClusterSpec) -> String {
    format!("{}:{SYSTEM_PATH}", spec.binaries.display())
}

/// Gives the box its host name and its own `/proc`, `/run` and `/var` folders. None of the mounts is seen outside.
///
/// # Errors
/// When a mount fails.
pub fn mounts(folder: &ClusterFolder, name: BoxName) -> Result<()> {
    nix::unistd::sethostname(name.to_string()).context("cannot set the host name")?;
    // Shared within the box: what the kubelet mounts for a pod must reach the pod.
    share(Path::new("/"), MsFlags::MS_REC)?;
    let none: Option<&str> = None;
    mount(Some("proc"), "/proc", Some("proc"), MsFlags::empty(), none).context("cannot mount /proc")?;
    mount(
        Some("tmpfs"),
        "/run",
        Some("tmpfs"),
        MsFlags::empty(),
        Some("mode=755"),
    )
    .context("cannot mount /run")?;
    folders::make(Path::new("/run/lock"))?;
    let own = folder.of_box(name);
    bind(&own.join("var-log"), Path::new("/var/log"))?;
    if let BoxName::Node(_) = name {
        bind(&own.join("kubelet"), Path::new("/var/lib/kubelet"))?;
        bind(&own.join("cni"), Path::new("/var/lib/cni"))?;
    }
    Ok(())
}

/// Configures the box's end of its cable, which must be there, and the routes to the other boxes' pods. There is no default
/// route: nothing else is reachable.
///
/// # Errors
/// When `ip` fails.
pub fn network(spec: &ClusterSpec, name: BoxName) -> Result<()> {
    let plan = spec.addresses;
    let ip = |args: &[&str]| process::run(&mut command("ip", args));
    ip(&["link", "set", "lo", "up"])?;
    ip(&[
        "addr",
        "add",
        &format!("{}/{}", plan.address(name), plan.machines().prefix),
        "dev",
        "eth0",
    ])?;
    ip(&["link", "set", "eth0", "up"])?;
    folders::write(Path::new("/proc/sys/net/ipv4/ip_forward"), "1")?;
    // Replies of Services may come in by another way than the request went.
    folders::write(Path::new("/proc/sys/net/ipv4/conf/all/rp_filter"), "0")?;
    for number in (1..=spec.nodes).filter(|number| BoxName::Node(*number) != name) {
        let gateway = plan.address(BoxName::Node(number)).to_string();
        ip(&["route", "add", &plan.pods_of(number).to_string(), "via", &gateway])?;
    }
    if name == BoxName::ControlPlane && spec.nodes > 0 {
        let nodes: Vec<_> = spec.node_boxes().map(|node| plan.address(node)).collect();
        let services = plan.services().to_string();
        process::run(command("ip", ["route", "add", &services]).args(network::next_hops(&nodes)))?;
    }
    Ok(())
}

fn bind(source: &Path, target: &Path) -> Result<()> {
    folders::make(source)?;
    folders::make(target)?;
    let none: Option<&str> = None;
    mount(Some(source), target, none, MsFlags::MS_BIND, none)
        .with_context(|| format!("cannot mount {}", target.display()))?;
    share(target, MsFlags::empty())
}

/// Makes mounts below a mount point visible to the namespaces that are made from this one.
fn share(target: &Path, flags: MsFlags) -> Result<()> {
    let none: Option<&str> = None;
    mount(none, target, none, MsFlags::MS_SHARED | flags, none)
        .with_context(|| format!("cannot share the mounts below {}", target.display()))
}
