//! What is compared, and how it is started.

use std::{
    env, fmt, fs,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    os::unix::fs::DirBuilderExt,
    path::PathBuf,
    process,
};

use anyhow::{Context, Result};
use tokio::time::{Duration, Instant};

use crate::{
    gateway::{self, Operator},
    haproxy,
    instance::{Instance, hold},
    process::{Process, Processors},
};

/// Longer than a gateway needs to let all of its sessions sleep.
const SILENCE: Duration = Duration::from_secs(10);

/// A proxy, in a way to run it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Contender {
    /// This project's.
    Gateway,
    /// HAProxy as it is by default.
    Haproxy,
    /// HAProxy with buffers of 64 KiB.
    HaproxyBuffers,
    /// HAProxy that splices where it thinks fit.
    HaproxySplice,
}

impl Contender {
    /// All of them.
    pub const ALL: [Self; 4] = [
        Self::Gateway,
        Self::Haproxy,
        Self::HaproxyBuffers,
        Self::HaproxySplice,
    ];

    /// All of them, in an order that is reversed in every other repetition.
    pub fn in_turn(repetition: usize) -> Vec<Self> {
        let mut all = Self::ALL.to_vec();
        if repetition % 2 == 1 {
            all.reverse();
        }
        all
    }
}

impl fmt::Display for Contender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Gateway => "gateway",
            Self::Haproxy => "HAProxy",
            Self::HaproxyBuffers => "HAProxy, bufsize 64 KiB",
            Self::HaproxySplice => "HAProxy, splice",
        })
    }
}

/// Starts contenders.
pub struct Stand {
    program: PathBuf,
    folder: Folder,
}

/// A folder for the contenders' files, removed with all of them in the end.
struct Folder(PathBuf);

impl Folder {
    fn make() -> Result<Self> {
        let path = env::temp_dir().join(format!("gateway-bench-{}", process::id()));
        // Keys are in it.
        let made = fs::DirBuilder::new().mode(0o700).create(&path);
        made.with_context(|| format!("cannot make the folder {}", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            eprintln!("cannot remove {}: {error}", self.0.display());
        }
    }
}

/// A proxy that leads to an instance.
pub struct Running {
    /// Where it listens.
    pub address: SocketAddr,
    /// The process.
    pub process: Process,
    /// What leads to it.
    pub instance: Instance,
    /// The gateway's operator.
    pub operator: Option<Operator>,
}

impl Stand {
    /// `program` is `memgraph-operator`.
    pub fn new(program: PathBuf) -> Result<Self> {
        Ok(Self {
            program,
            folder: Folder::make()?,
        })
    }

    /// Starts a gateway in front of this server, with room for so many sessions, and waits until it has its right to lead there.
    /// Returns where it listens.
    pub async fn gateway(
        &self,
        processors: Processors,
        server: SocketAddr,
        sessions: usize,
    ) -> Result<(SocketAddr, Process, Operator)> {
        let address = free_address()?;
        let (process, operator) = gateway::start(
            &self.program,
            processors,
            &self.folder.0,
            address,
            server,
            sessions,
        )
        .await?;
        Ok((address, process, operator))
    }

    /// Starts this contender with room for so many sessions, and waits until it serves.
    pub async fn start(&self, contender: Contender, sessions: usize) -> Result<Running> {
        if contender == Contender::Gateway {
            return self.start_gateway(Processors::One, sessions).await;
        }
        let instance = Instance::start().await?;
        let address = free_address()?;
        let mut running = Running {
            address,
            process: haproxy::start(contender, &self.folder.0, address, instance.address, sessions)?,
            instance,
            operator: None,
        };
        running.until_it_serves().await?;
        Ok(running)
    }

    /// The same with a gateway on these processors.
    pub async fn start_gateway(&self, processors: Processors, sessions: usize) -> Result<Running> {
        let instance = Instance::start().await?;
        let (address, process, operator) = self.gateway(processors, instance.address, sessions).await?;
        let mut running = Running {
            address,
            process,
            instance,
            operator: Some(operator),
        };
        running.until_it_serves().await?;
        Ok(running)
    }
}

impl Running {
    /// Says nothing for ten seconds, after which so many sessions of a gateway must sleep.
    pub async fn be_silent(&self, sessions: usize) -> Result<()> {
        tokio::time::sleep(SILENCE).await;
        match &self.operator {
            Some(operator) => operator.until_asleep(sessions).await,
            None => Ok(()),
        }
    }

    async fn until_it_serves(&mut self) -> Result<()> {
        let deadline = Instant::now() + Duration::from_secs(20);
        while hold(self.address).await.is_err() {
            anyhow::ensure!(
                !self.process.has_ended()?,
                "the proxy has ended; its output says why"
            );
            anyhow::ensure!(
                Instant::now() < deadline,
                "the proxy does not serve; its output may say why"
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        self.instance.release();
        Ok(())
    }
}

/// One on the loopback interface that nobody uses at the moment.
pub fn free_address() -> Result<SocketAddr> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}
