//! What the binaries of a release are built from: the Go module in `box/`, or that in `oldest/`.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::folders;
use crate::image::digest;
use crate::release::Release;

/// Programs that the binary `hyperkube` acts as when it is called by their names; those that are not Kubernetes come last.
const HYPERKUBE_NAMES: [&str; 8] = [
    "etcd",
    "kube-apiserver",
    "kube-controller-manager",
    "kube-proxy",
    "kube-scheduler",
    "kubectl",
    "kubelet",
    "volume-provisioner",
];

/// How many of them are Kubernetes and etcd themselves, which differ between releases.
const OF_KUBERNETES: usize = 7;

/// What is compiled: packages of the module itself and of its dependencies.
const PACKAGES: [&str; 5] = [
    "./hyperkube",
    "./coredns",
    "github.com/containerd/containerd/v2/cmd/containerd",
    "github.com/containerd/containerd/v2/cmd/ctr",
    "github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2",
];

/// Leaves out file systems that a node does not use and that need C libraries.
const TAGS: &str = "no_btrfs,no_devmapper,no_zfs,no_aufs,grpcnotrace";

/// The source of a release's binaries.
#[derive(Debug)]
pub struct Source {
    pub(crate) folder: PathBuf,
    pub(crate) kubernetes: String,
    /// `None` when it is not built from this source, but shared.
    pub(crate) containerd: Option<String>,
    pub(crate) packages: &'static [&'static str],
    pub(crate) hyperkube_names: &'static [&'static str],
    pub(crate) key: String,
}

impl Source {
    /// The Go module of this project for a release.
    ///
    /// # Errors
    /// When its files cannot be read.
    pub fn of_project(release: Release) -> Result<Self> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(release.folder());
        match release {
            Release::Newest => Self::at(&folder),
            Release::Oldest => Self::of_kubernetes_alone(&folder, &Self::of_project(Release::Newest)?),
        }
    }

    fn at(folder: &Path) -> Result<Self> {
        let (files, go_mod) = read(folder)?;
        let kubernetes = required_version(&go_mod, "k8s.io/kubernetes")?;
        let containerd = required_version(&go_mod, "github.com/containerd/containerd/v2")?;
        let flags = build_flags(&kubernetes, Some(&containerd)).join("\n");
        Ok(Self {
            folder: folder.to_owned(),
            kubernetes,
            containerd: Some(containerd),
            packages: &PACKAGES,
            hyperkube_names: &HYPERKUBE_NAMES,
            key: key(&files, &flags, &PACKAGES, &HYPERKUBE_NAMES),
        })
    }

    /// A module with nothing but Kubernetes; the other programs come from another source's build.
    fn of_kubernetes_alone(folder: &Path, others: &Self) -> Result<Self> {
        let (files, go_mod) = read(folder)?;
        let kubernetes = required_version(&go_mod, "k8s.io/kubernetes")?;
        let flags = format!("{}\n{}", others.key, build_flags(&kubernetes, None).join("\n"));
        Ok(Self {
            folder: folder.to_owned(),
            kubernetes,
            containerd: None,
            packages: &PACKAGES[..1],
            hyperkube_names: &HYPERKUBE_NAMES[..OF_KUBERNETES],
            key: key(&files, &flags, &PACKAGES[..1], &HYPERKUBE_NAMES[..OF_KUBERNETES]),
        })
    }

    /// Version of Kubernetes, such as `v1.37.1`.
    pub fn kubernetes_version(&self) -> &str {
        &self.kubernetes
    }

    /// Flags of `go build`.
    pub(crate) fn build_flags(&self) -> Vec<String> {
        build_flags(&self.kubernetes, self.containerd.as_deref())
    }
}

fn build_flags(kubernetes: &str, containerd: Option<&str>) -> Vec<String> {
    let minor = kubernetes.split('.').nth(1).unwrap_or_default();
    let version = "k8s.io/component-base/version";
    let mut link = format!(
        "-s -w -X {version}.gitVersion={kubernetes} -X {version}.gitMajor=1 -X {version}.gitMinor={minor} \
         -X {version}.gitTreeState=clean"
    );
    if let Some(containerd) = containerd {
        link.push_str(&format!(
            " -X github.com/containerd/containerd/v2/version.Version={containerd}"
        ));
    }
    ["-trimpath", "-buildvcs=false", "-tags", TAGS, "-ldflags", &link]
        .map(str::to_owned)
        .to_vec()
}

