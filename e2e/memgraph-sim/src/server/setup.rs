//! From the command line to a running server, in the order of Memgraph's `main`.

use std::{
    cell::RefCell,
    io::Write as _,
    path::{Path, PathBuf},
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

use bolt_server::{SessionConfig, Version};
use rand::{SeedableRng, rngs::StdRng};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::{Notify, oneshot},
    task::{LocalSet, spawn_local},
};

use super::{
    Driver, directory,
    disk::Disk,
    environment,
    failure::StartError,
    faults::{Control, Faults},
    log::{self, DailyFile, Log},
    metrics::MetricsPort,
    peers::Replication,
    tls::{ClientTls, ClusterTls},
};
use crate::{
    config::Config,
    engine::{Engine, Event, ExitReason},
    flags::Flags,
    ident::Uuid,
};

/// Memgraph recommends at least so many memory areas.
const MAP_COUNT: u64 = 524_288;

/// Runs the server until it is asked to stop.
///
/// # Errors
///
/// It cannot start, or cannot go on.
pub fn run(arguments: impl IntoIterator<Item = String>) -> Result<(), StartError> {
    let version = environment::version()?;
    let flags = environment::flags(version, arguments)?;
    if flags.is_set("version") {
        println!("memgraph version {}", version.number());
        return Ok(());
    }
    if flags.is_set("help") || flags.is_set("help_xml") || flags.is_set("h") {
        print!("{}", flags.help("memgraph"));
        return Err(StartError::Words(String::new()));
    }
    let control = Control::open()?;
    let log = start_log(version, &flags)?;
    tracing::info!(
        "Memgraph {} (build-id: unknown, build-type: Release)",
        version.number()
    );
    let result = start(version, &flags, log, control);
    if let Err(error) = &result {
        log::critical(&error.to_string());
    }
    result
}

