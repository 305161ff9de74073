//! From the command line to a running server.

use std::{
    fs::{self, File, OpenOptions},
    io::Write as _,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use bolt_server::{SessionConfig, UnknownVersion, Version};
use rand::{SeedableRng, rngs::StdRng};
use rustix::fs::FlockOperation;
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::{Notify, oneshot},
    task::{LocalSet, spawn_local},
};

use super::{
    Driver,
    disk::Disk,
    faults::{Control, ControlError, Faults},
    peers::Replication,
};
use crate::{
    config::{Config, Isolation},
    engine::{Engine, Event, ExitReason},
    flags::{FlagError, Flags},
    ident::Uuid,
};

/// Selects the release that is simulated. The real server has no such variable.
const VERSION_VARIABLE: &str = "MEMGRAPH_SIM_VERSION";
/// Where the image keeps its settings.
const IMAGE_CONFIGURATION: &str = "/etc/memgraph/memgraph.conf";

/// How the process ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExitCode {
    /// It was asked to stop.
    Stopped = 0,
    /// The command line is wrong.
    Usage = 1,
    /// The data directory belongs to somebody else (Memgraph's code).
    DataDirectoryOwner = 12,
    /// The log file cannot be written (Memgraph's code).
    LogFile = 13,
    /// It cannot go on. Memgraph aborts itself, for which a shell shows this number.
    Aborted = 134,
}

/// Why the server does not start, or has stopped.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The variable that selects the release has a wrong value.
    #[error("{VERSION_VARIABLE}: {0}")]
    Version(#[from] UnknownVersion),
    /// The command line or a configuration file is wrong.
    #[error("{0}")]
    Flags(#[from] FlagError),
    /// Faults were to be asked for in a way that does not work.
    #[error("{0}")]
    Faults(#[from] ControlError),
    /// The data directory cannot be used.
    #[error("cannot use the data directory {path}: {error}; check that it exists and is writable")]
    DataDirectory {
        /// The directory.
        path: String,
        /// What went wrong.
        error: std::io::Error,
    },
    /// The data directory belongs to another user.
    #[error(
        "The process is running as user with id {process}, but the data directory is owned by user with id {owner}. \
         Please start the process as the owner of the data directory, or change the owner of {path}."
    )]
    Owner {
        /// The directory.
        path: String,
        /// Who owns it.
        owner: u32,
        /// Who runs this process.
        process: u32,
    },
    /// Another process uses the data directory.
    #[error(
        "Couldn't acquire lock on the storage directory {path}! Another Memgraph process is currently running."
    )]
    Locked {
        /// The directory.
        path: String,
    },
    /// The log file cannot be written.
    #[error("cannot write the log file {path}: {error}")]
    LogFile {
        /// The file.
        path: String,
        /// What went wrong.
        error: std::io::Error,
    },
    /// The operating system refused something that every server needs.
    #[error("cannot set the server up: {0}")]
    System(#[from] std::io::Error),
    /// The server could not go on.
    #[error("{0}")]
    Fatal(String),
}

impl StartError {
    /// The exit code that goes with the error.
    pub fn exit_code(&self) -> ExitCode {
        match self {
            Self::Version(_) | Self::Flags(_) | Self::Faults(_) => ExitCode::Usage,
            Self::Owner { .. } => ExitCode::DataDirectoryOwner,
            Self::LogFile { .. } => ExitCode::LogFile,
            Self::DataDirectory { .. } | Self::Locked { .. } | Self::System(_) | Self::Fatal(_) => {
                ExitCode::Aborted
            }
        }
    }
}

