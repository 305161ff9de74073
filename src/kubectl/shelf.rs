//! A folder of backups on this machine. A file has its name only once it is whole, and on the disk.

use std::{
    fs::{self, File, TryLockError},
    io::{self, Write},
    num::NonZeroUsize,
    path::{Path, PathBuf},
};

use tempfile::NamedTempFile;

use super::Error;

/// Held by whoever writes here.
const LOCK: &str = ".lock";
/// How the name of a file begins that is not whole yet.
const PARTIAL: &str = ".partial-";
/// What stands between the time at which a snapshot was taken and the timestamp that it reaches (Memgraph's
/// `storage/v2/durability/paths.hpp`).
const BETWEEN: &str = "_timestamp_";

/// The folder, while nobody else writes to it.
pub(super) struct Shelf {
    folder: PathBuf,
    _lock: File,
}

/// A file that is being written. Dropped, it is gone.
pub(super) struct Part {
    file: NamedTempFile,
    size: u64,
}

fn failed(path: &Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::File { path, source }
}

impl Shelf {
    /// Opens the folder, which is made if it is not there, and takes away what an earlier call that was killed has left.
    ///
    /// # Errors
    /// When it cannot be written to, or another call writes to it.
    pub(super) fn open(folder: PathBuf) -> Result<Self, Error> {
        fs::create_dir_all(&folder).map_err(failed(&folder))?;
        let path = folder.join(LOCK);
        let lock = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .map_err(failed(&path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let folder = folder.display();
                return Err(Error::Usage(format!(
                    "another backup is being written to {folder}"
                )));
            }
            Err(TryLockError::Error(source)) => return Err(failed(&path)(source)),
        }
        let shelf = Self { folder, _lock: lock };
        for name in shelf.names()? {
            if name.starts_with(PARTIAL) {
                let path = shelf.folder.join(name);
                fs::remove_file(&path).map_err(failed(&path))?;
            }
        }
        Ok(shelf)
    }

    /// Begins a file.
    ///
    /// # Errors
    /// When it cannot be made.
    pub(super) fn begin(&self) -> Result<Part, Error> {
        let file = tempfile::Builder::new().prefix(PARTIAL).tempfile_in(&self.folder);
        let file = file.map_err(failed(&self.folder))?;
        Ok(Part { file, size: 0 })
    }

    /// Gives a file of `size` bytes its name.
    ///
    /// # Errors
    /// When it has another size, when that name cannot be one of a snapshot or is taken, or the disk fails. Nothing is left of it then.
    pub(super) fn keep(&self, part: Part, name: &str, size: u64) -> Result<PathBuf, Error> {
        let path = self.folder.join(name);
        if !is_snapshot(name) {
            return Err(Error::Usage(format!(
                "{name:?} is no name of a snapshot: it is not kept"
            )));
        }
        let Part { file, size: written } = part;
        if written != size {
            return Err(Error::Usage(format!(
                "{written} bytes of {size} have come of {name}: it is not kept"
            )));
        }
        file.as_file().sync_all().map_err(failed(&path))?;
        file.persist_noclobber(&path)
            .map_err(|refused| failed(&path)(refused.error))?;
        File::open(&self.folder)
            .and_then(|folder| folder.sync_all())
            .map_err(failed(&self.folder))?;
        Ok(path)
    }

    /// Deletes all snapshots but the newest ones. Returns the names of those that are gone, the oldest first.
    ///
    /// # Errors
    /// When one cannot be deleted.
    pub(super) fn keep_newest(&self, count: NonZeroUsize) -> Result<Vec<String>, Error> {
        let mut snapshots = self.names()?;
        snapshots.retain(|name| is_snapshot(name));
        // They begin with the time, in digits of one number.
        snapshots.sort_unstable();
        snapshots.truncate(snapshots.len().saturating_sub(count.get()));
        for name in &snapshots {
            let path = self.folder.join(name);
            fs::remove_file(&path).map_err(failed(&path))?;
        }
        Ok(snapshots)
    }

    /// The names of what is in the folder. What is no text is nothing of ours.
    fn names(&self) -> Result<Vec<String>, Error> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.folder).map_err(failed(&self.folder))? {
            let entry = entry.map_err(failed(&self.folder))?;
            names.extend(entry.file_name().into_string());
        }
        Ok(names)
    }
}

