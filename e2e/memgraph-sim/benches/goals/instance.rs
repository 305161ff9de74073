//! A `memgraph-sim` process with a data directory of its own, and what it costs.

use std::{
    fs,
    net::TcpListener,
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::Context as _;
use bolt_server::{Map, Value};
use rustix::time::{ClockId, clock_gettime};

use crate::bolt::Client;

/// How long to wait for what takes seconds on a slow machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// A server process; killed when it is dropped.
pub struct Instance {
    folder: PathBuf,
    flags: Vec<String>,
    pub bolt: u16,
    pub replication: u16,
    process: Option<Child>,
}

impl Drop for Instance {
    fn drop(&mut self) {
        // What cannot be killed or removed is reported by nobody here, and harms only the next run's figures.
        let _ = self.kill();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

impl Instance {
    /// Starts a server with more flags, and waits until it answers.
    pub async fn start(name: &str, flags: &[&str]) -> anyhow::Result<Self> {
        let folder = std::env::temp_dir().join(format!("bench-sim-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
        let mut instance = Self {
            folder,
            flags: flags.iter().map(|flag| (*flag).to_owned()).collect(),
            bolt: free_port()?,
            replication: free_port()?,
            process: None,
        };
        instance.launch().await?;
        Ok(instance)
    }

    /// Starts the process. Returns the time until a query was answered.
    pub async fn launch(&mut self) -> anyhow::Result<Duration> {
        let log = fs::File::create(self.folder.join("log"))?;
        let mut command = Command::new(env!("CARGO_BIN_EXE_memgraph-sim"));
        command
            .arg(format!("--bolt-port={}", self.bolt))
            .arg(format!("--data-directory={}", self.folder.join("data").display()))
            .args(["--bolt-address=127.0.0.1", "--storage-wal-enabled=true"])
            .args(&self.flags)
            .stdout(Stdio::null())
            .stderr(log);
        let began = Instant::now();
        self.process = Some(command.spawn().context("cannot start memgraph-sim")?);
        loop {
            if let Ok(mut client) = Client::connect(self.bolt).await {
                client.query("RETURN 1", &Map::new()).await?;
                return Ok(began.elapsed());
            }
            let ended = self.process.as_mut().map(Child::try_wait).transpose()?.flatten();
            anyhow::ensure!(ended.is_none(), "memgraph-sim has ended: {ended:?}");
            anyhow::ensure!(
                began.elapsed() < PATIENCE,
                "memgraph-sim does not open its Bolt port"
            );
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// `kill -9`
    pub fn kill(&mut self) -> anyhow::Result<()> {
        if let Some(mut process) = self.process.take() {
            process.kill()?;
            process.wait()?;
        }
        Ok(())
    }

    /// Runs one statement on a connection of its own.
    pub async fn query(&self, text: &str) -> anyhow::Result<Vec<Vec<Value>>> {
        Client::connect(self.bolt).await?.query(text, &Map::new()).await
    }

    /// How many nodes a reader sees.
    pub async fn nodes(&self) -> anyhow::Result<u64> {
        let rows = self.query("MATCH (n) RETURN count(n)").await?;
        let count = rows.first().and_then(|row| row.first()?.as_integer());
        u64::try_from(count.context("a count without a number")?).context("a negative count")
    }

    /// Makes another instance a replica of this one.
    pub async fn attach(&self, name: &str, replica: &Self, mode: &str) -> anyhow::Result<()> {
        let port = replica.replication;
        replica
            .query(&format!("SET REPLICATION ROLE TO REPLICA WITH PORT {port}"))
            .await?;
        self.query(&format!("REGISTER REPLICA {name} {mode} TO '127.0.0.1:{port}'"))
            .await?;
        Ok(())
    }

    /// CPU time that the process has used, in all its threads.
    pub fn cpu(&self) -> anyhow::Result<Duration> {
        let mut nanoseconds = 0;
        for task in fs::read_dir(format!("/proc/{}/task", self.id()?))? {
            nanoseconds += scheduled(&task?.path().join("schedstat"))?;
        }
        Ok(Duration::from_nanos(nanoseconds))
    }

    /// Memory that the process occupies, in bytes.
    pub fn resident(&self) -> anyhow::Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.id()?))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kibibytes = line.and_then(|rest| rest.trim().strip_suffix(" kB")?.parse::<u64>().ok());
        Ok(kibibytes.context("/proc does not tell the resident memory")? * 1024)
    }

    fn id(&self) -> anyhow::Result<u32> {
        Ok(self.process.as_ref().context("the process does not run")?.id())
    }
}

/// CPU time of this thread.
pub fn own_cpu() -> anyhow::Result<Duration> {
    // What `/proc` tells of a running thread is some milliseconds old.
    Ok(clock_gettime(ClockId::ThreadCPUTime).try_into()?)
}

/// The first number of a `schedstat`: nanoseconds on a CPU.
fn scheduled(path: &std::path::Path) -> anyhow::Result<u64> {
    let text = fs::read_to_string(path)?;
    let first = text.split_whitespace().next().context("an empty schedstat")?;
    Ok(first.parse()?)
}

fn free_port() -> anyhow::Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}
