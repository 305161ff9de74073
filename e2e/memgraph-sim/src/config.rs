//! How an instance is set up: the part of Memgraph's flags that its behaviour depends on.

use std::{collections::BTreeMap, time::Duration};

use bolt_server::Version;

/// What a transaction sees of others.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Isolation {
    /// `SNAPSHOT_ISOLATION`: what was committed when it started.
    #[default]
    Snapshot,
    /// `READ_COMMITTED`: what is committed.
    ReadCommitted,
    /// `READ_UNCOMMITTED`: everything.
    ReadUncommitted,
}

impl Isolation {
    /// The name in `--isolation-level` and in SHOW STORAGE INFO.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Snapshot => "SNAPSHOT_ISOLATION",
            Self::ReadCommitted => "READ_COMMITTED",
            Self::ReadUncommitted => "READ_UNCOMMITTED",
        }
    }
}

/// The settings of one instance.
#[derive(Debug, Clone)]
pub struct Config {
    /// The release whose behaviour is simulated.
    pub version: Version,
    /// The wall clock when the engine's time is zero, in microseconds since 1970. File names contain it.
    pub started_at: i64,
    /// `--data-directory`, as paths in results show it.
    pub data_directory: String,
    /// `--storage-wal-enabled`. Without a log nothing is replicated.
    pub wal_enabled: bool,
    /// `--storage-wal-file-size-kib`
    pub wal_file_kib: u64,
    /// `--storage-wal-file-flush-every-n-tx`: how many transactions a power loss may take.
    pub wal_flush_every: u64,
    /// `--storage-snapshot-interval-sec`; `None` for no periodic snapshots.
    pub snapshot_interval: Option<Duration>,
    /// `--storage-snapshot-retention-count`
    pub snapshot_retention: usize,
    /// `--storage-snapshot-on-exit`
    pub snapshot_on_exit: bool,
    /// `--storage-backup-dir-enabled`: superseded files are moved to `.old` instead of being deleted.
    pub backup_directory: bool,
    /// `--storage-properties-on-edges`
    pub properties_on_edges: bool,
    /// `--data-recovery-on-startup`
    pub recover_data: bool,
    /// `--storage-allow-recovery-failure`: start without data that cannot be recovered.
    pub allow_recovery_failure: bool,
    /// `--replication-restore-state-on-startup`
    pub restore_replication: bool,
    /// `--replication-replica-check-frequency-sec`; zero turns pings off.
    pub replica_check: Duration,
    /// `--storage-access-timeout-sec`
    pub access_timeout: Duration,
    /// `--isolation-level`
    pub isolation: Isolation,
    /// `--storage-mode=IN_MEMORY_ANALYTICAL`
    pub analytical: bool,
    /// `--memory-limit`, in bytes. None: a share of the machine's memory, which the simulator does not look at. It counts no
    /// memory either, so that nothing fails at the limit.
    pub memory_limit: Option<u64>,
    /// `--bolt-port`
    pub bolt_port: u16,
    /// The user of `MEMGRAPH_USER` and `MEMGRAPH_PASSWORD`, created at each start if there is none of that
    /// name.
    pub initial_user: Option<(String, String)>,
    /// The content of `--init-file`.
    pub init_statements: Option<String>,
    /// The content of `--init-data-file`, which runs when clients can already connect.
    pub init_data_statements: Option<String>,
    /// The flags that were given, with their values: they override run-time settings that were stored.
    pub given_flags: BTreeMap<String, String>,
    /// Name, default, current value and description of every flag, for SHOW CONFIG.
    pub flags: Vec<[String; 4]>,
}

impl Default for Config {
    /// The settings of Memgraph's container image, but without a snapshot on exit.
    fn default() -> Self {
        Self {
            version: Version::default(),
            started_at: 0,
            data_directory: "/var/lib/memgraph".to_owned(),
            wal_enabled: true,
            wal_file_kib: 20_480,
            wal_flush_every: 100_000,
            snapshot_interval: Some(Duration::from_secs(300)),
            snapshot_retention: 3,
            snapshot_on_exit: false,
            backup_directory: true,
            properties_on_edges: true,
            recover_data: true,
            allow_recovery_failure: false,
            restore_replication: true,
            replica_check: Duration::from_secs(1),
            access_timeout: Duration::from_secs(1),
            isolation: Isolation::Snapshot,
            analytical: false,
            memory_limit: None,
            bolt_port: 7687,
            initial_user: None,
            init_statements: None,
            init_data_statements: None,
            given_flags: BTreeMap::new(),
            flags: Vec::new(),
        }
    }
}
