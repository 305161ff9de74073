//! Starts, finds and ends boxes.

use std::collections::BTreeSet;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::address::BoxName;
use crate::cgroup;
use crate::folders::{self, ClusterFolder};
use crate::interrupt::Interrupt;
use crate::network;
use crate::node::setup;
use crate::process::{self, command};
use crate::spec::ClusterSpec;

/// How long a box may take to appear or to vanish: these are a few system calls.
const LIMIT: Duration = Duration::from_secs(30);

/// File name of this package's program.
const PROGRAM: &str = "devcluster";

/// The hidden subcommand that is a box's first process. Its arguments also tell the boxes from all other processes.
pub const INIT_SUBCOMMAND: &str = "box-init";

/// Puts the program that runs in the boxes into the cluster's folder: this one or, when this is a test, the one that was
/// built beside it.
///
/// # Errors
/// When there is none.
pub fn install_program(folder: &ClusterFolder) -> Result<()> {
    let own = std::env::current_exe().context("cannot find this program's own file")?;
    // Tests lie in `deps` below the programs.
    let candidates = own.ancestors().skip(1).take(2).map(|near| near.join(PROGRAM));
    let program = candidates
        .into_iter()
        .find(|candidate| candidate.is_file())
        .with_context(|| {
            format!(
                "there is no program {PROGRAM} near {}: build it with `cargo build -p e2e-cluster`",
                own.display()
            )
        })?;
    // By another process: were the copy open for writing here while a third one is started, it could not be executed.
    process::run(command("cp", ["--"]).arg(program).arg(folder.program()))
}

/// Starts a box, or one that was ended by a power cut.
///
/// # Errors
/// When it runs already or cannot be started.
pub fn start(spec: &ClusterSpec, folder: &ClusterFolder, name: BoxName) -> Result<()> {
    if find(folder, name)?.is_some() {
        bail!("{name} is running already");
    }
    folders::make(&folder.of_box(name))?;
    cgroup::make(&spec.name, name)?;
    let mut unshare = unshare(folder, name)?;
    let started = connect(spec, folder, name, &mut unshare);
    if started.is_err() {
        // With it goes the box.
        let _ = unshare.kill();
        let _ = unshare.wait();
    }
    started.with_context(|| format!("cannot start {name}"))
}

/// A process in new namespaces, whose only child is the box's first process. It is a session of its own, so that Ctrl-C and
/// the end of the terminal do not reach the box.
fn unshare(folder: &ClusterFolder, name: BoxName) -> Result<Child> {
    let log = folder.of_box(name).join("init.log");
    let log = OpenOptions::new()
        .create(true)
        .append(true)
        .open(&log)
        .with_context(|| format!("cannot open {}", log.display()))?;
    Command::new("setsid")
        .args(["unshare", "--mount", "--pid", "--fork", "--net", "--uts", "--ipc"])
        .args(["--kill-child=SIGKILL", "--propagation=private"])
        .arg(folder.program())
        .args(init_arguments(folder.path(), name))
        .stdin(Stdio::piped())
        .stdout(log.try_clone().context("cannot open the box's log")?)
        .stderr(log)
        .spawn()
        .context("cannot start `unshare` (Debian package util-linux)")
}

fn connect(spec: &ClusterSpec, folder: &ClusterFolder, name: BoxName, unshare: &mut Child) -> Result<()> {
    let mut first = None;
    Interrupt::never().wait_until("the box's first process to appear", LIMIT, || {
        if let Some(status) = unshare.try_wait().context("waiting for `unshare`")? {
            bail!(
                "`unshare` ended ({status}); see {}",
                folder.of_box(name).join("init.log").display()
            );
        }
        first = find(folder, name)?;
        Ok(first.is_some())
    })?;
    let pid = first.context("the box's first process has gone")?;
    cgroup::add_process(&spec.name, name, pid)?;
    network::connect(spec.addresses, name, pid)?;
    let mut stdin = unshare.stdin.take().context("the box has no standard input")?;
    stdin.write_all(b"connected\n").context("the box has ended")
}

/// Ends a box as a power cut does: all its processes at once. Returns when they are gone.
///
/// # Errors
/// When it does not vanish.
pub fn kill_box(folder: &ClusterFolder, name: BoxName) -> Result<()> {
    let mut killed = BTreeSet::new();
    Interrupt::never().wait_until(&format!("{name} to end"), LIMIT, || {
        // The wrapper as well: it may not have started the box yet.
        let found: Vec<_> = processes(folder, name)?
            .into_iter()
            .map(|process| process.pid)
            .collect();
        for pid in &found {
            let _ = kill(Pid::from_raw(*pid), Signal::SIGKILL);
        }
        killed.extend(&found);
        // The box's first process ends as its last, but loses its arguments at once.
        Ok(found.is_empty() && killed.iter().all(|pid| has_ended(*pid)))
    })
}