/// Runs the server until it is asked to stop.
///
/// # Errors
///
/// It cannot start, or cannot go on.
pub fn run(arguments: impl IntoIterator<Item = String>) -> Result<(), StartError> {
    let version = match std::env::var(VERSION_VARIABLE) {
        Ok(text) if !text.is_empty() => text.parse()?,
        _ => Version::default(),
    };
    let flags = read_flags(version, arguments)?;
    let control = Control::open()?;
    start_log(&flags)?;
    let directory = PathBuf::from(flags.text("data_directory"));
    let _lock = take_directory(
        &directory,
        Duration::from_secs(flags.number("data_dir_lock_acquisition_timeout_sec")),
    )?;
    println!("You are running Memgraph v{version}");
    std::io::stdout().flush()?;
    let config = configure(version, &flags, &directory);
    let faults = Faults::new(directory.clone());
    if let Some(control) = control {
        control.answer(Arc::clone(&faults))?;
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let reason = LocalSet::new().block_on(&runtime, serve(config, &flags, directory, faults))?;
    // A sync that hangs must not keep the process.
    runtime.shutdown_background();
    match reason {
        ExitReason::Stopped => Ok(()),
        ExitReason::Fatal(reason) => Err(StartError::Fatal(reason)),
    }
}

/// Settings of the image, then those of the user, then the command line, which wins.
fn read_flags(version: Version, arguments: impl IntoIterator<Item = String>) -> Result<Flags, StartError> {
    let mut flags = Flags::new(version);
    let home = std::env::var_os("HOME").map(|home| Path::new(&home).join(".memgraph/config"));
    let named = std::env::var_os("MEMGRAPH_CONFIG").map(PathBuf::from);
    for file in [Some(PathBuf::from(IMAGE_CONFIGURATION)), home, named]
        .into_iter()
        .flatten()
    {
        if let Ok(content) = fs::read_to_string(file) {
            flags.parse_file(&content)?;
        }
    }
    flags.parse(arguments)?;
    if let Ok(port) = std::env::var("MEMGRAPH_BOLT_PORT") {
        flags.parse([format!("--bolt-port={port}")])?;
    }
    Ok(flags)
}

fn start_log(flags: &Flags) -> Result<(), StartError> {
    use tracing_subscriber::{filter::LevelFilter, layer::SubscriberExt as _, util::SubscriberInitExt as _};
    let level = match flags.text("log_level").to_ascii_uppercase().as_str() {
        "TRACE" => LevelFilter::TRACE,
        "DEBUG" => LevelFilter::DEBUG,
        "INFO" => LevelFilter::INFO,
        "ERROR" | "CRITICAL" => LevelFilter::ERROR,
        _ => LevelFilter::WARN,
    };
    let path = flags.text("log_file");
    let file = if path.is_empty() {
        None
    } else {
        let opened = OpenOptions::new().append(true).create(true).open(path);
        Some(opened.map_err(|error| StartError::LogFile {
            path: path.to_owned(),
            error,
        })?)
    };
    let to_stderr = file.is_none() || flags.is_set("also_log_to_stderr");
    let file = file.map(|file| {
        tracing_subscriber::fmt::layer()
            .with_ansi(false)
            .with_target(false)
            .with_writer(Arc::new(file))
    });
    let stderr = to_stderr.then(|| {
        tracing_subscriber::fmt::layer()
            .with_ansi(false)
            .with_target(false)
            .with_writer(std::io::stderr)
    });
    // A second server in the same process (a test) goes on with the first one's log.
    let _ = tracing_subscriber::registry()
        .with(level)
        .with(file)
        .with(stderr)
        .try_init();
    Ok(())
}

/// Makes sure that the directory is there, is ours, and that nobody else uses it.
fn take_directory(path: &Path, patience: Duration) -> Result<File, StartError> {
    let shown = path.display().to_string();
    let failed = |error| StartError::DataDirectory {
        path: shown.clone(),
        error,
    };
    fs::create_dir_all(path).map_err(failed)?;
    let owner = fs::metadata(path).map_err(failed)?.uid();
    let process = rustix::process::geteuid().as_raw();
    if owner != process {
        return Err(StartError::Owner {
            path: shown,
            owner,
            process,
        });
    }
    let lock = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .open(path.join(".lock"))
        .map_err(failed)?;
    // The kernel frees the lock when its holder dies, so that waiting means: another process still runs.
    let (done, waiting) = std::sync::mpsc::channel();
    let copy = lock.try_clone().map_err(failed)?;
    if rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive).is_ok() {
        return Ok(lock);
    }
    std::thread::spawn(move || {
        let taken = rustix::fs::flock(&copy, FlockOperation::LockExclusive).is_ok();
        // If nobody waits any more, the process is about to end.
        let _ = done.send(taken);
    });
    match waiting.recv_timeout(patience) {
        Ok(true) => Ok(lock),
        Ok(false) | Err(_) => Err(StartError::Locked { path: shown }),
    }
}

