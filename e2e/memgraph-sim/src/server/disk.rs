//! The data directory.

use std::{
    cell::RefCell,
    fs::{self, File, OpenOptions},
    future::Future,
    io::{self, Write},
    path::{Path, PathBuf},
    sync::Arc,
};

use super::faults::{Faults, Ledger};
use crate::engine::{DiskError, DiskOperation, DiskReply};

/// From this size on, a file is written on another thread.
const LARGE: usize = 256 * 1024;

/// Carries out disk operations below one folder.
pub(super) struct Disk {
    root: PathBuf,
    /// The file that was appended to last: mostly the log.
    appending: RefCell<Option<(String, File)>>,
    faults: Arc<Faults>,
}

type DiskResult = Result<DiskReply, DiskError>;

impl From<io::Error> for DiskError {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::NotFound {
            return Self::Missing;
        }
        let text = error.to_string();
        Self::Failed(match error.raw_os_error() {
            Some(number) => {
                let text = text
                    .strip_suffix(&format!(" (os error {number})"))
                    .unwrap_or(&text);
                format!("{text} ({number})")
            }
            None => text,
        })
    }
}

impl Disk {
    pub(super) fn new(root: PathBuf, faults: Arc<Faults>) -> Self {
        Self {
            // As Memgraph names its files.
            root: fs::canonicalize(&root).unwrap_or(root),
            appending: RefCell::new(None),
            faults,
        }
    }

    /// The data directory.
    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// Whether an operation had better not be carried out at once.
    pub(super) fn is_large(operation: &DiskOperation) -> bool {
        matches!(operation, DiskOperation::Replace(_, content) if content.len() >= LARGE)
    }

    /// Carries out an operation on this thread.
    pub(super) fn perform(&self, operation: &DiskOperation) -> DiskResult {
        let at = |path: &str| self.root.join(path);
        match operation {
            DiskOperation::Append(path, content) => self.append(path, content, &mut self.faults.ledger()),
            DiskOperation::Replace(..) | DiskOperation::Sync { .. } => self.prepare(operation.clone())(),
            DiskOperation::Rename(from, to) => {
                let mut ledger = self.faults.ledger();
                self.close(from);
                let place = at(to);
                make_parent(&place)?;
                fs::rename(at(from), place)?;
                ledger.renamed(from, to);
                Ok(DiskReply::Done)
            }
            DiskOperation::Remove(path) => {
                let mut ledger = self.faults.ledger();
                self.close(path);
                ledger.forget(path);
                remove(&at(path))
            }
            DiskOperation::Read(path) => Ok(DiskReply::Content(fs::read(at(path))?)),
            DiskOperation::List(path) => {
                let mut names = Vec::new();
                for entry in fs::read_dir(at(path))? {
                    let entry = entry?;
                    if entry.file_type()?.is_file()
                        && let Ok(name) = entry.file_name().into_string()
                    {
                        names.push(name);
                    }
                }
                names.sort();
                Ok(DiskReply::Names(names))
            }
        }
    }

    /// Carries out a slow operation (a sync or a large file) on another thread.
    pub(super) fn later(&self, operation: DiskOperation) -> impl Future<Output = DiskResult> + 'static {
        let work = tokio::task::spawn_blocking(self.prepare(operation));
        async move {
            work.await
                .unwrap_or_else(|error| Err(DiskError::Failed(error.to_string())))
        }
    }

    /// What remains to be done for an operation, on whichever thread.
    fn prepare(&self, operation: DiskOperation) -> impl FnOnce() -> DiskResult + Send + use<> {
        let root = self.root.clone();
        let fails = matches!(operation, DiskOperation::Sync { .. }) && self.faults.take_failed_sync();
        let mut ledger = self.faults.ledger();
        let pending = match &operation {
            DiskOperation::Sync { path, .. } => ledger.sync(path),
            DiskOperation::Replace(path, _) => {
                ledger.forget(path);
                None
            }
            _ => None,
        };
        move || match operation {
            DiskOperation::Sync { .. } if fails => Err(io::Error::from(rustix::io::Errno::IO).into()),
            DiskOperation::Sync { path, .. } => {
                let reply = sync(&root.join(path))?;
                if let Some(pending) = pending {
                    pending.succeeded();
                }
                Ok(reply)
            }
            DiskOperation::Replace(path, content) => replace(&root.join(path), &content),
            other => Err(DiskError::Failed(format!("{other:?} cannot be put off"))),
        }
    }

    fn append(&self, path: &str, content: &[u8], ledger: &mut Ledger) -> DiskResult {
        let mut appending = self.appending.borrow_mut();
        let file = match &mut *appending {
            Some((open, file)) if open == path => file,
            other => {
                let place = self.root.join(path);
                make_parent(&place)?;
                ledger.opened(path);
                let file = OpenOptions::new().append(true).create(true).open(place)?;
                &mut other.insert((path.to_owned(), file)).1
            }
        };
        file.write_all(content)?;
        ledger.appended(path, content.len());
        Ok(DiskReply::Done)
    }

    fn close(&self, path: &str) {
        self.appending.borrow_mut().take_if(|(open, _)| open == path);
    }
}

fn make_parent(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), fs::create_dir_all)
}

fn replace(path: &Path, content: &[u8]) -> DiskResult {
    make_parent(path)?;
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let beside = path.with_file_name(name);
    fs::write(&beside, content)?;
    fs::rename(&beside, path)?;
    Ok(DiskReply::Done)
}

fn sync(path: &Path) -> DiskResult {
    match File::open(path) {
        Ok(file) => file.sync_data()?,
        // The file got another name in the meantime; its data are complete there.
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error.into()),
    }
    Ok(DiskReply::Done)
}

fn remove(path: &Path) -> DiskResult {
    let result = match fs::symlink_metadata(path) {
        Ok(found) if found.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    match result {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error.into()),
        _ => Ok(DiskReply::Done),
    }
}