fn start(version: Version, flags: &Flags, log: Log, control: Option<Control>) -> Result<(), StartError> {
    let cluster_tls = ClusterTls::new(flags)?;
    if cluster_tls.is_some() {
        tracing::info!("Intra-cluster TLS enabled (mTLS).");
    }
    welcome(version)?;
    let directory = PathBuf::from(flags.text("data_directory"));
    if !environment::keeps_superseded(version, flags) {
        directory::remove_superseded(&directory)?;
    }
    if flags.is_given("log_file") && version >= Version::V3_10 {
        let days = flags.number("log_retention_days");
        if let Err(error) = log::clean_folder(Path::new(flags.text("log_file")), days) {
            tracing::warn!("Error occurred while trying to manually rotate old log files: {error}");
        }
    }
    let patience = Duration::from_secs(flags.number("data_dir_lock_acquisition_timeout_sec"));
    let _lock = directory::take(version, &directory, patience)?;
    tracing::trace!("Successfully acquired lock on data directory");
    let config = environment::configure(version, flags, &directory)?;
    let client_tls = ClientTls::new(flags)?;
    if client_tls.acceptor().is_some() {
        tracing::info!("Using secure Bolt connection (with SSL)");
    } else {
        tracing::warn!(
            "Using non-secure Bolt connection (without SSL). For more details, visit https://memgr.ph/ssl."
        );
    }
    let faults = Faults::new(directory.clone());
    if let Some(control) = control {
        control.answer(Arc::clone(&faults))?;
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let surroundings = Surroundings {
        directory,
        faults,
        client_tls,
        cluster_tls,
        log,
        // Memgraph listens for replication on all addresses (`SET REPLICATION ROLE TO REPLICA WITH PORT ..`).
        replication_address: "0.0.0.0".to_owned(),
    };
    let (driver, exit) = Driver::start(version, flags, config, surroundings);
    let reason = LocalSet::new().block_on(&runtime, serve(version, driver, exit))?;
    // A sync that hangs must not keep the process.
    runtime.shutdown_background();
    match reason {
        ExitReason::Stopped => Ok(()),
        ExitReason::Fatal(reason) => Err(StartError::Fatal(reason)),
    }
}

/// `SetUserTimeout` in `io/network/socket.hpp` of Memgraph, from 3.10 on.
const USER_TIMEOUT: Duration = Duration::from_secs(5);

/// What an instance runs in.
pub(super) struct Surroundings {
    pub(super) directory: PathBuf,
    pub(super) faults: Arc<Faults>,
    pub(super) client_tls: ClientTls,
    pub(super) cluster_tls: Option<ClusterTls>,
    pub(super) log: Log,
    /// Where other instances are listened for.
    pub(super) replication_address: String,
}

impl Driver {
    /// An engine that has done nothing yet, and how it will end.
    pub(super) fn start(
        version: Version,
        flags: &Flags,
        config: Config,
        surroundings: Surroundings,
    ) -> (Rc<Self>, oneshot::Receiver<ExitReason>) {
        let address = |name: &str, port| (flags.text(name).to_owned(), port);
        let mut random = StdRng::from_os_rng();
        let mut bolt = SessionConfig::new(version, Uuid::random(&mut random).to_string());
        bolt.server_name = flags.text("bolt_server_name_for_init").to_owned();
        let (sender, exit) = oneshot::channel();
        let driver = Self {
            started: Instant::now(),
            disk: Rc::new(Disk::new(
                surroundings.directory,
                Arc::clone(&surroundings.faults),
            )),
            faults: surroundings.faults,
            replication: Replication::default(),
            replication_address: surroundings.replication_address,
            user_timeout: (version >= Version::V3_10).then_some(USER_TIMEOUT),
            clients: RefCell::default(),
            last_session: std::cell::Cell::new(0),
            bolt: RefCell::new(Arc::new(bolt)),
            bolt_address: address("bolt_address", config.bolt_port),
            monitoring_address: address("monitoring_address", flags.port("monitoring_port")),
            metrics_port: MetricsPort::new(version, flags),
            client_tls: surroundings.client_tls,
            cluster_tls: surroundings.cluster_tls,
            counters: super::Counters::default(),
            log: surroundings.log,
            armed: std::cell::Cell::new(None),
            rearm: Notify::new(),
            exit: RefCell::new(Some(sender)),
            engine: Engine::new(config, Box::new(random)).into(),
        };
        (Rc::new(driver), exit)
    }
}

/// What everybody sees who starts a server.
fn welcome(version: Version) -> Result<(), StartError> {
    let mut output = std::io::stdout().lock();
    writeln!(output, "You are running Memgraph v{}", version.number())?;
    writeln!(
        output,
        "To get started with Memgraph, visit https://memgr.ph/start"
    )?;
    let areas = std::fs::read_to_string("/proc/sys/vm/max_map_count");
    match areas.ok().and_then(|text| text.trim().parse::<u64>().ok()) {
        Some(areas) if areas < MAP_COUNT => writeln!(
            output,
            "Max virtual memory areas vm.max_map_count {areas} is too low, increase to at least {MAP_COUNT}"
        )?,
        Some(_) => {}
        None => writeln!(
            output,
            "Can't get info on vm.max_map_count, check whether it is too low, vm.max_map_count is at least {MAP_COUNT}"
        )?,
    }
    output.flush()?;
    Ok(())
}

fn start_log(version: Version, flags: &Flags) -> Result<Log, StartError> {
    let path = flags.text("log_file");
    let file = if path.is_empty() {
        None
    } else {
        // Before 3.10 the number of days is fixed.
        let days = if version >= Version::V3_10 {
            flags.number("log_retention_days")
        } else {
            35
        };
        let opened = DailyFile::open(Path::new(path), usize::try_from(days).unwrap_or(usize::MAX));
        Some(opened.map_err(|error| StartError::LogFile {
            path: path.to_owned(),
            error,
            coded: version >= Version::V3_11,
        })?)
    };
    let to_stderr = flags.is_set("also_log_to_stderr");
    Ok(Log::start(flags.text("log_level"), to_stderr, file))
}

async fn serve(
    version: Version,
    driver: Rc<Driver>,
    mut exit: oneshot::Receiver<ExitReason>,
) -> Result<ExitReason, StartError> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    spawn_local(Rc::clone(&driver).keep_time());
    spawn_local(Arc::clone(&driver.faults).obey());
    driver.tick();
    let mut stopping = false;
    loop {
        let received = tokio::select! {
            reason = &mut exit => return Ok(reason.unwrap_or(ExitReason::Stopped)),
            _ = terminate.recv() => SignalKind::terminate(),
            _ = interrupt.recv() => SignalKind::interrupt(),
        };
        // Only the first signal counts (`WaitForShutdownSignal` in memgraph.cpp).
        if std::mem::replace(&mut stopping, true) {
            continue;
        }
        if version >= Version::V3_10 {
            tracing::info!("Received signal {}, shutting down...", received.as_raw_value());
        }
        driver.dispatch(Event::Stop);
    }
}
