//! Configuration files of a node's programs: pure rendering.

use std::path::Path;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::address::BoxName;
use crate::cgroup;
use crate::folders::ClusterFolder;
use crate::spec::ClusterSpec;

/// Socket of a node's containerd, inside the box.
pub const CONTAINERD_SOCKET: &str = "/run/containerd/containerd.sock";

/// How quickly a dead node is noticed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NodeMonitoring {
    /// How often the node controller looks, in seconds.
    pub period: u32,
    /// After how many seconds of silence it gives a node up. Must exceed a quarter of the lease, after which leases are
    /// renewed, or nodes flap.
    pub grace: u32,
    /// How often a kubelet reports its status, in seconds.
    pub status: u32,
    /// Duration of a node's lease in seconds.
    pub lease: u32,
    /// How many seconds pods stay on a node that is given up.
    pub toleration: u32,
}

impl NodeMonitoring {
    /// Kubernetes's own values, or quick ones for tests that lose nodes.
    pub fn of(spec: &ClusterSpec) -> Self {
        if spec.fast_node_monitoring {
            Self {
                period: 1,
                grace: 8,
                status: 2,
                lease: 8,
                toleration: 5,
            }
        } else {
            Self {
                period: 5,
                grace: 50,
                status: 10,
                lease: 40,
                toleration: 300,
            }
        }
    }
}

/// containerd's configuration.
pub fn containerd(spec: &ClusterSpec, root: &Path, cni_config: &Path) -> String {
    let (root, cni_config, pause) = (root.display(), cni_config.display(), &spec.pause_image);
    // Without CAP_SYS_RESOURCE, as in many virtual machines, lowering oom_score_adj is refused: hence restrict_...
    format!(
        r#"version = 3
root = "{root}"
state = "/run/containerd"

[grpc]
  address = "{CONTAINERD_SOCKET}"

[plugins."io.containerd.cri.v1.images"]
  snapshotter = "overlayfs"
  [plugins."io.containerd.cri.v1.images".pinned_images]
    sandbox = "{pause}"

[plugins."io.containerd.cri.v1.runtime"]
  restrict_oom_score_adj = true
  [plugins."io.containerd.cri.v1.runtime".cni]
    bin_dirs = ["/usr/lib/cni"]
    conf_dir = "{cni_config}"
  [plugins."io.containerd.cri.v1.runtime".containerd]
    default_runtime_name = "runc"
    [plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc.options]
        BinaryName = "/usr/sbin/runc"
        SystemdCgroup = false
"#
    )
}

/// The pods' network: a cable from each pod to its node, which routes. (A bridge on the node would need br_netfilter for
/// Services between pods of one node.) No masquerading, since there is no outside.
pub fn cni(spec: &ClusterSpec, node: u8) -> Value {
    json!({
        "cniVersion": "1.0.0",
        "name": "pods",
        "plugins": [
            {
                "type": "ptp",
                "ipMasq": false,
                "mtu": 1500,
                "ipam": {
                    "type": "host-local",
                    "ranges": [[{"subnet": spec.addresses.pods_of(node).to_string()}]],
                    "routes": [{"dst": "0.0.0.0/0"}],
                },
            },
            {"type": "portmap", "capabilities": {"portMappings": true}},
        ],
    })
}

/// The kubelet's configuration.
///
/// # Errors
/// When it cannot be written as YAML.
pub fn kubelet(
    spec: &ClusterSpec,
    folder: &ClusterFolder,
    name: BoxName,
    resolv_conf: &Path,
) -> Result<String> {
    let monitoring = NodeMonitoring::of(spec);
    let pki = |file: &str| folder.pki().join(file).display().to_string();
    let config = json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "authentication": {
            "anonymous": {"enabled": false},
            "webhook": {"enabled": true, "cacheTTL": "2m"},
            "x509": {"clientCAFile": pki("ca.crt")},
        },
        "authorization": {"mode": "Webhook"},
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": cgroup::path_of_box(&spec.name, name),
        "clusterDNS": [spec.addresses.dns_service()],
        "clusterDomain": "cluster.local",
        "containerRuntimeEndpoint": format!("unix://{CONTAINERD_SOCKET}"),
        // The machine's disk is shared by all nodes and by everything else: a test must not fail because it is 85 % full.
        "evictionHard": {
            "imagefs.available": "0%",
            "memory.available": "100Mi",
            "nodefs.available": "1Gi",
            "nodefs.inodesFree": "0%",
        },
        "failCgroupV1": false,
        "failSwapOn": false,
        // Images come from archives only: one that was removed would not come back.
        "imageGCHighThresholdPercent": 100,
        "imageGCLowThresholdPercent": 99,
        "nodeLeaseDurationSeconds": monitoring.lease,
        "nodeStatusUpdateFrequency": format!("{}s", monitoring.status),
        "resolvConf": resolv_conf.display().to_string(),
        "serializeImagePulls": false,
        "syncFrequency": "10s",
        "tlsCertFile": pki(&format!("{name}.crt")),
        "tlsPrivateKeyFile": pki(&format!("{name}.key")),
    });
    serde_yaml::to_string(&config).context("cannot write the kubelet's configuration")
}

/// The API server's audit policy: every request once, when it is answered, without its body.
pub const AUDIT_POLICY: &str = "\
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived, ResponseStarted]
rules:
- level: Metadata
  omitManagedFields: true
";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::address::AddressPlan;
    use crate::release::Release;

    fn spec(index: usize) -> ClusterSpec {
        ClusterSpec {
            name: "demo".into(),
            nodes: 2,
            fast_node_monitoring: false,
            addresses: AddressPlan::all().nth(index).unwrap(),
            kubernetes: Release::Newest,
            binaries: "/cache/bin".into(),
            pause_image: "localhost/pause:1".into(),
            coredns_image: "localhost/coredns:1".into(),
        }
    }

    #[test]
    fn a_node_gives_its_pods_addresses_of_its_own_range() {
        let cni = cni(&spec(1), 2);
        assert_eq!(
            cni["plugins"][0]["ipam"]["ranges"][0][0]["subnet"],
            "10.245.2.0/24"
        );
    }

    #[test]
    fn the_kubelet_keeps_to_its_box() {
        let folder = ClusterFolder::at(Path::new("/state/demo"));
        let text = kubelet(&spec(0), &folder, BoxName::Node(2), Path::new("/r")).unwrap();
        let config: Value = serde_yaml::from_str(&text).unwrap();
        assert_eq!(config["cgroupRoot"], "/e2e-cluster/demo/node2");
        assert_eq!(config["tlsCertFile"], "/state/demo/pki/node2.crt");
        assert_eq!(config["clusterDNS"][0], "10.96.0.10");
        assert_eq!(config["nodeLeaseDurationSeconds"], 40);
    }

    #[test]
    fn containerd_uses_the_projects_pause_image() {
        let text = containerd(&spec(0), Path::new("/r"), Path::new("/c"));
        assert!(text.contains("sandbox = \"localhost/pause:1\"") && text.contains("root = \"/r\""));
    }

    #[test]
    fn leases_are_renewed_well_within_the_grace_period() {
        for fast_node_monitoring in [false, true] {
            let monitoring = NodeMonitoring::of(&ClusterSpec {
                fast_node_monitoring,
                ..spec(0)
            });
            assert!(monitoring.lease / 4 + monitoring.period < monitoring.grace);
        }
    }
}
