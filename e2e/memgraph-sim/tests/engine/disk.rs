//! A disk that knows what a power loss would take.

use std::{collections::BTreeMap, time::Duration};

use memgraph_sim::engine::{DiskError, DiskOperation, DiskReply};

#[derive(Debug, Clone, Default)]
struct File {
    content: Vec<u8>,
    /// What a power loss leaves; `None` for a file that would vanish.
    synced: Option<Vec<u8>>,
}

/// Files by path.
#[derive(Debug, Clone, Default)]
pub struct Disk {
    files: BTreeMap<String, File>,
    /// The next sync fails.
    pub fail_next_sync: bool,
    /// How long it takes to write a snapshot.
    pub slow_snapshots: Duration,
    /// The next time that a file is put in place whose path starts so fails.
    pub fail_next_write: Option<String>,
}

impl Disk {
    pub fn perform(&mut self, operation: DiskOperation) -> Result<DiskReply, DiskError> {
        match operation {
            DiskOperation::Append(path, content) => {
                self.files.entry(path).or_default().content.extend(content);
            }
            DiskOperation::Replace(path, content) => {
                if self
                    .fail_next_write
                    .take_if(|wanted| path.starts_with(wanted.as_str()))
                    .is_some()
                {
                    return Err(DiskError::Failed("injected".into()));
                }
                // State files are not synced by Memgraph, either; but here a rename is what it promises to be.
                let file = self.files.entry(path).or_default();
                file.content = content;
                file.synced = Some(file.content.clone());
            }
            DiskOperation::Sync { path, .. } => {
                if std::mem::take(&mut self.fail_next_sync) {
                    return Err(DiskError::Failed("Input/output error (5)".into()));
                }
                if let Some(file) = self.files.get_mut(&path) {
                    file.synced = Some(file.content.clone());
                }
            }
            DiskOperation::Rename(from, to) => {
                let folder = format!("{from}/");
                let moved: Vec<_> = self
                    .files
                    .keys()
                    .filter(|path| **path == from || path.starts_with(&folder))
                    .cloned()
                    .collect();
                if moved.is_empty() {
                    return Err(DiskError::Missing);
                }
                for path in moved {
                    let file = self.files.remove(&path).unwrap();
                    self.files.insert(format!("{to}{}", &path[from.len()..]), file);
                }
            }
            DiskOperation::Remove(path) => self.remove(&path),
            DiskOperation::Read(path) => {
                let file = self.files.get(&path).ok_or(DiskError::Missing)?;
                return Ok(DiskReply::Content(file.content.clone()));
            }
            DiskOperation::List(folder) => return Ok(DiskReply::Names(self.list(&folder))),
        }
        Ok(DiskReply::Done)
    }

    /// The files of a folder.
    pub fn list(&self, folder: &str) -> Vec<String> {
        let prefix = format!("{folder}/");
        let names = self.files.keys().filter_map(|path| path.strip_prefix(&prefix));
        names
            .filter(|name| !name.contains('/'))
            .map(str::to_owned)
            .collect()
    }

    /// The folders in a folder.
    pub fn folders(&self, folder: &str) -> Vec<String> {
        let prefix = format!("{folder}/");
        let names = self.files.keys().filter_map(|path| path.strip_prefix(&prefix));
        let mut folders: Vec<_> = names
            .filter_map(|name| Some(name.split_once('/')?.0.to_owned()))
            .collect();
        folders.dedup();
        folders
    }

    /// Removes a file or a folder.
    pub fn remove(&mut self, path: &str) {
        let folder = format!("{path}/");
        self.files
            .retain(|known, _| known != path && !known.starts_with(&folder));
    }

    /// Puts a folder of another disk in the place of its own.
    pub fn take_folder(&mut self, other: &Self, folder: &str) {
        self.remove(folder);
        let prefix = format!("{folder}/");
        let files = other.files.iter().filter(|(path, _)| path.starts_with(&prefix));
        self.files
            .extend(files.map(|(path, file)| (path.clone(), file.clone())));
    }

    /// Removes everything.
    pub fn wipe(&mut self) {
        self.files.clear();
    }

    /// What a power loss does.
    pub fn lose_unsynced(&mut self) {
        self.files.retain(|_, file| {
            file.content = file.synced.clone().unwrap_or_default();
            file.synced.is_some()
        });
    }

    /// What a power loss can do as well: `choose` says how many of a file's unsynced bytes are left.
    pub fn lose_part_of_unsynced(&mut self, mut choose: impl FnMut(usize) -> usize) {
        self.files.retain(|_, file| {
            let synced = file.synced.as_ref().map_or(0, Vec::len);
            let left = choose(file.content.len() - synced);
            file.content.truncate(synced + left);
            let there = file.synced.is_some() || left > 0;
            // From now on it is on the disk.
            file.synced = Some(file.content.clone());
            there
        });
    }
}
