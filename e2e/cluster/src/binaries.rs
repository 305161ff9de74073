//! Builds the Kubernetes binaries from the Go module in `box/`, once per version: they are kept in the user's cache folder
//! under a key made of everything that they are built from.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::folders::{self, Folders};
use crate::image::digest;
use crate::interrupt::Interrupt;
use crate::preflight;
use crate::process::{self, command};
use crate::progress::Progress;

/// Programs that the binary `hyperkube` acts as when it is called by their names.
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

/// Builds that have not been used for so long are removed when another one is made.
const KEPT: Duration = Duration::from_secs(30 * 24 * 3600);

/// The source of the binaries.
#[derive(Debug)]
pub struct Source {
    folder: PathBuf,
    kubernetes: String,
    containerd: String,
    key: String,
}

impl Source {
    /// The Go module of this project.
    ///
    /// # Errors
    /// When its files cannot be read.
    pub fn of_project() -> Result<Self> {
        Self::at(&Path::new(env!("CARGO_MANIFEST_DIR")).join("box"))
    }

    fn at(folder: &Path) -> Result<Self> {
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
        let version = |module: &str| {
            required_version(&go_mod, module).with_context(|| format!("box/go.mod does not require {module}"))
        };
        let (kubernetes, containerd) = (
            version("k8s.io/kubernetes")?,
            version("github.com/containerd/containerd/v2")?,
        );
        let flags = build_flags(&kubernetes, &containerd).join("\n");
        Ok(Self {
            folder: folder.to_owned(),
            kubernetes,
            containerd,
            key: key(&files, &flags),
        })
    }

    /// Version of Kubernetes, such as `v1.37.1`.
    pub fn kubernetes_version(&self) -> &str {
        &self.kubernetes
    }
}

/// Folder of the programs, building them if no build of this source is in the cache. Another process that builds the same
/// is waited for.
///
/// # Errors
/// When a tool is missing or the build fails or is interrupted; what was compiled is kept by Go for the next time.
pub fn ensure(folders: &Folders, progress: &mut Progress, interrupt: &Interrupt) -> Result<PathBuf> {
    let source = Source::of_project()?;
    let all = folders.kubernetes();
    let build = all.join(&source.key);
    folders::make(&all)?;
    let lock = File::create(all.join("lock")).context("cannot make the lock file of the cache folder")?;
    let start = Instant::now();
    interrupt.wait_until(
        "another build of Kubernetes to end",
        Duration::from_secs(3600),
        || progress_while_locked(&lock, progress, start),
    )?;
    let used = build.join("used");
    if !build.exists() {
        preflight::check_build_tools()?;
        make(&source, &all, progress, interrupt)?;
        remove_unused(&all, &build)?;
    }
    // The file's time says when the build was used last.
    folders::write(&used, "")?;
    Ok(build.join("bin"))
}

fn progress_while_locked(lock: &File, progress: &mut Progress, start: Instant) -> Result<bool> {
    match lock.try_lock() {
        Ok(()) => Ok(true),
        Err(fs::TryLockError::WouldBlock) => {
            progress.working(start, || "waiting for another build of Kubernetes".to_owned());
            Ok(false)
        }
        Err(fs::TryLockError::Error(error)) => Err(error).context("cannot lock the cache folder"),
    }
}

fn make(source: &Source, all: &Path, progress: &mut Progress, interrupt: &Interrupt) -> Result<()> {
    let unfinished = all.join(format!("{}.building", source.key));
    if unfinished.exists() {
        fs::remove_dir_all(&unfinished).context("cannot remove an unfinished build")?;
    }
    let bin = unfinished.join("bin");
    folders::make(&bin)?;
    compile(source, &bin, progress, interrupt)?;
    for name in HYPERKUBE_NAMES {
        symlink("hyperkube", bin.join(name)).with_context(|| format!("cannot link {name}"))?;
    }
    compile_pause(source, &bin)?;
    fs::rename(&unfinished, all.join(&source.key)).context("cannot keep the build in the cache folder")?;
    progress.done(&format!(
        "built Kubernetes {} and containerd {}",
        source.kubernetes, source.containerd
    ));
    Ok(())
}

