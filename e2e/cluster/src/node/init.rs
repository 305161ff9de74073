//! The process with PID 1 of a box: sets the box up, keeps its programs running, buries orphans. SIGKILL to it ends
//! everything in the box at once.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::ffi::OsString;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use super::programs;
use super::setup;
use super::supervisor::{Action, Supervisor};
use crate::address::BoxName;
use crate::folders::{self, ClusterFolder};
use crate::spec::ClusterSpec;

/// Becomes the first process of a box, inside its fresh namespaces. Returns only on failure.
///
/// Waits for a line on standard input, which says that the box's cable is connected: if whoever starts the box ends before,
/// so does the box.
///
/// # Errors
/// When the box cannot be set up.
pub fn run(folder: &Path, name: &str) -> Result<Infallible> {
    let folder = ClusterFolder::at(folder);
    let spec = ClusterSpec::read(&folder)?.context("the cluster does not exist")?;
    let name = spec.find_box(name)?;
    let mut line = String::new();
    io::stdin()
        .read_line(&mut line)
        .context("cannot read standard input")?;
    if line.trim() != "connected" {
        bail!("whoever starts this box has gone");
    }
    folders::make(&folder.logs(name))?;
    folders::make(&folder.held_programs(name))?;
    setup::mounts(&folder, name)?;
    setup::network(&spec, name)?;
    let units = programs::prepare(&spec, &folder, name)?;
    Init::new(&spec, &folder, name, Supervisor::new(units))?.run()
}

struct Init {
    supervisor: Supervisor,
    logs: PathBuf,
    held_programs: PathBuf,
    search_path: String,
    children: SignalFd,
    holds: Inotify,
}

impl Init {
    fn new(
        spec: &ClusterSpec,
        folder: &ClusterFolder,
        name: BoxName,
        supervisor: Supervisor,
    ) -> Result<Self> {
        // Blocked here, so that they are read from `children`; std::process unblocks all signals in what it starts.
        let mut mask = SigSet::empty();
        mask.add(Signal::SIGCHLD);
        mask.thread_block().context("cannot block SIGCHLD")?;
        let children = SignalFd::with_flags(&mask, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)
            .context("cannot watch child processes")?;
        let holds =
            Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK).context("cannot watch folders")?;
        let held_programs = folder.held_programs(name);
        holds
            .add_watch(
                &held_programs,
                AddWatchFlags::IN_CREATE | AddWatchFlags::IN_DELETE,
            )
            .with_context(|| format!("cannot watch {}", held_programs.display()))?;
        let search_path = setup::search_path(spec);
        Ok(Self {
            supervisor,
            logs: folder.logs(name),
            held_programs,
            search_path,
            children,
            holds,
        })
    }

    fn run(mut self) -> Result<Infallible> {
        loop {
            let held = file_names(&self.held_programs)?;
            for action in self.supervisor.hold(held) {
                self.act(&action);
            }
            self.bury()?;
            for action in self.supervisor.due(Instant::now()) {
                self.act(&action);
            }
            self.sleep()?;
        }
    }

    fn act(&mut self, action: &Action) {
        match *action {
            Action::Start(unit) => match self.start(unit) {
                Ok(pid) => self.supervisor.started(unit, pid),
                Err(error) => {
                    eprintln!("{}: {error:#}", self.supervisor.program(unit).name);
                    self.supervisor.failed_to_start(unit, Instant::now());
                }
            },
            // It may have ended by itself a moment ago.
            Action::Kill(pid) => drop(kill(Pid::from_raw(pid), Signal::SIGKILL)),
        }
    }

    fn start(&self, unit: usize) -> Result<i32> {
        let program = self.supervisor.program(unit);
        let log = self.logs.join(format!("{}.log", program.name));
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(log)
            .context("cannot open its log")?;
        let (file, args) = program.argv.split_first().context("it has no program file")?;
        let child = Command::new(file)
            .args(args)
            .env_clear()
            .env("PATH", &self.search_path)
            .env("HOME", "/root")
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(log.try_clone().context("cannot open its log")?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("cannot start {file}"))?;
        i32::try_from(child.id()).context("its process number is out of range")
    }

    /// Waits for all processes that have ended: programs of the box, and those whose parents ended before them.
    fn bury(&mut self) -> Result<()> {
        loop {
            let (pid, success) = match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::Exited(pid, code)) => (pid, code == 0),
                Ok(WaitStatus::Signaled(pid, ..)) => (pid, false),
                Ok(WaitStatus::StillAlive) | Err(Errno::ECHILD) => return Ok(()),
                Ok(_) | Err(Errno::EINTR) => continue,
                Err(error) => return Err(error).context("cannot wait for child processes"),
            };
            if let Some(unit) = self.supervisor.ended(pid.as_raw(), success, Instant::now())
                && !success
            {
                self.note_failure(unit);
            }
        }
    }

    /// Marks a program's failure in its log, where its next start follows.
    fn note_failure(&self, unit: usize) {
        let log = self
            .logs
            .join(format!("{}.log", self.supervisor.program(unit).name));
        if let Ok(mut log) = OpenOptions::new().append(true).open(log) {
            // A full disk must not end the box.
            let _ = writeln!(log, "-- ended with a failure, to be started again --");
        }
    }

    /// Until a child ends, the held programs change or a program is due.
    fn sleep(&mut self) -> Result<()> {
        let timeout = match self.supervisor.next_due() {
            None => PollTimeout::NONE,
            Some(due) => {
                let milliseconds = due.saturating_duration_since(Instant::now()).as_millis() + 1;
                PollTimeout::try_from(milliseconds).unwrap_or(PollTimeout::MAX)
            }
        };
        let mut sources = [
            PollFd::new(self.children.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.holds.as_fd(), PollFlags::POLLIN),
        ];
        match poll(&mut sources, timeout) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => return Err(error).context("cannot wait for events"),
        }
        while self
            .children
            .read_signal()
            .context("cannot read signals")?
            .is_some()
        {}
        match self.holds.read_events() {
            Ok(_) | Err(Errno::EAGAIN) => Ok(()),
            Err(error) => Err(error).context("cannot read changes of a folder"),
        }
    }
}

fn file_names(folder: &Path) -> Result<BTreeSet<String>> {
    let failed = || format!("cannot read the folder {}", folder.display());
    let entries = fs::read_dir(folder)
        .with_context(failed)?
        .collect::<io::Result<Vec<_>>>()
        .with_context(failed)?;
    Ok(entries
        .into_iter()
        .map(|entry| entry.file_name())
        .filter_map(|name: OsString| name.into_string().ok())
        .collect())
}
