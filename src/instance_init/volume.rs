//! The files on an instance's volume.
//!
//! Data is set aside by renaming two folders of it, `snapshots` and `wal`, into a new one on the same volume: nothing is
//! copied. `replication` and the settings stay. Until both are moved the new folder has the ending `.partial`, so that a
//! move which was broken off is seen, and finished before Memgraph starts.

use std::{
    fs::{self, File, Metadata},
    io::{self, ErrorKind, Write},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use rustix::{
    fs::{FlockOperation, fcntl_lock},
    io::Errno,
};

use crate::api::{ledger::ResetOrder, names};

/// What Memgraph recovers its data from.
const FOLDERS: [&str; 2] = ["snapshots", "wal"];
/// The ending of a folder while data is being moved into it.
const PARTIAL: &str = ".partial";
/// The ending of a folder that is never deleted to make room.
const KEPT: &str = "-keep";
/// The file with the tokens of the orders that were obeyed, one a line.
const OBEYED: &str = "obeyed";
/// The file with the name of the volume.
const NAME: &str = "volume";
/// So many folders stay that are not kept for ever.
const REMAINING: usize = 2;
/// What the system counts the room of a file in, in bytes (`st_blocks` of stat(2)).
const BLOCK: u64 = 512;

/// A file could not be read, written or moved.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} {}", .path.display())]
pub struct VolumeError {
    action: &'static str,
    path: PathBuf,
    source: io::Error,
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> VolumeError {
    let path = path.to_owned();
    move |source| VolumeError { action, path, source }
}

/// Memgraph's lock on its data directory (`AcquireLock` in its `utils/file.cpp`: a POSIX record lock on the whole file,
/// which the kernel keeps between processes of all pods). Nobody else has the data open while this is held.
#[derive(Debug)]
pub struct DataLock {
    _file: Option<File>,
}

/// The file that Memgraph locks.
const LOCK: &str = ".lock";

/// The volume of one instance.
#[derive(Clone, Debug)]
pub struct DataVolume {
    mount: PathBuf,
    data: PathBuf,
    aside: PathBuf,
}

impl DataVolume {
    /// The volume at this mount point, with Memgraph's data directory on it.
    #[must_use]
    pub fn new(mount: &Path, data: &Path) -> Self {
        Self {
            mount: mount.to_owned(),
            data: data.to_owned(),
            aside: mount.join(names::SET_ASIDE),
        }
    }

    /// Takes Memgraph's lock on the data, if nobody has it. A pod that was deleted by force may live on with its data open.
    ///
    /// # Errors
    /// When the file system fails.
    pub fn lock(&self) -> Result<Option<DataLock>, VolumeError> {
        if !self.data.exists() {
            return Ok(Some(DataLock { _file: None }));
        }
        let path = self.data.join(LOCK);
        let file = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .map_err(failed("open", &path))?;
        match fcntl_lock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(DataLock { _file: Some(file) })),
            Err(Errno::AGAIN | Errno::ACCESS) => Ok(None),
            Err(error) => Err(failed("lock", &path)(error.into())),
        }
    }

    /// The tokens of the orders that were obeyed here.
    ///
    /// # Errors
    /// When the file system fails.
    pub fn obeyed(&self) -> Result<Vec<String>, VolumeError> {
        let path = self.aside.join(OBEYED);
        match fs::read_to_string(&path) {
            Ok(text) => Ok(text.lines().map(str::to_owned).collect()),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => Err(failed("read", &path)(error)),
        }
    }

    /// The name of this volume: the one that lies on it, or else `new`, which lies on it from now on, also after a loss of power.
    ///
    /// # Errors
    /// When the file system fails.
    pub fn name(&self, new: &str) -> Result<String, VolumeError> {
        let path = self.aside.join(NAME);
        match fs::read_to_string(&path) {
            Ok(name) => return Ok(name),
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(failed("read", &path)(error)),
        }
        fs::create_dir_all(&self.aside).map_err(failed("make", &self.aside))?;
        write_synced(&path, new)?;
        sync(&self.mount)?;
        Ok(new.to_owned())
    }

    /// Whether there is no data to recover from.
    ///
    /// # Errors
    /// When the file system fails.
    pub fn is_empty(&self) -> Result<bool, VolumeError> {
        Ok(self.size()? == 0)
    }

    /// The size of the data, in bytes.
    fn size(&self) -> Result<u64, VolumeError> {
        let mut sum = 0;
        for folder in FOLDERS {
            sum += size_of(&self.data.join(folder))?;
        }
        Ok(sum)
    }

    /// Deletes older folders so that not too many remain, and so that there is room for the data to come from MAIN,
    /// which is taken to be as large as what is here. Inside, says why there is no room, even without them: then none is deleted.
    ///
    /// # Errors
    /// When the file system fails.
    pub fn make_room(&self) -> Result<Result<(), String>, VolumeError> {
        let mut older = self.folders()?;
        older.retain(|path| !path.to_string_lossy().ends_with(KEPT));
        let mut sizes = Vec::with_capacity(older.len());
        for folder in &older {
            sizes.push(space_of(folder)?);
        }
        let needed = self.size()?;
        let free = self.free()?;
        let Some(expendable) = how_many_make_room(free, needed, &sizes) else {
            let mebibytes = |bytes: u64| bytes.div_ceil(1 << 20);
            return Ok(Err(format!(
                "{} MiB are free and about {} MiB are needed: delete folders in {} that are not needed any more, or \
                 enlarge the volume, and delete this pod",
                mebibytes(free),
                mebibytes(needed),
                self.aside.display()
            )));
        };
        for oldest in &older[..expendable] {
            tracing::info!(folder = %oldest.display(), "deleting data that was set aside");
            fs::remove_dir_all(oldest).map_err(failed("delete", oldest))?;
        }
        Ok(Ok(()))
    }

    /// Bytes that are free on the volume.
    fn free(&self) -> Result<u64, VolumeError> {
        let measured = rustix::fs::statvfs(&self.mount);
        let stat = measured.map_err(|error| failed("measure", &self.mount)(error.into()))?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }

    /// The folders with data that was set aside, oldest first.
    fn folders(&self) -> Result<Vec<PathBuf>, VolumeError> {
        let entries = match fs::read_dir(&self.aside) {
            Ok(entries) => entries,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(failed("read", &self.aside)(error)),
        };
        let mut folders = Vec::new();
        for entry in entries {
            let path = entry.map_err(failed("read", &self.aside))?.path();
            if path.is_dir() {
                folders.push(path);
            }
        }
        // Their names begin with the time.
        folders.sort();
        Ok(folders)
    }

    /// Moves the data into a folder of its own and records the order. Returns the folder.
    ///
    /// # Errors
    /// When the file system fails. What was begun is finished by [`Self::finish`].
    pub fn set_aside(&self, order: &ResetOrder) -> Result<PathBuf, VolumeError> {
        let folder = self.aside.join(order.folder());
        let mut partial = folder.clone().into_os_string();
        partial.push(PARTIAL);
        let partial = PathBuf::from(partial);
        fs::create_dir_all(&partial).map_err(failed("make", &partial))?;
        let token = partial.join(OBEYED);
        write_synced(&token, &order.token)?;
        sync(&self.aside)?;
        self.move_into(&partial, &order.token)?;
        Ok(folder)
    }

    /// Finishes a move that was broken off; returns the token of its order.
    ///
    /// # Errors
    /// When the file system fails.
    pub fn finish(&self) -> Result<Option<String>, VolumeError> {
        let partial = self
            .folders()?
            .into_iter()
            .find(|path| path.to_string_lossy().ends_with(PARTIAL));
        let Some(partial) = partial else { return Ok(None) };
        let token = partial.join(OBEYED);
        let token = match fs::read_to_string(&token) {
            Ok(text) if !text.is_empty() => text,
            // Nothing was moved before the token was there.
            Ok(_) => return self.abandon(&partial),
            Err(error) if error.kind() == ErrorKind::NotFound => return self.abandon(&partial),
            Err(error) => return Err(failed("read", &token)(error)),
        };
        self.move_into(&partial, &token)?;
        Ok(Some(token))
    }

    fn abandon(&self, partial: &Path) -> Result<Option<String>, VolumeError> {
        fs::remove_dir_all(partial).map_err(failed("delete", partial))?;
        Ok(None)
    }

    fn move_into(&self, partial: &Path, token: &str) -> Result<(), VolumeError> {
        for name in FOLDERS {
            let (from, to) = (self.data.join(name), partial.join(name));
            // What was moved before the interruption is there already, and its empty successor here.
            if to.exists() || !from.exists() {
                continue;
            }
            fs::rename(&from, &to).map_err(failed("move", &from))?;
        }
        for name in FOLDERS {
            let (moved, anew) = (partial.join(name), self.data.join(name));
            if moved.exists() && !anew.exists() {
                fs::create_dir(&anew).map_err(failed("make", &anew))?;
                let permissions = fs::metadata(&moved)
                    .map_err(failed("read", &moved))?
                    .permissions();
                fs::set_permissions(&anew, permissions).map_err(failed("set the permissions of", &anew))?;
            }
        }
        sync(partial)?;
        if self.data.exists() {
            sync(&self.data)?;
        }
        let mut obeyed = self.obeyed()?;
        if !obeyed.iter().any(|known| known == token) {
            obeyed.push(token.to_owned());
        }
        write_synced(&self.aside.join(OBEYED), &obeyed.join("\n"))?;
        let folder = partial.with_extension("");
        fs::rename(partial, &folder).map_err(failed("rename", partial))?;
        sync(&self.aside)
    }
}