/// The process number, on the host, of a box's first process; `None` while it is switched off.
///
/// # Errors
/// When /proc cannot be read.
pub fn find(folder: &ClusterFolder, name: BoxName) -> Result<Option<i32>> {
    Ok(processes(folder, name)?
        .into_iter()
        .find(|process| process.is_first)
        .map(|process| process.pid))
}

/// A command inside a running box.
///
/// # Errors
/// When the box is switched off.
pub fn command_in(spec: &ClusterSpec, folder: &ClusterFolder, name: BoxName) -> Result<Command> {
    let pid = find(folder, name)?.with_context(|| format!("{name} is switched off"))?;
    let mut command = Command::new("nsenter");
    command.args([
        "--target",
        &pid.to_string(),
        "--mount",
        "--pid",
        "--net",
        "--uts",
        "--ipc",
        "--",
    ]);
    // `env` so that the program is looked for with the box's own search path.
    command.args(["env", &format!("PATH={}", setup::search_path(spec))]);
    Ok(command)
}

/// Runs a command inside a running box and returns its standard output.
///
/// # Errors
/// When the box is switched off or the command fails.
pub fn output_in(
    spec: &ClusterSpec,
    folder: &ClusterFolder,
    name: BoxName,
    args: &[String],
) -> Result<String> {
    process::output(command_in(spec, folder, name)?.args(args))
}

struct BoxProcess {
    pid: i32,
    /// Whether it has PID 1 in a namespace of its own.
    is_first: bool,
}

/// The processes that a box consists of as the host's process list shows them: no other record is needed to find them.
fn processes(folder: &ClusterFolder, name: BoxName) -> Result<Vec<BoxProcess>> {
    let wanted = init_arguments(folder.path(), name);
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").context("cannot read /proc")? {
        let entry = entry?;
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        // Unreadable when the process has ended meanwhile; empty when only its parent has not taken note of its end.
        let Ok(arguments) = fs::read(entry.path().join("cmdline")) else {
            continue;
        };
        let arguments: Vec<_> = arguments.split(|byte| *byte == 0).collect();
        if arguments
            .windows(wanted.len())
            .any(|words| words.iter().zip(&wanted).all(|(a, b)| *a == b.as_bytes()))
        {
            let status = fs::read_to_string(entry.path().join("status")).unwrap_or_default();
            found.push(BoxProcess {
                pid,
                is_first: is_first_of_namespace(&status),
            });
        }
    }
    Ok(found)
}

fn has_ended(pid: i32) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    is_dead(&status)
}

/// Whether a process has ended, by its /proc/PID/status, which is empty when it is gone altogether.
fn is_dead(status: &str) -> bool {
    let state = status.lines().find_map(|line| line.strip_prefix("State:"));
    state.is_none_or(|state| state.trim_start().starts_with(['Z', 'X']))
}

fn init_arguments(folder: &Path, name: BoxName) -> [String; 5] {
    [
        INIT_SUBCOMMAND.to_owned(),
        "--folder".to_owned(),
        folder.display().to_string(),
        "--box".to_owned(),
        name.to_string(),
    ]
}

/// Whether a process has PID 1 in a namespace other than the reader's, by its /proc/PID/status.
fn is_first_of_namespace(status: &str) -> bool {
    let numbers = status.lines().find_map(|line| line.strip_prefix("NSpid:"));
    numbers.is_some_and(|numbers| {
        let numbers: Vec<_> = numbers.split_whitespace().collect();
        numbers.len() > 1 && numbers.last() == Some(&"1")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_process_of_a_namespace_is_told_from_others() {
        assert!(is_first_of_namespace("Name:\tx\nNSpid:\t4711\t1\n"));
        assert!(!is_first_of_namespace("Name:\tx\nNSpid:\t4711\n"));
        assert!(!is_first_of_namespace("Name:\tx\nNSpid:\t4712\t7\n"));
        assert!(!is_first_of_namespace("Name:\tsystemd\nNSpid:\t1\n"));
        assert!(!is_first_of_namespace(""));
    }

    #[test]
    fn a_process_that_nobody_waits_for_counts_as_ended() {
        assert!(is_dead("") && is_dead("Name:\tx\nState:\tZ (zombie)\n"));
        assert!(!is_dead("Name:\tx\nState:\tD (disk sleep)\n"));
    }

    #[test]
    fn a_cluster_that_does_not_run_has_no_processes() {
        let folder = ClusterFolder::at(Path::new("/nowhere/at/all"));
        assert_eq!(find(&folder, BoxName::Node(1)).unwrap(), None);
    }
}