fn configure(version: Version, flags: &Flags, directory: &Path) -> Config {
    let started_at = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let interval = match flags.text("storage_snapshot_interval") {
        "" => flags.number("storage_snapshot_interval_sec"),
        text => text.parse().unwrap_or(0),
    };
    let count = |name: &str| usize::try_from(flags.number(name)).unwrap_or(usize::MAX);
    let absolute = fs::canonicalize(directory).unwrap_or_else(|_| directory.to_owned());
    Config {
        version,
        started_at: i64::try_from(started_at.as_micros()).unwrap_or(i64::MAX),
        data_directory: absolute.display().to_string(),
        wal_enabled: flags.is_set("storage_wal_enabled"),
        wal_file_kib: flags.number("storage_wal_file_size_kib"),
        wal_flush_every: flags.number("storage_wal_file_flush_every_n_tx").max(1),
        snapshot_interval: (interval > 0).then(|| Duration::from_secs(interval)),
        snapshot_retention: count("storage_snapshot_retention_count"),
        snapshot_on_exit: flags.is_set("storage_snapshot_on_exit"),
        backup_directory: version < Version::V3_8 || flags.is_set("storage_backup_dir_enabled"),
        properties_on_edges: flags.is_set("storage_properties_on_edges"),
        recover_data: flags.is_set("data_recovery_on_startup"),
        allow_recovery_failure: version >= Version::V3_12 && flags.is_set("storage_allow_recovery_failure"),
        restore_replication: flags.is_set("replication_restore_state_on_startup"),
        replica_check: Duration::from_secs(flags.number("replication_replica_check_frequency_sec")),
        access_timeout: Duration::from_secs(flags.number("storage_access_timeout_sec")),
        isolation: match flags.text("isolation_level") {
            "READ_COMMITTED" => Isolation::ReadCommitted,
            "READ_UNCOMMITTED" => Isolation::ReadUncommitted,
            _ => Isolation::Snapshot,
        },
        bolt_port: bolt_port(flags),
        initial_user: initial_user(),
        init_statements: init_statements(flags.text("init_file")),
        flags: flags.table(),
    }
}

fn bolt_port(flags: &Flags) -> u16 {
    u16::try_from(flags.number("bolt_port")).unwrap_or(7687)
}

/// `MEMGRAPH_USER` and `MEMGRAPH_PASSWORD`, else the first line of `MEMGRAPH_PASSFILE`.
fn initial_user() -> Option<(String, String)> {
    if let (Ok(user), Ok(password)) = (std::env::var("MEMGRAPH_USER"), std::env::var("MEMGRAPH_PASSWORD")) {
        return Some((user, password));
    }
    let content = fs::read_to_string(std::env::var_os("MEMGRAPH_PASSFILE")?).ok()?;
    pass_line(content.lines().next()?)
}

/// `user:password`, in which `\:` stands for a colon.
fn pass_line(line: &str) -> Option<(String, String)> {
    let mut parts = vec![String::new()];
    let mut letters = line.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '\\' if letters.peek() == Some(&':') => {
                letters.next();
                parts.last_mut()?.push(':');
            }
            ':' => parts.push(String::new()),
            other => parts.last_mut()?.push(other),
        }
    }
    let [user, password] = <[String; 2]>::try_from(parts).ok()?;
    Some((user, password))
}

fn init_statements(path: &str) -> Option<String> {
    if path.is_empty() {
        return None;
    }
    match fs::read_to_string(path) {
        Ok(text) => Some(text),
        Err(error) => {
            // Memgraph starts all the same.
            tracing::trace!("Could not open init file {path}: {error}");
            None
        }
    }
}

async fn serve(
    config: Config,
    flags: &Flags,
    directory: PathBuf,
    faults: Arc<Faults>,
) -> Result<ExitReason, StartError> {
    let mut random = StdRng::from_os_rng();
    let mut bolt = SessionConfig::new(config.version, Uuid::random(&mut random).to_string());
    bolt.server_name = flags.text("bolt_server_name_for_init").to_owned();
    let (sender, mut exit) = oneshot::channel();
    let driver = Rc::new(Driver {
        engine: Engine::new(config, Box::new(random)).into(),
        started: Instant::now(),
        disk: Rc::new(Disk::new(directory, Arc::clone(&faults))),
        faults: Arc::clone(&faults),
        replication: Replication::default(),
        clients: std::cell::RefCell::default(),
        last_session: std::cell::Cell::new(0),
        bolt: Arc::new(bolt),
        bolt_address: (flags.text("bolt_address").to_owned(), bolt_port(flags)),
        armed: std::cell::Cell::new(None),
        rearm: Notify::new(),
        exit: std::cell::RefCell::new(Some(sender)),
    });
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    spawn_local(Rc::clone(&driver).keep_time());
    spawn_local(faults.obey());
    driver.tick();
    loop {
        tokio::select! {
            reason = &mut exit => {
                return Ok(reason.unwrap_or(ExitReason::Stopped));
            }
            _ = terminate.recv() => driver.dispatch(Event::Stop),
            _ = interrupt.recv() => driver.dispatch(Event::Stop),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colons_in_pass_files_can_be_escaped() {
        assert_eq!(pass_line(r"a:b"), Some(("a".into(), "b".into())));
        assert_eq!(pass_line(r"a\:b:c\:d"), Some(("a:b".into(), "c:d".into())));
        assert_eq!(pass_line("a"), None);
        assert_eq!(pass_line("a:b:c"), None);
    }
}
