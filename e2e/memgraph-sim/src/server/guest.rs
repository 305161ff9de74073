//! An instance in a process that it shares with others, each on an address of its own.

use std::{fs::File, net::Ipv4Addr, path::PathBuf, rc::Rc, sync::Arc, time::Duration};

use tokio::{sync::oneshot, task::LocalSet};

use super::{
    Driver, directory, environment,
    failure::StartError,
    faults::Faults,
    log::Log,
    setup::Surroundings,
    tls::{ClientTls, ClusterTls},
};
use crate::engine::ExitReason;

/// An instance that was not started yet.
///
/// It differs from a process of its own in that it listens for replication on one address only, says nothing about its start,
/// hears no signals and serves no fault control. Its log is that of the process.
pub struct Guest {
    driver: Rc<Driver>,
    exit: oneshot::Receiver<ExitReason>,
    /// The data directory is its own for as long as it is there.
    lock: File,
}

impl Guest {
    /// With Memgraph's command line. Addresses in it, such as `--bolt-address`, must be `address`, too, where the process has
    /// others that use the same ports.
    ///
    /// # Errors
    ///
    /// As [`run`](super::run).
    pub fn new(arguments: impl IntoIterator<Item = String>, address: Ipv4Addr) -> Result<Self, StartError> {
        let version = environment::version()?;
        let flags = environment::flags(version, arguments)?;
        let cluster_tls = ClusterTls::new(&flags)?;
        let directory = PathBuf::from(flags.text("data_directory"));
        if !environment::keeps_superseded(version, &flags) {
            directory::remove_superseded(&directory)?;
        }
        let patience = Duration::from_secs(flags.number("data_dir_lock_acquisition_timeout_sec"));
        let lock = directory::take(version, &directory, patience)?;
        let config = environment::configure(version, &flags, &directory)?;
        let surroundings = Surroundings {
            faults: Faults::new(directory.clone()),
            directory,
            client_tls: ClientTls::new(&flags)?,
            cluster_tls,
            log: Log::start(flags.text("log_level"), flags.is_set("also_log_to_stderr"), None),
            replication_address: address.to_string(),
        };
        let (driver, exit) = Driver::start(version, &flags, config, surroundings);
        Ok(Self { driver, exit, lock })
    }

    /// Runs until the instance ends by itself. When this is dropped before, it ends as after SIGKILL: all its connections are
    /// closed, and nothing more is done.
    pub async fn run(self) -> ExitReason {
        let Self { driver, exit, lock } = self;
        let tasks = LocalSet::new();
        tasks.spawn_local(Rc::clone(&driver).keep_time());
        tasks.spawn_local(Arc::clone(&driver.faults).obey());
        let reason = tasks
            .run_until(async move {
                driver.tick();
                exit.await.unwrap_or(ExitReason::Stopped)
            })
            .await;
        drop(tasks);
        drop(lock);
        reason
    }
}