/// How many folders of these sizes are to go, the first ones first, so that not too many remain and so much is free; None: it would not be,
/// even without all of them.
///
/// What is free is not measured again after each: a file system may tell late of what was freed, and nothing more is to go for that.
pub(super) fn how_many_make_room(mut free: u64, needed: u64, sizes: &[u64]) -> Option<usize> {
    let mut gone = 0;
    while free < needed || sizes.len() - gone >= REMAINING {
        free = free.saturating_add(*sizes.get(gone)?);
        gone += 1;
    }
    Some(gone)
}

/// Writes a file that is there as a whole or not at all, also after a loss of power.
fn write_synced(path: &Path, text: &str) -> Result<(), VolumeError> {
    let new = path.with_extension("new");
    let written = File::create(&new).and_then(|mut file| {
        file.write_all(text.as_bytes())?;
        file.sync_all()
    });
    written.map_err(failed("write", &new))?;
    fs::rename(&new, path).map_err(failed("rename", &new))?;
    path.parent().map_or(Ok(()), sync)
}

fn sync(folder: &Path) -> Result<(), VolumeError> {
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(failed("sync", folder))
}

/// The sum of the lengths of all files in a folder.
fn size_of(path: &Path) -> Result<u64, VolumeError> {
    sum_of(path, Metadata::len)
}

/// What is free once a folder is deleted, as far as its files have it: a file with holes is longer than that.
fn space_of(path: &Path) -> Result<u64, VolumeError> {
    sum_of(path, |file| file.blocks().saturating_mul(BLOCK))
}

fn sum_of(path: &Path, measure: fn(&Metadata) -> u64) -> Result<u64, VolumeError> {
    let entries = match fs::read_dir(path) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(0),
        Err(error) => return Err(failed("read", path)(error)),
    };
    let mut sum = 0;
    for entry in entries {
        let entry = entry.map_err(failed("read", path))?;
        let metadata = entry.metadata().map_err(failed("read", path))?;
        sum += if metadata.is_dir() {
            sum_of(&entry.path(), measure)?
        } else {
            measure(&metadata)
        };
    }
    Ok(sum)
}