impl Part {
    /// Writes what comes next.
    ///
    /// # Errors
    /// When the disk does not take it.
    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let written = self.file.write_all(bytes);
        written.map_err(failed(self.file.path()))?;
        self.size += bytes.len() as u64;
        Ok(())
    }
}

/// Whether Memgraph calls a snapshot so.
fn is_snapshot(name: &str) -> bool {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    name.split_once(BETWEEN)
        .is_some_and(|(taken, reached)| digits(taken) && digits(reached))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: &str = "20261121101112000000_timestamp_9";
    const SECOND: &str = "20261122101112000000_timestamp_42";

    fn open(folder: &tempfile::TempDir) -> Shelf {
        Shelf::open(folder.path().join("graphs/demo")).unwrap()
    }

    fn put(shelf: &Shelf, name: &str) -> PathBuf {
        let mut part = shelf.begin().unwrap();
        part.write(b"snap").unwrap();
        part.write(b"shot").unwrap();
        shelf.keep(part, name, 8).unwrap()
    }

    fn snapshots(shelf: &Shelf) -> Vec<String> {
        let mut names = shelf.names().unwrap();
        names.retain(|name| name != LOCK);
        names.sort();
        names
    }

    #[test]
    fn a_file_has_its_name_when_it_is_whole() {
        let folder = tempfile::tempdir().unwrap();
        let shelf = open(&folder);
        let path = put(&shelf, FIRST);
        assert_eq!(fs::read(path).unwrap(), b"snapshot");
        assert_eq!(snapshots(&shelf), [FIRST]);
    }

    #[test]
    fn nothing_is_left_of_one_that_was_cut_short() {
        let folder = tempfile::tempdir().unwrap();
        let shelf = open(&folder);
        let mut part = shelf.begin().unwrap();
        part.write(b"snap").unwrap();
        let refused = shelf.keep(part, FIRST, 8).unwrap_err();
        let expected = format!("4 bytes of 8 have come of {FIRST}: it is not kept");
        assert_eq!(refused.to_string(), expected);
        assert!(snapshots(&shelf).is_empty());
    }

    #[test]
    fn what_a_call_has_left_that_was_killed_goes_and_its_lock_with_it() {
        let folder = tempfile::tempdir().unwrap();
        let shelf = open(&folder);
        put(&shelf, FIRST);
        let part = shelf.begin().unwrap();
        std::mem::forget(part);
        assert_eq!(snapshots(&shelf).len(), 2);
        drop(shelf);
        assert_eq!(snapshots(&open(&folder)), [FIRST]);
    }

    #[test]
    fn two_calls_do_not_write_to_one_folder() {
        let folder = tempfile::tempdir().unwrap();
        let _shelf = open(&folder);
        let refused = Shelf::open(folder.path().join("graphs/demo")).err().unwrap();
        assert!(
            refused
                .to_string()
                .starts_with("another backup is being written to"),
            "{refused}"
        );
    }

    #[test]
    fn what_is_there_is_not_overwritten_and_a_path_is_no_name() {
        let folder = tempfile::tempdir().unwrap();
        let shelf = open(&folder);
        put(&shelf, FIRST);
        for name in [
            FIRST,
            "../1_timestamp_2",
            "1_timestamp_",
            "1_timestamp_2.part",
            ".lock",
        ] {
            let part = shelf.begin().unwrap();
            assert!(shelf.keep(part, name, 0).is_err(), "{name}");
        }
        assert_eq!(fs::read(shelf.folder.join(FIRST)).unwrap(), b"snapshot");
        assert_eq!(snapshots(&shelf), [FIRST]);
    }

    #[test]
    fn the_newest_stay_and_so_does_what_is_no_snapshot() {
        let folder = tempfile::tempdir().unwrap();
        let shelf = open(&folder);
        let third = "20261123101112000000_timestamp_7";
        for name in [SECOND, third, FIRST] {
            put(&shelf, name);
        }
        fs::write(shelf.folder.join("README"), "").unwrap();
        let two = NonZeroUsize::new(2).unwrap();
        assert_eq!(shelf.keep_newest(two).unwrap(), [FIRST]);
        assert_eq!(snapshots(&shelf), [SECOND, third, "README"]);
        assert!(shelf.keep_newest(two).unwrap().is_empty());
    }
}
