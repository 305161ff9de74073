//! The data directory.

use std::{
    cell::RefCell,
    fs::{self, File, OpenOptions},
    future::Future,
    io::{self, Write},
    path::{Path, PathBuf},
};

use crate::engine::{DiskError, DiskOperation, DiskReply};

/// From this size on, a file is written on another thread.
const LARGE: usize = 256 * 1024;

/// Carries out disk operations below one folder.
pub(super) struct Disk {
    root: PathBuf,
    /// The file that was appended to last: mostly the log.
    appending: RefCell<Option<(String, File)>>,
}

type DiskResult = Result<DiskReply, DiskError>;

impl From<io::Error> for DiskError {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::NotFound {
            Self::Missing
        } else {
            Self::Failed(error.to_string())
        }
    }
}

impl Disk {
    pub(super) fn new(root: PathBuf) -> Self {
        Self {
            root,
            appending: RefCell::new(None),
        }
    }

    /// Whether an operation had better not be carried out at once.
    pub(super) fn is_large(operation: &DiskOperation) -> bool {
        matches!(operation, DiskOperation::Replace(_, content) if content.len() >= LARGE)
    }

    /// Carries out an operation on this thread.
    pub(super) fn perform(&self, operation: DiskOperation) -> DiskResult {
        let at = |path: &str| self.root.join(path);
        match operation {
            DiskOperation::Append(path, content) => self.append(path, &content),
            DiskOperation::Replace(path, content) => replace(&at(&path), &content),
            DiskOperation::Sync(path) => sync(&at(&path)),
            DiskOperation::Rename(from, to) => {
                self.close(&from);
                let to = at(&to);
                make_parent(&to)?;
                fs::rename(at(&from), to)?;
                Ok(DiskReply::Done)
            }
            DiskOperation::Remove(path) => {
                self.close(&path);
                remove(&at(&path))
            }
            DiskOperation::Read(path) => Ok(DiskReply::Content(fs::read(at(&path))?)),
            DiskOperation::List(path) => {
                let mut names = Vec::new();
                for entry in fs::read_dir(at(&path))? {
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
        let root = self.root.clone();
        let work = tokio::task::spawn_blocking(move || match operation {
            DiskOperation::Sync(path) => sync(&root.join(path)),
            DiskOperation::Replace(path, content) => replace(&root.join(path), &content),
            other => Err(DiskError::Failed(format!("{other:?} cannot be put off"))),
        });
        async move {
            work.await
                .unwrap_or_else(|error| Err(DiskError::Failed(error.to_string())))
        }
    }

    fn append(&self, path: String, content: &[u8]) -> DiskResult {
        let mut appending = self.appending.borrow_mut();
        let file = match &mut *appending {
            Some((open, file)) if *open == path => file,
            other => {
                let place = self.root.join(&path);
                make_parent(&place)?;
                let file = OpenOptions::new().append(true).create(true).open(place)?;
                &mut other.insert((path, file)).1
            }
        };
        file.write_all(content)?;
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
