//! A gateway's certificates, in a folder into which the kubelet mounts them from a Secret that the operator makes.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use jiff::Timestamp;
use rustls::ServerConfig;
use tokio::sync::watch;
use tracing::info;

use super::{
    authority::Leaf,
    tls::{Credentials, TlsError},
};
use crate::mounted::{self, Unreadable};

/// Why a gateway has no certificates.
#[derive(Debug, thiserror::Error)]
enum MountedError {
    #[error(transparent)]
    Read(#[from] Unreadable),
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
        let mut used = None;
        let look = || {
            let credentials = self.read()?;
            if used.as_ref() != Some(&credentials) {
                found.send_replace(Some(Arc::new(credentials.server()?)));
                info!("certificates of the control channel are in use");
                used = Some(credentials);
            }
            Ok::<_, MountedError>(())
        };
        mounted::follow("the control channel", look).await;
    }

    fn read(&self) -> Result<Credentials, Unreadable> {
        Ok(Credentials {
            leaf: Leaf {
                certificate: mounted::text(&self.folder.join("tls.crt"))?,
                key: mounted::text(&self.folder.join("tls.key"))?,
                // It is the operator who replaces it.
                renew: Timestamp::MAX,
            },
            bundle: mounted::text(&self.folder.join("ca.crt"))?,
        })
    }
}