fn compile(source: &Source, bin: &Path, progress: &mut Progress, interrupt: &Interrupt) -> Result<()> {
    let mut build = go(source, "build");
    build
        .args(["-v", "-o"])
        .arg(bin)
        .args(build_flags(&source.kubernetes, &source.containerd))
        .args(PACKAGES);
    let start = Instant::now();
    let mut child = build
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .context("cannot start `go build`")?;
    let (sender, lines) = mpsc::channel();
    if let Some(stderr) = child.stderr.take() {
        thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
    }
    // With -v each compiled package is a line of its name; errors are lines with more in them.
    let (mut packages, mut last, mut errors) = (0_u32, String::new(), Vec::new());
    loop {
        match lines.recv_timeout(Duration::from_millis(200)) {
            Ok(line) if is_package(&line) => (packages, last) = (packages + 1, line),
            Ok(line) => errors.push(line),
            Err(mpsc::RecvTimeoutError::Timeout) => {}
            Err(mpsc::RecvTimeoutError::Disconnected) => break,
        }
        if let Err(interrupted) = interrupt.check() {
            let _ = child.kill();
            let _ = child.wait();
            return Err(interrupted);
        }
        progress.working(start, || compiling(&source.kubernetes, packages, &last));
    }
    let status = child.wait().context("waiting for `go build`")?;
    if !status.success() {
        bail!(
            "`go build` of Kubernetes failed ({status}):\n{}",
            errors.join("\n")
        );
    }
    Ok(())
}

fn compiling(version: &str, packages: u32, last: &str) -> String {
    match packages {
        0 => format!("building Kubernetes {version} (the first time 10 to 20 minutes)"),
        _ => format!("building Kubernetes {version}: {packages} packages compiled, now {last}"),
    }
}

/// The program that keeps a pod's namespaces: Kubernetes's own, in C.
fn compile_pause(source: &Source, bin: &Path) -> Result<()> {
    let module = process::output(go(source, "list").args(["-m", "-f", "{{.Dir}}", "k8s.io/kubernetes"]))?;
    let code = Path::new(module.trim()).join("build/pause/linux/pause.c");
    let version = format!("-DVERSION={}", source.kubernetes);
    let mut gcc = command("gcc", ["-Os", "-static", "-s", version.as_str(), "-o"]);
    process::run(gcc.arg(bin.join("pause")).arg(&code))
}

/// The Go command, in the module's folder and independent of the user's settings for it.
fn go(source: &Source, subcommand: &str) -> Command {
    let mut go = command("go", [subcommand]);
    go.current_dir(&source.folder)
        .env("CGO_ENABLED", "0")
        .env("GOWORK", "off")
        .env("GOFLAGS", "");
    go
}

fn build_flags(kubernetes: &str, containerd: &str) -> Vec<String> {
    let minor = kubernetes.split('.').nth(1).unwrap_or_default();
    let version = "k8s.io/component-base/version";
    let link = format!(
        "-s -w -X {version}.gitVersion={kubernetes} -X {version}.gitMajor=1 -X {version}.gitMinor={minor} \
         -X {version}.gitTreeState=clean \
         -X github.com/containerd/containerd/v2/version.Version={containerd}"
    );
    ["-trimpath", "-buildvcs=false", "-tags", TAGS, "-ldflags", &link]
        .map(str::to_owned)
        .to_vec()
}

fn is_package(line: &str) -> bool {
    !line.is_empty() && !line.starts_with(['#', '\t']) && !line.contains([' ', ':'])
}

/// The version of a module that a go.mod requires.
fn required_version(go_mod: &str, module: &str) -> Option<String> {
    go_mod.lines().find_map(|line| {
        let mut words = line.trim().trim_start_matches("require ").split_whitespace();
        if words.next() == Some(module) {
            words.next().map(str::to_owned)
        } else {
            None
        }
    })
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

fn key(files: &BTreeMap<PathBuf, Vec<u8>>, flags: &str) -> String {
    let mut description = format!("{flags}\n{}\n{}\n", PACKAGES.join(" "), HYPERKUBE_NAMES.join(" "));
    for (path, contents) in files {
        description.push_str(&format!("{} {}\n", path.display(), digest::sha256_hex(contents)));
    }
    digest::sha256_hex(description.as_bytes())[..16].to_owned()
}

fn remove_unused(all: &Path, current: &Path) -> Result<()> {
    for entry in fs::read_dir(all).context("cannot read the cache folder")? {
        let path = entry?.path();
        let recently_used = || {
            let used = fs::metadata(path.join("used"))
                .and_then(|file| file.modified())
                .ok()?;
            used.elapsed().ok().map(|age| age < KEPT)
        };
        if path.is_dir() && path != current && !recently_used().unwrap_or(false) {
            fs::remove_dir_all(&path).with_context(|| format!("cannot remove {}", path.display()))?;
        }
    }
    Ok(())
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
        assert_eq!(source.containerd, "v2.4.2");
        assert!(build_flags("v1.37.1", "v2.4.2")[5].contains("gitMinor=37 "));
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
    fn the_projects_own_module_is_understood() {
        assert!(
            Source::of_project()
                .unwrap()
                .kubernetes_version()
                .starts_with("v1.")
        );
    }

    #[test]
    fn compiled_packages_are_told_from_errors() {
        assert!(is_package("k8s.io/api/core/v1"));
        for line in [
            "# k8s.io/api",
            "volumes/disk.go:3:1: syntax error",
            "\tdisk.go",
            "go: downloading x v1",
        ] {
            assert!(!is_package(line), "{line}");
        }
    }
}
