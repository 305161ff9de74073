//! Builds the Kubernetes binaries, once per version: they are kept in the user's cache folder under the key of their source.

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
use crate::interrupt::Interrupt;
use crate::preflight;
use crate::process::{self, command};
use crate::progress::Progress;
use crate::release::Release;
use crate::source::Source;

/// Files of the newest release's build that clusters of the oldest one use too, and their names there.
const SHARED: [(&str, &str); 6] = [
    ("containerd", "containerd"),
    ("containerd-shim-runc-v2", "containerd-shim-runc-v2"),
    ("coredns", "coredns"),
    ("ctr", "ctr"),
    ("pause", "pause"),
    ("hyperkube", "volume-provisioner"),
];

/// Builds that have not been used for so long are removed when another one is made.
const KEPT: Duration = Duration::from_secs(30 * 24 * 3600);

/// Folder of the programs, building them if no build of this source is in the cache. Another process that builds the same
/// is waited for.
///
/// # Errors
/// When a tool is missing or the build fails or is interrupted; what was compiled is kept by Go for the next time.
pub fn ensure(
    release: Release,
    folders: &Folders,
    progress: &mut Progress,
    interrupt: &Interrupt,
) -> Result<PathBuf> {
    let all = folders.kubernetes();
    folders::make(&all)?;
    let lock = File::create(all.join("lock")).context("cannot make the lock file of the cache folder")?;
    let start = Instant::now();
    interrupt.wait_until(
        "another build of Kubernetes to end",
        Duration::from_secs(3600),
        || progress_while_locked(&lock, progress, start),
    )?;
    let newest = ensure_build(
        &Source::of_project(Release::Newest)?,
        None,
        &all,
        progress,
        interrupt,
    )?;
    match release {
        Release::Newest => Ok(newest),
        Release::Oldest => {
            let source = Source::of_project(release)?;
            ensure_build(&source, Some(&newest), &all, progress, interrupt)
        }
    }
}

/// The folder of one source's programs. `others` is that of the programs which are not built from this source.
fn ensure_build(
    source: &Source,
    others: Option<&Path>,
    all: &Path,
    progress: &mut Progress,
    interrupt: &Interrupt,
) -> Result<PathBuf> {
    let build = all.join(&source.key);
    if !build.exists() {
        preflight::check_build_tools()?;
        make(source, others, all, progress, interrupt)?;
        remove_unused(all, &build)?;
    }
    // The file's time says when the build was used last.
    folders::write(&build.join("used"), "")?;
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

fn make(
    source: &Source,
    others: Option<&Path>,
    all: &Path,
    progress: &mut Progress,
    interrupt: &Interrupt,
) -> Result<()> {
    let unfinished = all.join(format!("{}.building", source.key));
    if unfinished.exists() {
        fs::remove_dir_all(&unfinished).context("cannot remove an unfinished build")?;
    }
    let bin = unfinished.join("bin");
    folders::make(&bin)?;
    compile(source, &bin, progress, interrupt)?;
    for name in source.hyperkube_names {
        symlink("hyperkube", bin.join(name)).with_context(|| format!("cannot link {name}"))?;
    }
    match others {
        Some(others) => share(others, &bin)?,
        None => compile_pause(source, &bin)?,
    }
    fs::rename(&unfinished, all.join(&source.key)).context("cannot keep the build in the cache folder")?;
    progress.done(&match &source.containerd {
        Some(containerd) => format!(
            "built Kubernetes {} and containerd {containerd}",
            source.kubernetes
        ),
        None => format!("built Kubernetes {}", source.kubernetes),
    });
    Ok(())
}

/// By hard links: they stay when the build that they are from is removed.
fn share(others: &Path, bin: &Path) -> Result<()> {
    for (file, name) in SHARED {
        fs::hard_link(others.join(file), bin.join(name)).with_context(|| format!("cannot link {name}"))?;
    }
    Ok(())
}

fn compile(source: &Source, bin: &Path, progress: &mut Progress, interrupt: &Interrupt) -> Result<()> {
    let mut build = go(source, "build");
    build
        .args(["-v", "-o"])
        .arg(bin)
        .args(source.build_flags())
        .args(source.packages);
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

fn is_package(line: &str) -> bool {
    !line.is_empty() && !line.starts_with(['#', '\t']) && !line.contains([' ', ':'])
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
