//! The programs of each kind of box and how they are called.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::config::{self, CONTAINERD_SOCKET, NodeMonitoring};
use super::supervisor::{Program, Unit};
use crate::address::{API_PORT, BoxName};
use crate::folders::{self, ClusterFolder};
use crate::image::archive::{self, Archive};
use crate::spec::ClusterSpec;

/// Folder, inside a node's box, that its volumes are mounted in.
pub const VOLUME_MOUNTS: &str = "/run/volumes";

/// Writes the configuration files of a box's programs and says how to run these.
///
/// # Errors
/// When a file cannot be written.
pub fn prepare(spec: &ClusterSpec, folder: &ClusterFolder, name: BoxName) -> Result<Vec<Unit>> {
    let programs = Programs {
        spec,
        folder,
        name,
        own: folder.of_box(name),
    };
    match name {
        BoxName::ControlPlane => programs.control_plane(),
        BoxName::Node(number) => programs.node(number),
    }
}

struct Programs<'a> {
    spec: &'a ClusterSpec,
    folder: &'a ClusterFolder,
    name: BoxName,
    own: PathBuf,
}

impl Programs<'_> {
    fn control_plane(&self) -> Result<Vec<Unit>> {
        folders::write(&self.own.join("audit-policy.yaml"), config::AUDIT_POLICY)?;
        let mut units = vec![
            self.daemon("etcd", self.etcd()),
            self.daemon("kube-apiserver", self.api_server()),
            // Before the API server has made its default roles the others end with "forbidden".
            self.wait_for_api("kube-controller-manager"),
            self.daemon("kube-controller-manager", self.controller_manager()),
        ];
        if self.spec.nodes > 0 {
            units.push(self.daemon("kube-scheduler", self.scheduler()));
        }
        Ok(units)
    }

    fn node(&self, number: u8) -> Result<Vec<Unit>> {
        let (spec, own) = (self.spec, &self.own);
        let cni = own.join("cni-config");
        folders::make(&cni)?;
        folders::make(&own.join("volumes"))?;
        folders::write(
            &cni.join("10-pods.conflist"),
            serde_json::to_vec_pretty(&config::cni(spec, number))?,
        )?;
        let containerd = own.join("containerd.toml");
        folders::write(
            &containerd,
            config::containerd(spec, &own.join("containerd"), &cni),
        )?;
        // What a pod with `dnsPolicy: Default` gets: there is no name server outside the cluster.
        let resolv_conf = own.join("resolv.conf");
        folders::write(&resolv_conf, "search .\n")?;
        let kubelet = own.join("kubelet.yaml");
        folders::write(
            &kubelet,
            config::kubelet(spec, self.folder, self.name, &resolv_conf)?,
        )?;

        let mut units = vec![self.daemon("containerd", vec![format!("--config={}", containerd.display())])];
        units.push(self.step("containerd-answers", "ctr", vec!["version".into()]));
        units.extend(self.images()?);
        units.push(self.daemon("volume-provisioner", self.volume_provisioner()));
        units.push(self.wait_for_api(&self.name.to_string()));
        units.push(self.daemon("kubelet", self.kubelet(&kubelet)));
        units.push(self.daemon("kube-proxy", self.proxy()));
        Ok(units)
    }

    fn etcd(&self) -> Vec<String> {
        let mut args = vec![format!("--data-dir={}", self.own.join("etcd").display())];
        // The machine survives all our faults, and so does its page cache: no need to sync it to the disk.
        args.extend(flags(&[
            "--name=cp",
            "--listen-client-urls=http://127.0.0.1:2379",
            "--advertise-client-urls=http://127.0.0.1:2379",
            "--listen-peer-urls=http://127.0.0.1:2380",
            "--initial-advertise-peer-urls=http://127.0.0.1:2380",
            "--initial-cluster=cp=http://127.0.0.1:2380",
            "--unsafe-no-fsync",
            "--log-level=warn",
        ]));
        args
    }

    fn api_server(&self) -> Vec<String> {
        let addresses = self.spec.addresses;
        let toleration = NodeMonitoring::of(self.spec).toleration;
        let mut args = flags(&[
            "--etcd-servers=http://127.0.0.1:2379",
            "--bind-address=0.0.0.0",
            "--authorization-mode=Node,RBAC",
            "--enable-admission-plugins=NodeRestriction",
            "--allow-privileged=true",
            "--enable-aggregator-routing=true",
            "--kubelet-preferred-address-types=InternalIP",
            "--requestheader-allowed-names=front-proxy-client",
            "--requestheader-extra-headers-prefix=X-Remote-Extra-",
            "--requestheader-group-headers=X-Remote-Group",
            "--requestheader-username-headers=X-Remote-User",
            "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
        ]);
        args.extend([
            format!("--advertise-address={}", addresses.address(BoxName::ControlPlane)),
            format!("--secure-port={API_PORT}"),
            format!("--service-cluster-ip-range={}", addresses.services()),
            format!("--default-not-ready-toleration-seconds={toleration}"),
            format!("--default-unreachable-toleration-seconds={toleration}"),
            format!(
                "--audit-policy-file={}",
                self.own.join("audit-policy.yaml").display()
            ),
            format!("--audit-log-path={}", self.folder.audit_log().display()),
            // In MB: by default the log is begun anew after 100, and whoever counts requests would miss what came before.
            "--audit-log-maxsize=100000".to_owned(),
            format!("--client-ca-file={}", self.pki("ca.crt")),
            format!("--tls-cert-file={}", self.pki("apiserver.crt")),
            format!("--tls-private-key-file={}", self.pki("apiserver.key")),
            format!("--kubelet-certificate-authority={}", self.pki("ca.crt")),
            format!(
                "--kubelet-client-certificate={}",
                self.pki("apiserver-kubelet-client.crt")
            ),
            format!(
                "--kubelet-client-key={}",
                self.pki("apiserver-kubelet-client.key")
            ),
            format!(
                "--requestheader-client-ca-file={}",
                self.pki("front-proxy-ca.crt")
            ),
            format!("--proxy-client-cert-file={}", self.pki("front-proxy-client.crt")),
            format!("--proxy-client-key-file={}", self.pki("front-proxy-client.key")),
            format!("--service-account-key-file={}", self.pki("service-accounts.pub")),
            format!(
                "--service-account-signing-key-file={}",
                self.pki("service-accounts.key")
            ),
        ]);
        args
    }

    fn controller_manager(&self) -> Vec<String> {
        let monitoring = NodeMonitoring::of(self.spec);
        let mut args = self.client("kube-controller-manager");
        args.extend(flags(&[
            "--leader-elect=false",
            "--bind-address=127.0.0.1",
            "--use-service-account-credentials=true",
            "--allocate-node-cidrs=false",
            // With the default of 20 per second it waits 5 s at its start, where each controller asks for a token.
            "--kube-api-qps=500",
            "--kube-api-burst=1000",
        ]));
        args.extend([
            format!(
                "--service-account-private-key-file={}",
                self.pki("service-accounts.key")
            ),
            format!("--root-ca-file={}", self.pki("ca.crt")),
            format!("--cluster-signing-cert-file={}", self.pki("ca.crt")),
            format!("--cluster-signing-key-file={}", self.pki("ca.key")),
            format!("--node-monitor-period={}s", monitoring.period),
            format!("--node-monitor-grace-period={}s", monitoring.grace),
        ]);
        args
    }

    fn scheduler(&self) -> Vec<String> {
        let mut args = self.client("kube-scheduler");
        args.extend(flags(&["--leader-elect=false", "--bind-address=127.0.0.1"]));
        args
    }

    fn kubelet(&self, config: &Path) -> Vec<String> {
        vec![
            format!("--config={}", config.display()),
            format!("--kubeconfig={}", self.kubeconfig(&self.name.to_string())),
            format!("--hostname-override={}", self.name),
            format!("--node-ip={}", self.spec.addresses.address(self.name)),
        ]
    }

    fn proxy(&self) -> Vec<String> {
        let mut args = flags(&[
            "--proxy-mode=nftables",
            "--healthz-bind-address=127.0.0.1:10256",
            "--metrics-bind-address=127.0.0.1:10249",
            // The connection table belongs to the machine; a box may not resize it.
            "--conntrack-max-per-core=0",
        ]);
        args.extend([
            format!("--kubeconfig={}", self.kubeconfig("kube-proxy")),
            format!("--hostname-override={}", self.name),
            format!("--cluster-cidr={}", self.spec.addresses.pods()),
        ]);
        args
    }

    fn volume_provisioner(&self) -> Vec<String> {
        vec![
            format!("--kubeconfig={}", self.kubeconfig("volume-provisioner")),
            format!("--node={}", self.name),
            format!("--images={}", self.own.join("volumes").display()),
            format!("--mounts={VOLUME_MOUNTS}"),
        ]
    }

    /// A step that succeeds once the API server is ready to serve the named user.
    fn wait_for_api(&self, user: &str) -> Unit {
        let argv = vec![
            self.folder.program().display().to_string(),
            "wait-api".to_owned(),
            format!(
                "{}:{API_PORT}",
                self.spec.addresses.address(BoxName::ControlPlane)
            ),
            self.spec.binaries.join("kubectl").display().to_string(),
            self.kubeconfig(user),
        ];
        Unit::Step(Program {
            name: "api-ready".to_owned(),
            argv,
        })
    }

    /// Steps that import every image archive of the cluster.
    fn images(&self) -> Result<Vec<Unit>> {
        let mut units = Vec::new();
        let entries =
            fs::read_dir(self.folder.images()).context("cannot read the folder of the cluster's images")?;
        for entry in entries {
            let file = entry?.path();
            let Archive { name, reference, .. } = archive::read(&file)?;
            for args in import_commands(&file, &name, &reference) {
                units.push(self.step(
                    &format!("import-{}", reference.replace(['/', ':'], "-")),
                    "ctr",
                    args,
                ));
            }
        }
        Ok(units)
    }

    fn daemon(&self, program: &str, args: Vec<String>) -> Unit {
        Unit::Daemon(self.program(program, program, args))
    }

    fn step(&self, name: &str, program: &str, args: Vec<String>) -> Unit {
        Unit::Step(self.program(name, program, args))
    }

    fn program(&self, name: &str, program: &str, args: Vec<String>) -> Program {
        let mut argv = vec![self.spec.binaries.join(program).display().to_string()];
        argv.extend(args);
        Program {
            name: name.to_owned(),
            argv,
        }
    }

    /// Flags of a component that is both a client of the API server and one of its delegates.
    fn client(&self, user: &str) -> Vec<String> {
        let file = self.kubeconfig(user);
        [
            "kubeconfig",
            "authentication-kubeconfig",
            "authorization-kubeconfig",
        ]
        .map(|flag| format!("--{flag}={file}"))
        .to_vec()
    }

    fn kubeconfig(&self, user: &str) -> String {
        self.folder.kubeconfig_of(user).display().to_string()
    }

    fn pki(&self, file: &str) -> String {
        self.folder.pki().join(file).display().to_string()
    }
}

/// Arguments of `ctr` that import an archive, and give the image the name by which a pod pins its digest as well.
pub fn import_commands(file: &Path, digest_name: &str, reference: &str) -> [Vec<String>; 2] {
    let ctr = |args: &[&str]| {
        let mut all = vec![
            format!("--address={CONTAINERD_SOCKET}"),
            "--namespace=k8s.io".to_owned(),
        ];
        all.extend(flags(args));
        all
    };
    let file = file.display().to_string();
    [
        ctr(&["images", "import", &file]),
        ctr(&["images", "tag", "--force", reference, digest_name]),
    ]
}

fn flags(flags: &[&str]) -> Vec<String> {
    flags.iter().map(|flag| (*flag).to_owned()).collect()
}
