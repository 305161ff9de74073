//! A gateway's certificates, in a folder into which the kubelet mounts them from a Secret.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use jiff::Timestamp;
use rustls::ServerConfig;
use tokio::sync::watch;
use tracing::{info, warn};

use super::{
    authority::Leaf,
    tls::{Credentials, TlsError},
};

/// How often the files are looked at. The kubelet replaces them within minutes, and certificates change days before they
/// must; files that come late, though, keep the operator waiting.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Why a gateway has no certificates.
#[derive(Debug, thiserror::Error)]
enum MountedError {
    #[error("cannot read {path}: the operator makes the Secret that is mounted there")]
    Read { path: PathBuf, source: io::Error },
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// The folder.
#[derive(Clone, Debug)]
pub struct Mounted {
    folder: PathBuf,
}

impl Mounted {
    /// `folder` has, or will have, the files `tls.crt`, `tls.key` and `ca.crt`.
    #[must_use]
    pub fn new(folder: &Path) -> Self {
        Self {
            folder: folder.to_owned(),
        }
    }

    /// Puts into `found` what new connections are to use, as often as it changes. Files that are not there, or that cannot be
    /// used, change nothing.
    pub async fn follow(self, found: watch::Sender<Option<Arc<ServerConfig>>>) {
        let mut ticks = tokio::time::interval(LOOK_EVERY);
        let mut used = None;
        let mut failing = false;
        while !found.is_closed() {
            ticks.tick().await;
            match self.read() {
                Ok(credentials) if used.as_ref() == Some(&credentials) => failing = false,
                Ok(credentials) => match credentials.server() {
                    Ok(config) => {
                        info!("certificates of the control channel are in use");
                        found.send_replace(Some(Arc::new(config)));
                        used = Some(credentials);
                        failing = false;
                    }
                    Err(error) => warn_once(&mut failing, &error.into()),
                },
                Err(error) => warn_once(&mut failing, &error),
            }
        }
    }

    fn read(&self) -> Result<Credentials, MountedError> {
        let text = |name: &str| {
            let path = self.folder.join(name);
            fs::read_to_string(&path).map_err(|source| MountedError::Read { path, source })
        };
        Ok(Credentials {
            leaf: Leaf {
                certificate: text("tls.crt")?,
                key: text("tls.key")?,
                // It is the operator who replaces it.
                renew: Timestamp::MAX,
            },
            bundle: text("ca.crt")?,
        })
    }
}

fn warn_once(failing: &mut bool, error: &MountedError) {
    if !*failing {
        let error = crate::controller::chain(error);
        warn!(error, "no new certificates for the control channel");
    }
    *failing = true;
}
