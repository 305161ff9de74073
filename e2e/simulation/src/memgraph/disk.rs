//! A volume's content, and what a power loss would leave of it.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

use memgraph_sim::{
    config::Config,
    durability::inspect,
    engine::{DiskError, DiskOperation, DiskReply, Effect, Engine, Event, Time},
};
use rand::{SeedableRng as _, rngs::StdRng};

/// How long the kernel may keep what was written before the disk has it, unless somebody syncs it
/// (`vm.dirty_expire_centisecs`).
const WRITE_BACK: Duration = Duration::from_secs(30);

/// How often the kernel looks for what is as old as that (`vm.dirty_writeback_centisecs`).
const FLUSHER: Duration = Duration::from_secs(5);

/// Folders of small state files. Memgraph keeps them in RocksDB and writes with its defaults, which do not sync
/// (`rocksdb::WriteOptions()` in `src/kvstore/kvstore.cpp`): they outlive a kill, but not always a power loss.
const STATE_FOLDERS: [&str; 4] = ["auth/", "databases/", "replication/", "settings/"];

/// The folder of the log.
const LOG: &str = "wal";

#[derive(Debug, Clone, Default)]
struct File {
    content: Vec<u8>,
    /// How much of it is on the disk; `None` if not even its name is.
    synced: Option<usize>,
    /// How long it was when so much of it had been written, oldest first: what the kernel has not been told to sync.
    written: VecDeque<(usize, Time)>,
    /// What a state file held before, and since when it does not.
    before: Option<(Option<Vec<u8>>, Time)>,
    /// The log's last transaction, where the process that has written it was killed before the disk had confirmed it: nobody will
    /// sync it, and the next process goes on in a file of its own.
    left: Option<u64>,
}

impl File {
    fn append(&mut self, content: &[u8], now: Time) {
        self.write_back(now);
        self.content.extend_from_slice(content);
        let length = self.content.len();
        match self.written.back_mut() {
            // Nothing comes of it sooner than of what was written before.
            Some((last, since)) if now < *since + FLUSHER => *last = length,
            _ => self.written.push_back((length, now)),
        }
    }

    /// The kernel writes what is old enough, whoever has written it and whether that still lives.
    fn write_back(&mut self, now: Time) {
        while let Some((length, since)) = self.written.front().copied()
            && since + FLUSHER + WRITE_BACK + FLUSHER <= now
        {
            self.has_synced(length);
        }
    }

    fn has_synced(&mut self, length: usize) {
        self.synced = self.synced.max(Some(length));
        self.written.retain(|(written, _)| *written > length);
    }

    /// The timestamps that a log file has committed transactions of.
    fn committed(&self, length: usize) -> Vec<u64> {
        let log = inspect::log(&self.content[..length.min(self.content.len())]);
        log.map(|log| log.committed).unwrap_or_default()
    }
}

/// Files by path.
#[derive(Debug, Clone, Default)]
pub struct Disk {
    files: BTreeMap<String, File>,
    /// Transactions, by commit timestamp, that a killed process had left to the kernel and that a power loss took.
    taken: BTreeSet<u64>,
}

impl Disk {
    /// Does something that takes effect at once. A sync tells how much was there when it began; whoever asked for it
    /// says by [`synced`](Self::synced) that it has ended.
    pub(super) fn perform(&mut self, operation: DiskOperation, now: Time) -> Result<DiskReply, DiskError> {
        match operation {
            DiskOperation::Append(path, content) => {
                self.files.entry(path).or_default().append(&content, now);
            }
            DiskOperation::Replace(path, content) => {
                let is_state = STATE_FOLDERS.iter().any(|folder| path.starts_with(folder));
                let synced = Some(content.len());
                let file = self.files.entry(path).or_insert_with(|| File {
                    // It is new: nothing of it may be left.
                    synced: None,
                    ..File::default()
                });
                if is_state {
                    let old = file.synced.map(|_| std::mem::take(&mut file.content));
                    // Within the time of the write-back it is the oldest content that may come back.
                    match &file.before {
                        Some((_, since)) if now < *since + WRITE_BACK => {}
                        _ => file.before = Some((old, now)),
                    }
                }
                file.content = content;
                file.synced = synced;
                file.written.clear();
            }
            DiskOperation::Sync { .. } => {}
            DiskOperation::Rename(from, to) => self.rename(&from, &to)?,
            DiskOperation::Remove(path) => self.remove(&path),
            DiskOperation::Read(path) => {
                let file = self.files.get(&path).ok_or(DiskError::Missing)?;
                return Ok(DiskReply::Content(file.content.clone()));
            }
            DiskOperation::List(folder) => return Ok(DiskReply::Names(self.list(&folder))),
        }
        Ok(DiskReply::Done)
    }