/// The files that a build depends on, and go.mod among them.
fn read(folder: &Path) -> Result<(BTreeMap<PathBuf, Vec<u8>>, String)> {
    let mut files = BTreeMap::new();
    collect(folder, Path::new(""), &mut files)?;
    let go_mod = files
        .get(Path::new("go.mod"))
        .map(|text| String::from_utf8_lossy(text).into_owned());
    let go_mod = go_mod.with_context(|| {
        format!(
            "{} has no go.mod: was the checkout moved? build devcluster again",
            folder.display()
        )
    })?;
    Ok((files, go_mod))
}

/// The version of a module that a go.mod requires.
fn required_version(go_mod: &str, module: &str) -> Result<String> {
    let version = go_mod.lines().find_map(|line| {
        let mut words = line.trim().trim_start_matches("require ").split_whitespace();
        if words.next() == Some(module) {
            words.next().map(str::to_owned)
        } else {
            None
        }
    });
    version.with_context(|| format!("go.mod does not require {module}"))
}

/// Reads the files below a folder that a build depends on.
fn collect(folder: &Path, below: &Path, files: &mut BTreeMap<PathBuf, Vec<u8>>) -> Result<()> {
    let here = folder.join(below);
    let entries =
        fs::read_dir(&here).with_context(|| format!("cannot read the folder {}", here.display()))?;
    for entry in entries {
        let entry = entry?;
        let path = below.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            collect(folder, &path, files)?;
        } else if !path.to_string_lossy().ends_with("_test.go") {
            files.insert(path, folders::read(&entry.path())?);
        }
    }
    Ok(())
}

fn key(files: &BTreeMap<PathBuf, Vec<u8>>, flags: &str, packages: &[&str], names: &[&str]) -> String {
    let mut description = format!("{flags}\n{}\n{}\n", packages.join(" "), names.join(" "));
    for (path, contents) in files {
        description.push_str(&format!("{} {}\n", path.display(), digest::sha256_hex(contents)));
    }
    digest::sha256_hex(description.as_bytes())[..16].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn module(folder: &Path, main: &str) -> Source {
        fs::create_dir_all(folder.join("cmd")).unwrap();
        let go_mod = "module x\n\nrequire k8s.io/kubernetes v1.37.1\n\nrequire (\n\t\
                      github.com/containerd/containerd/v2 v2.4.2 // indirect\n)\n";
        fs::write(folder.join("go.mod"), go_mod).unwrap();
        fs::write(folder.join("cmd/main.go"), main).unwrap();
        Source::at(folder).unwrap()
    }

    #[test]
    fn versions_are_read_from_go_mod() {
        let folder = tempfile::tempdir().unwrap();
        let source = module(folder.path(), "package main");
        assert_eq!(source.kubernetes_version(), "v1.37.1");
        assert_eq!(source.containerd.as_deref(), Some("v2.4.2"));
        assert!(build_flags("v1.37.1", Some("v2.4.2"))[5].contains("gitMinor=37 "));
    }

    #[test]
    fn the_key_changes_with_the_sources_but_not_with_their_place_or_tests() {
        let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let first = module(one.path(), "package main").key;
        assert_eq!(first.len(), 16);
        assert_eq!(module(other.path(), "package main").key, first);
        fs::write(other.path().join("cmd/main_test.go"), "package main").unwrap();
        assert_eq!(Source::at(other.path()).unwrap().key, first);
        assert_ne!(module(other.path(), "package main // changed").key, first);
    }

    #[test]
    fn a_release_of_its_own_is_built_anew_when_what_it_shares_changes() {
        let (folder, own) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::write(
            own.path().join("go.mod"),
            "module y\n\nrequire k8s.io/kubernetes v1.33.13\n",
        )
        .unwrap();
        let build = |others: &Source| Source::of_kubernetes_alone(own.path(), others).unwrap();
        let first = build(&module(folder.path(), "package main"));
        assert_eq!(first.kubernetes_version(), "v1.33.13");
        assert_eq!(first.packages, ["./hyperkube"]);
        let other = build(&module(folder.path(), "package main // changed"));
        assert_ne!(first.key, other.key);
    }

    #[test]
    fn the_projects_own_modules_are_understood() {
        for release in Release::ALL {
            let source = Source::of_project(release).unwrap();
            assert!(source.kubernetes_version().starts_with("v1."));
        }
    }
}
