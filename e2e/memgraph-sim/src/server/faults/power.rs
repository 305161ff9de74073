//! What a power loss takes.

use std::{
    collections::BTreeMap,
    fs::{self, OpenOptions},
    io,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

/// How much of a file there is.
#[derive(Debug)]
struct Extent {
    written: u64,
    /// How much of it is on the disk; `None` if not even its name is.
    synced: Option<u64>,
}

/// Keeps account of what was written and synced, since this process runs; what it found counts as synced.
///
/// Only files that grow are in it. A file that was put in place as a whole is there whole after a power loss, which
/// is what its users expect of renaming.
pub(in super::super) struct Ledger {
    data: PathBuf,
    files: BTreeMap<String, Arc<Mutex<Extent>>>,
}

impl Ledger {
    pub(super) fn new(data: PathBuf) -> Self {
        Self {
            data,
            files: BTreeMap::new(),
        }
    }

    /// A file is opened to be written at its end.
    pub(in super::super) fn opened(&mut self, path: &str) {
        if !self.files.contains_key(path) {
            let found = fs::metadata(self.data.join(path)).ok().map(|found| found.len());
            let extent = Extent {
                written: found.unwrap_or(0),
                synced: found,
            };
            self.files.insert(path.to_owned(), Arc::new(Mutex::new(extent)));
        }
    }

    /// Bytes were added to a file that was [`opened`](Self::opened).
    pub(in super::super) fn appended(&self, path: &str, length: usize) {
        if let Some(extent) = self.files.get(path) {
            extent.lock().unwrap_or_else(PoisonError::into_inner).written += length as u64;
        }
    }

    /// A file is put in place as a whole, or a file or folder is removed.
    pub(in super::super) fn forget(&mut self, path: &str) {
        self.files.retain(|known, _| below(known, path).is_none());
    }

    /// A file or folder has got another name.
    pub(in super::super) fn renamed(&mut self, from: &str, to: &str) {
        let moved: Vec<_> = self
            .files
            .extract_if(.., |known, _| below(known, from).is_some())
            .collect();
        self.forget(to);
        for (path, extent) in moved {
            let rest = below(&path, from).unwrap_or_default();
            self.files.insert(format!("{to}{rest}"), extent);
        }
    }

    /// A sync of a file begins.
    pub(in super::super) fn sync(&self, path: &str) -> Option<PendingSync> {
        let extent = Arc::clone(self.files.get(path)?);
        let length = extent.lock().unwrap_or_else(PoisonError::into_inner).written;
        Some(PendingSync { extent, length })
    }

    /// Takes from all files what was not synced. Returns how many bytes that is.
    pub(super) fn lose(&self) -> io::Result<u64> {
        let mut lost = 0;
        for (path, extent) in &self.files {
            let path = self.data.join(path);
            let extent = extent.lock().unwrap_or_else(PoisonError::into_inner);
            let length = match fs::metadata(&path) {
                Ok(found) => found.len(),
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            lost += length.saturating_sub(extent.synced.unwrap_or(0));
            match extent.synced {
                Some(synced) if synced < length => {
                    OpenOptions::new().write(true).open(path)?.set_len(synced)?
                }
                Some(_) => {}
                None => fs::remove_file(path)?,
            }
        }
        Ok(lost)
    }
}

/// What of `path` follows `folder`: nothing if it is the same, else with a slash. `None` if it is elsewhere.
fn below<'a>(path: &'a str, folder: &str) -> Option<&'a str> {
    path.strip_prefix(folder)
        .filter(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// A sync under way.
pub(in super::super) struct PendingSync {
    extent: Arc<Mutex<Extent>>,
    length: u64,
}

impl PendingSync {
    /// It has succeeded: what was there when it began is on the disk, whatever the file's name is by now.
    pub(in super::super) fn succeeded(self) {
        let mut extent = self.extent.lock().unwrap_or_else(PoisonError::into_inner);
        extent.synced = extent.synced.max(Some(self.length));
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("memgraph-sim-power-{}-{name}", std::process::id()));
            fs::create_dir_all(path.join("wal")).unwrap();
            Self(path)
        }

        fn append(&self, ledger: &mut Ledger, path: &str, text: &str) {
            ledger.opened(path);
            let place = self.0.join(path);
            let mut file = OpenOptions::new().append(true).create(true).open(place).unwrap();
            file.write_all(text.as_bytes()).unwrap();
            ledger.appended(path, text.len());
        }

        fn read(&self, path: &str) -> Option<String> {
            fs::read_to_string(self.0.join(path)).ok()
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn what_was_synced_or_found_stays() {
        let folder = Folder::new("tail");
        fs::write(folder.0.join("wal/found"), "found").unwrap();
        let mut ledger = Ledger::new(folder.0.clone());
        folder.append(&mut ledger, "wal/found", "+lost");
        folder.append(&mut ledger, "wal/new", "lost");
        folder.append(&mut ledger, "wal/synced", "kept");
        let sync = ledger.sync("wal/synced").unwrap();
        folder.append(&mut ledger, "wal/synced", "+lost");
        fs::rename(folder.0.join("wal/synced"), folder.0.join("wal/renamed")).unwrap();
        ledger.renamed("wal/synced", "wal/renamed");
        sync.succeeded();
        assert_eq!(ledger.lose().unwrap(), 5 + 4 + 5);
        assert_eq!(folder.read("wal/found").unwrap(), "found");
        assert_eq!(folder.read("wal/new"), None);
        assert_eq!(folder.read("wal/renamed").unwrap(), "kept");
    }

    #[test]
    fn folders_take_their_files_along() {
        let folder = Folder::new("folder");
        let mut ledger = Ledger::new(folder.0.clone());
        folder.append(&mut ledger, "wal/a", "lost");
        folder.append(&mut ledger, "wal-b", "lost");
        fs::rename(folder.0.join("wal"), folder.0.join("old")).unwrap();
        ledger.renamed("wal", "old");
        ledger.forget("wal-b");
        assert_eq!(ledger.lose().unwrap(), 4);
        assert_eq!(folder.read("old/a"), None);
        assert_eq!(folder.read("wal-b").unwrap(), "lost");
    }
}