    /// How long a file is.
    pub(super) fn length(&self, path: &str) -> usize {
        self.files.get(path).map_or(0, |file| file.content.len())
    }

    /// A sync has ended that began when the file was this long.
    pub(super) fn synced(&mut self, path: &str, length: usize) {
        if let Some(file) = self.files.get_mut(path) {
            file.has_synced(length.min(file.content.len()));
        }
    }

    /// The process that waited for this sync was killed.
    pub(super) fn left_unsynced(&mut self, path: &str, length: usize) {
        if let Some(file) = self.files.get_mut(path)
            && file.synced.unwrap_or(0) < length
        {
            file.left = file.committed(length).last().copied();
        }
    }

    /// Whether a power loss took a transaction of this commit timestamp that a killed process had left to the kernel.
    pub(super) fn has_lost(&self, timestamp: u64) -> bool {
        self.taken.contains(&timestamp)
    }

    fn rename(&mut self, from: &str, to: &str) -> Result<(), DiskError> {
        if let Some(file) = self.files.remove(from) {
            self.files.insert(to.to_owned(), file);
            return Ok(());
        }
        let folder = format!("{from}/");
        let moved: Vec<_> = self
            .files
            .extract_if(folder.clone().., |path, _| path.starts_with(&folder))
            .collect();
        if moved.is_empty() {
            return Err(DiskError::Missing);
        }
        for (path, file) in moved {
            self.files.insert(format!("{to}{}", &path[from.len()..]), file);
        }
        Ok(())
    }

    /// The names of a folder's files, in order.
    pub fn list(&self, folder: &str) -> Vec<String> {
        let prefix = format!("{folder}/");
        let inside = self.files.range(prefix.clone()..).map(|(path, _)| path.as_str());
        inside
            .map_while(|path| path.strip_prefix(&prefix))
            .filter(|name| !name.contains('/'))
            .map(str::to_owned)
            .collect()
    }

    /// A file's content.
    pub fn content(&self, path: &str) -> Option<&[u8]> {
        self.files.get(path).map(|file| file.content.as_slice())
    }

    /// Whether there is no file.
    pub fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// Puts a file in place; it is synced.
    pub fn put(&mut self, path: &str, content: Vec<u8>) {
        let file = File {
            synced: Some(content.len()),
            content,
            ..File::default()
        };
        self.files.insert(path.to_owned(), file);
    }

    /// Removes a file, or a folder with all that is in it.
    pub fn remove(&mut self, path: &str) {
        let folder = format!("{path}/");
        self.files
            .retain(|known, _| known != path && !known.starts_with(&folder));
        self.forget(path);
    }

    /// Without its log the data is another's.
    fn forget(&mut self, path: &str) {
        if path == LOG {
            self.taken.clear();
        }
    }

    /// Moves a folder's content into another folder, as a reset sets `wal` and `snapshots` aside.
    pub fn move_folder(&mut self, from: &str, to: &str) {
        // A folder that is not there has nothing to move.
        let _ = self.rename(from, to);
        self.forget(from);
    }

    /// What a power loss at `now` does: of what was not synced a part stays that `random` chooses, and state files
    /// that are younger than the kernel's write-back may be as they were before. All that is left is on the disk
    /// from then on.
    pub(super) fn lose_power(&mut self, now: Time, random: &mut fastrand::Rng) {
        let taken = &mut self.taken;
        self.files.retain(|path, file| {
            if let Some((before, since)) = file.before.take()
                && now < since + WRITE_BACK
                && random.bool()
            {
                let Some(before) = before else { return false };
                file.content = before;
                file.synced = Some(file.content.len());
                tracing::debug!(path, "the power loss took a state file's new content");
            }
            file.write_back(now);
            let synced = file.synced.unwrap_or(0);
            // Mostly nothing or everything, sometimes a torn record.
            let unsynced = file.content.len() - synced;
            let kept = match random.u8(..4) {
                0 | 1 => 0,
                2 => unsynced,
                _ => random.usize(..=unsynced),
            };
            let there = file.synced.is_some() || kept > 0;
            let left = file.left.take();
            file.content.truncate(synced + kept);
            if let Some(left) = left.filter(|left| !file.committed(usize::MAX).contains(left)) {
                tracing::debug!(
                    path,
                    left,
                    "the power loss took what a killed process had left to the kernel"
                );
                taken.insert(left);
            }
            file.synced = Some(file.content.len());
            file.written.clear();
            there
        });
    }

