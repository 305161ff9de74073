//! A `memgraph-sim` process with a data directory of its own.

use std::{
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

use neo4rs::{ConfigBuilder, Graph, query};

use crate::ports::ReservedPort;

/// How long a test waits for something that happens within milliseconds on a quiet machine. It is there against hangs
/// only: all tests of this file's users run at the same time, perhaps on a machine that has more to do.
pub const PATIENCE: Duration = Duration::from_secs(120);
/// Between two looks.
const PAUSE: Duration = Duration::from_millis(5);

/// A folder that goes away with its owner.
pub struct Folder(PathBuf);

impl Folder {
    pub fn new() -> Self {
        static LAST: AtomicU32 = AtomicU32::new(0);
        let number = LAST.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("memgraph-sim-test-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What cannot be removed stays in the folder for temporary files.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A server process; killed when it is dropped.
pub struct Instance {
    pub folder: Folder,
    pub bolt: u16,
    pub replication: u16,
    _reserved: [ReservedPort; 2],
    extra: Vec<String>,
    environment: Vec<(String, String)>,
    process: Option<Child>,
}

impl Drop for Instance {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Instance {
    /// Starts a server with more flags, and waits for its Bolt port.
    pub fn new(extra: &[&str]) -> Self {
        Self::with_environment(extra, &[])
    }

    /// Like [`Self::new`], with environment variables.
    pub fn with_environment(extra: &[&str], environment: &[(&str, &str)]) -> Self {
        let environment = environment.iter();
        let reserved = [ReservedPort::new(), ReservedPort::new()];
        let [bolt, replication] = reserved.each_ref().map(ReservedPort::number);
        let mut instance = Self {
            folder: Folder::new(),
            bolt,
            replication,
            _reserved: reserved,
            extra: extra.iter().map(|it| (*it).to_owned()).collect(),
            environment: environment
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
            process: None,
        };
        instance.start();
        instance
    }

    /// A flag for the next start.
    pub fn add_flag(&mut self, flag: &str) {
        self.extra.push(flag.to_owned());
    }

    /// Connects to one of the other ports of a server that has just opened its Bolt port.
    pub async fn connect(port: u16) -> tokio::net::TcpStream {
        let limit = Instant::now() + PATIENCE;
        loop {
            match tokio::net::TcpStream::connect(("127.0.0.1", port)).await {
                Ok(stream) => return stream,
                Err(error) => assert!(Instant::now() < limit, "port {port}: {error}"),
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    pub fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    pub fn start(&mut self) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_memgraph-sim"));
        command
            .arg(format!("--bolt-port={}", self.bolt))
            .args([
                "--bolt-address",
                "127.0.0.1",
                "-storage_wal_enabled",
                "--notelemetry-enabled",
            ])
            .arg(format!("--data-directory={}", self.data().display()))
            .args(&self.extra)
            .envs(self.environment.iter().cloned())
            .stdout(Stdio::null());
        self.process = Some(command.spawn().unwrap());
        let limit = Instant::now() + PATIENCE;
        while TcpStream::connect(("127.0.0.1", self.bolt)).is_err() {
            let process = self.process.as_mut().unwrap();
            assert!(process.try_wait().unwrap().is_none(), "the server has ended");
            assert!(Instant::now() < limit, "the server does not open its Bolt port");
            std::thread::sleep(PAUSE);
        }
    }

    /// `kill -9`
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().unwrap();
            process.wait().unwrap();
        }
    }

    /// What the process, which is about to end, ends with.
    pub fn wait(&mut self) -> ExitStatus {
        self.process.take().unwrap().wait().unwrap()
    }

    /// `SIGTERM`, and what the process ends with.
    pub fn terminate(&mut self) -> ExitStatus {
        self.signal(rustix::process::Signal::TERM)
    }

    /// `SIGINT`, and what the process ends with.
    pub fn interrupt(&mut self) -> ExitStatus {
        self.signal(rustix::process::Signal::INT)
    }

    fn signal(&mut self, signal: rustix::process::Signal) -> ExitStatus {
        let pid = rustix::process::Pid::from_child(self.process.as_ref().unwrap());
        rustix::process::kill_process(pid, signal).unwrap();
        self.wait()
    }

    /// A client.
    pub fn graph(&self) -> Result<Graph, neo4rs::Error> {
        let config = ConfigBuilder::new()
            .uri(format!("127.0.0.1:{}", self.bolt))
            .user("")
            .password("")
            .build()?;
        Graph::connect(config)
    }

    /// Runs a statement; a result's rows as lists of columns.
    pub async fn query(&self, text: &str) -> Result<Vec<neo4rs::Row>, neo4rs::Error> {
        let graph = self.graph()?;
        let mut stream = graph.execute(query(text)).await?;
        let mut rows = Vec::new();
        while let Some(row) = stream.next().await? {
            rows.push(row);
        }
        Ok(rows)
    }

    pub async fn must(&self, text: &str) -> Vec<neo4rs::Row> {
        match self.query(text).await {
            Ok(rows) => rows,
            Err(error) => panic!("{text}: {error}"),
        }
    }

    pub async fn count(&self) -> i64 {
        self.must("MATCH (n) RETURN count(n) AS count").await[0]
            .get("count")
            .unwrap()
    }

    pub async fn role(&self) -> String {
        self.must("SHOW REPLICATION ROLE").await[0]
            .get("replication role")
            .unwrap()
    }

    pub async fn demote(&self) {
        self.must(&format!(
            "SET REPLICATION ROLE TO REPLICA WITH PORT {}",
            self.replication
        ))
        .await;
    }

    pub async fn register(&self, name: &str, replica: &Self, mode: &str) {
        let port = replica.replication;
        self.must(&format!("REGISTER REPLICA {name} {mode} TO '127.0.0.1:{port}'"))
            .await;
    }

    /// Waits until a replica has a status and the given distance to its MAIN is zero.
    pub async fn until_ready(&self, name: &str) {
        let limit = Instant::now() + PATIENCE;
        loop {
            let rows = self.must("SHOW REPLICAS").await;
            let row = rows
                .iter()
                .find(|row| row.get::<String>("name").unwrap() == name)
                .unwrap();
            let data: serde_json::Value = row.get("data_info").unwrap();
            if data["memgraph"]["status"] == "ready" && data["memgraph"]["behind"] == 0 {
                return;
            }
            assert!(Instant::now() < limit, "{name} does not get ready: {data}");
            tokio::time::sleep(PAUSE).await;
        }
    }
}
