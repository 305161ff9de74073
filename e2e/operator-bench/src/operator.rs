//! The operator's process: the program as it is released, with the rights that it has in a cluster.

use std::{
    fs::{self, File},
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use procfs::process::Process;
use rustix::process::{Pid, Signal, kill_process};
use tokio::{
    process::{Child, Command},
    time::timeout,
};

/// For how long it may take to end.
const END_LIMIT: Duration = Duration::from_secs(30);

/// How it is started.
pub struct Program {
    /// The program.
    pub path: PathBuf,
    /// With the operator's own rights.
    pub kubeconfig: PathBuf,
    /// Namespace of its Lease.
    pub namespace: &'static str,
    /// Where its log goes.
    pub log: PathBuf,
}

/// A running one. It is killed when this is dropped.
pub struct Operator {
    child: Child,
    pid: i32,
}

/// What it has used.
#[derive(Clone, Copy, Debug)]
pub struct Usage {
    /// CPU time of all its threads, user and kernel.
    pub cpu: Duration,
    /// Resident memory now (`VmRSS`), in bytes.
    pub resident: u64,
    /// The most that it was (`VmHWM`), in bytes.
    pub most: u64,
    /// Open files and sockets.
    pub descriptors: usize,
}

impl Program {
    /// Starts it.
    pub fn start(&self) -> Result<Operator> {
        let log = File::options().create(true).append(true).open(&self.log)?;
        let child = Command::new(&self.path)
            .args(["operator", "--image", "localhost/memgraph-operator:bench"])
            .args(["--lease-namespace", self.namespace])
            .args(["--http-bind-address", &free_address()?.to_string()])
            .args(["--log-level", "info"])
            .env("KUBECONFIG", &self.kubeconfig)
            .stdout(log.try_clone()?)
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("cannot start {}", self.path.display()))?;
        let pid = child.id().context("the operator has ended at once")?;
        Ok(Operator {
            child,
            pid: i32::try_from(pid)?,
        })
    }
}

impl Operator {
    /// Ends it as Kubernetes does.
    pub async fn stop(mut self) -> Result<()> {
        let pid = Pid::from_raw(self.pid).context("no process has this number")?;
        kill_process(pid, Signal::TERM)?;
        let Ok(ended) = timeout(END_LIMIT, self.child.wait()).await else {
            bail!("the operator does not end");
        };
        ended?;
        Ok(())
    }

    /// What it has used until now.
    pub fn usage(&self) -> Result<Usage> {
        let process = Process::new(self.pid).context("the operator has ended; see its log")?;
        let (stat, status) = (process.stat()?, process.status()?);
        let kibibytes =
            |value: Option<u64>| value.map(|value| value * 1024).context("the operator has ended");
        let ticks = (stat.utime + stat.stime) as f64 / procfs::ticks_per_second() as f64;
        Ok(Usage {
            cpu: Duration::from_secs_f64(ticks),
            resident: kibibytes(status.vmrss)?,
            most: kibibytes(status.vmhwm)?,
            descriptors: process.fd_count()?,
        })
    }
}

fn free_address() -> Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

/// A kubeconfig like this one, but with a token in place of what it signs in with.
pub fn with_token(kubeconfig: &Path, token: &str, file: &Path) -> Result<()> {
    let mut config: serde_json::Value =
        serde_json::to_value(kube::config::Kubeconfig::read_from(kubeconfig)?)?;
    for user in config["users"].as_array_mut().into_iter().flatten() {
        user["user"] = serde_json::json!({"token": token});
    }
    fs::write(file, config.to_string())?;
    Ok(())
}