    /// Starts an engine on this disk that talks to nobody, until it has recovered what is there; `None` if it cannot.
    pub(super) fn recover(&mut self, config: Config, now: Time) -> Option<Engine> {
        let mut engine = Engine::new(config, Box::new(StdRng::seed_from_u64(0)));
        let mut now = now;
        engine.advance(now);
        loop {
            let effects = engine.take_effects();
            if effects.is_empty() {
                // It waits for replicas that it cannot reach.
                now = engine.next_deadline()?.max(now);
                engine.advance(now);
                continue;
            }
            for effect in effects {
                match effect {
                    Effect::Ready => return Some(engine),
                    Effect::Exit(_) => return None,
                    Effect::Listen(token, _) => engine.handle(now, Event::Listening(token, true)),
                    Effect::Connect(id, _) => engine.handle(now, Event::Disconnected(id)),
                    Effect::Disk(token, operation) => {
                        let result = self.perform(operation, now);
                        if let Some(token) = token {
                            engine.handle(now, Event::Disk(token, result));
                        }
                    }
                    _ => {}
                }
            }
        }
    }

    /// What a power loss would leave at the least.
    pub(super) fn synced_part(&self) -> Self {
        let mut left = self.clone();
        left.files.retain(|_, file| {
            file.content.truncate(file.synced.unwrap_or(0));
            file.synced.is_some()
        });
        left
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn append(disk: &mut Disk, path: &str, text: &str) {
        let operation = DiskOperation::Append(path.to_owned(), text.as_bytes().to_vec());
        disk.perform(operation, Time::ZERO).unwrap();
    }

    fn replace(disk: &mut Disk, path: &str, text: &str, at: u64) {
        let operation = DiskOperation::Replace(path.to_owned(), text.as_bytes().to_vec());
        disk.perform(operation, Duration::from_secs(at)).unwrap();
    }

    #[test]
    fn what_was_synced_outlives_a_power_loss() {
        for seed in 0..20 {
            let mut disk = Disk::default();
            append(&mut disk, "wal/a", "kept");
            disk.synced("wal/a", 4);
            append(&mut disk, "wal/a", "+tail");
            append(&mut disk, "wal/b", "new");
            disk.lose_power(Time::ZERO, &mut fastrand::Rng::with_seed(seed));
            let left = disk.content("wal/a").unwrap();
            assert!(left.starts_with(b"kept") && b"kept+tail".starts_with(left));
            let new = disk.content("wal/b").unwrap_or(b"new");
            assert!(!new.is_empty() && b"new".starts_with(new));
        }
    }

    #[test]
    fn what_is_old_was_written_by_the_kernel() {
        for seed in 0..20 {
            let mut disk = Disk::default();
            for at in [0, 3, 20] {
                let operation = DiskOperation::Append("wal/a".to_owned(), b"+".to_vec());
                disk.perform(operation, Duration::from_secs(at)).unwrap();
            }
            let mut late = disk.clone();
            disk.lose_power(Duration::from_secs(40), &mut fastrand::Rng::with_seed(seed));
            let left = disk.content("wal/a").unwrap();
            assert!(left.len() >= 2, "{left:?}");
            late.lose_power(Duration::from_secs(60), &mut fastrand::Rng::with_seed(seed));
            assert_eq!(late.content("wal/a").unwrap().len(), 3);
        }
    }

    #[test]
    fn young_state_files_may_be_as_before() {
        let mut seen = std::collections::BTreeSet::new();
        for seed in 0..40 {
            let mut disk = Disk::default();
            replace(&mut disk, "replication/state.json", "old", 0);
            replace(&mut disk, "replication/state.json", "newer", 40);
            replace(&mut disk, "replication/state.json", "newest", 50);
            let mut random = fastrand::Rng::with_seed(seed);
            let mut late = disk.clone();
            disk.lose_power(Duration::from_secs(60), &mut random);
            seen.insert(disk.content("replication/state.json").unwrap().to_vec());
            late.lose_power(Duration::from_secs(90), &mut random);
            assert_eq!(late.content("replication/state.json"), Some(&b"newest"[..]));
        }
        assert_eq!(seen.len(), 2);
    }

    #[test]
    fn folders_move_with_their_files() {
        let mut disk = Disk::default();
        append(&mut disk, "wal/a", "1");
        append(&mut disk, "wal-b", "2");
        disk.move_folder("wal", "aside/wal");
        assert_eq!(disk.list("aside/wal"), ["a"]);
        assert_eq!(disk.list("wal"), Vec::<String>::new());
        assert!(disk.content("wal-b").is_some());
        disk.remove("aside");
        assert!(disk.content("aside/wal/a").is_none());
    }
}
