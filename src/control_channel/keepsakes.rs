//! What an operator process keeps for the one that takes its place: whom it knows, and what it is known by.
//!
//! A process that does not lead any more starts over. If the API server is away then, the new one could ask nobody which
//! gateways there are, nor get a certificate.

use std::{
    collections::BTreeMap,
    fs::{self, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

use serde::{Deserialize, Serialize};
use tracing::warn;

use super::tls::Credentials;
use crate::controller::Acquaintance;

/// Only its owner may read it: it has private keys.
const MODE: u32 = 0o600;

/// What is kept of one cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Keepsake {
    pub(super) acquaintance: Option<Acquaintance>,
    pub(super) credentials: Option<Credentials>,
}

/// What is kept, by the cluster's UID.
type All = BTreeMap<String, Keepsake>;

/// A file, and what is in it.
#[derive(Debug, Default)]
pub(super) struct Keepsakes {
    /// None: nothing is kept longer than this process.
    file: Option<PathBuf>,
    all: Mutex<All>,
}

impl Keepsakes {
    /// Those that an earlier process has left in this folder.
    pub(super) fn in_folder(folder: Option<&Path>) -> Self {
        let file = folder.map(|folder| folder.join("gateways.json"));
        let all = file.as_deref().map(read).unwrap_or_default();
        Self {
            file,
            all: Mutex::new(all),
        }
    }

    /// All of them.
    pub(super) fn all(&self) -> All {
        self.lock().clone()
    }

    /// Changes what is kept of a cluster.
    pub(super) fn keep(&self, cluster: &str, change: impl FnOnce(&mut Keepsake)) {
        let mut all = self.lock();
        let mut keepsake = all.get(cluster).cloned().unwrap_or_default();
        change(&mut keepsake);
        if all.get(cluster) != Some(&keepsake) {
            all.insert(cluster.to_owned(), keepsake);
            self.write(&all);
        }
    }

    /// Keeps nothing of a cluster any more.
    pub(super) fn discard(&self, cluster: &str) {
        let mut all = self.lock();
        if all.remove(cluster).is_some() {
            self.write(&all);
        }
    }

    fn write(&self, all: &All) {
        let Some(file) = &self.file else { return };
        let written = serde_json::to_vec(all)
            .map_err(io::Error::from)
            .and_then(|text| replace(file, &text));
        if let Err(error) = written {
            warn!(%error, file = %file.display(), "cannot keep what this process knows of gateways; without it, a process \
                that starts over while the API server is away cannot vouch for them. The folder must be writable");
        }
    }

    fn lock(&self) -> MutexGuard<'_, All> {
        // Each change is one step.
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is in the file; nothing, if there is none or it cannot be understood.
fn read(file: &Path) -> All {
    let text = match fs::read(file) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return All::default(),
        Err(error) => {
            warn!(%error, file = %file.display(), "cannot read what an earlier process has kept; going on without it");
            return All::default();
        }
    };
    serde_json::from_slice(&text).unwrap_or_else(|error| {
        warn!(%error, file = %file.display(), "cannot understand what an earlier process has kept; going on without it");
        All::default()
    })
}

/// Writes the file in one step: a process that ends meanwhile leaves the old one.
fn replace(file: &Path, text: &[u8]) -> io::Result<()> {
    let next = file.with_extension("next");
    // One that was left behind may have other permissions.
    match fs::remove_file(&next) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut opened = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(MODE)
        .open(&next)?;
    opened.write_all(text)?;
    fs::rename(&next, file)
}
