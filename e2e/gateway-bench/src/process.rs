//! Processes on one processor, their CPU time and their memory.

use std::{fs, process::Child, process::Command, time::Duration};

use anyhow::{Context, Result};
use rustix::{
    process::{Resource, Rlimit, getrlimit, setrlimit},
    thread::{CpuSet, sched_setaffinity},
};

/// The processor of proxies.
const PROXY_PROCESSOR: usize = 0;
/// The processor of clients and instance.
pub const LOAD_PROCESSOR: usize = 1;

/// Where a proxy runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Processors {
    /// On the proxies' own one.
    One,
    /// On that of clients and instance, too.
    Both,
}

/// A process that ends with this value.
pub struct Process(Child);

impl Process {
    /// Starts a proxy.
    pub fn start(command: &Command, processors: Processors) -> Result<Self> {
        let list = match processors {
            Processors::One => PROXY_PROCESSOR.to_string(),
            Processors::Both => format!("{PROXY_PROCESSOR},{LOAD_PROCESSOR}"),
        };
        let mut pinned = Command::new("taskset");
        pinned
            .arg("--cpu-list")
            .arg(list)
            .arg(command.get_program())
            .args(command.get_args());
        for (name, value) in command.get_envs() {
            if let Some(value) = value {
                pinned.env(name, value);
            }
        }
        let child = pinned
            .spawn()
            .context("cannot start taskset (Debian: util-linux)")?;
        Ok(Self(child))
    }

    /// The CPU time that all its threads have had.
    pub fn cpu_time(&self) -> Result<Duration> {
        let folder = format!("/proc/{}/task", self.0.id());
        let mut nanos = 0;
        for thread in
            fs::read_dir(&folder).with_context(|| format!("cannot read {folder}: the proxy has ended"))?
        {
            // A thread may end at any moment.
            let Ok(text) = fs::read_to_string(thread?.path().join("schedstat")) else {
                continue;
            };
            let first = text.split(' ').next().unwrap_or_default();
            nanos += first
                .parse::<u64>()
                .context("cannot read the CPU time of a thread")?;
        }
        Ok(Duration::from_nanos(nanos))
    }

    /// The memory that it occupies, in bytes, without what the kernel keeps for its sockets.
    pub fn resident(&self) -> Result<u64> {
        let path = format!("/proc/{}/status", self.0.id());
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
        let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kibibytes = line.and_then(|line| line.trim().strip_suffix(" kB"));
        Ok(kibibytes.context("no VmRSS")?.parse::<u64>()? * 1024)
    }

    /// How many files and sockets it has open.
    pub fn descriptors(&self) -> Result<usize> {
        let folder = format!("/proc/{}/fd", self.0.id());
        let open =
            fs::read_dir(&folder).with_context(|| format!("cannot read {folder}: the proxy has ended"))?;
        Ok(open.count())
    }

    /// Whether it has ended.
    pub fn has_ended(&mut self) -> Result<bool> {
        Ok(self.0.try_wait()?.is_some())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Binds this thread, and those that it starts, to a processor.
pub fn pin_to(processor: usize) -> Result<()> {
    let mut set = CpuSet::new();
    set.set(processor);
    sched_setaffinity(None, &set)
        .with_context(|| format!("cannot run on processor {processor}: two are needed"))
}

/// Clients and instance need two descriptors for each session.
pub fn raise_descriptor_limit() -> Result<()> {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: maximum,
        maximum,
    };
    setrlimit(Resource::Nofile, raised).context("cannot raise the limit of open files")
}
