//! The log file: one a day, old ones removed, as spdlog's `daily_file_sink` does it.

use std::{
    collections::VecDeque,
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use jiff::{ToSpan as _, Zoned, civil::Date};

/// A log file that changes its name every day, at the time of day at which it was opened.
pub(in crate::server) struct DailyFile {
    path: PathBuf,
    file: File,
    next: Zoned,
    /// The files that are kept, the oldest first.
    kept: VecDeque<PathBuf>,
    retention: usize,
}

impl DailyFile {
    /// Opens the file of today. `retention` is how many files are kept.
    pub(in crate::server) fn open(path: &Path, retention: usize) -> io::Result<Self> {
        let now = Zoned::now();
        let today = file_of(path, now.date());
        let file = append(&today)?;
        let mut kept = VecDeque::from([today]);
        let mut date = now.date();
        while kept.len() < retention
            && let Ok(before) = date.yesterday()
            && let older = file_of(path, before)
            && older.exists()
        {
            date = before;
            kept.push_front(older);
        }
        Ok(Self {
            path: path.to_owned(),
            file,
            next: tomorrow(&now),
            kept,
            retention,
        })
    }

    /// Writes a line of a moment.
    pub(in crate::server) fn write(&mut self, now: &Zoned, line: &[u8]) -> io::Result<()> {
        if *now >= self.next {
            self.rotate(now)?;
        }
        self.file.write_all(line)
    }

    fn rotate(&mut self, now: &Zoned) -> io::Result<()> {
        let path = file_of(&self.path, now.date());
        self.file = append(&path)?;
        self.next = tomorrow(now);
        if self.kept.back() != Some(&path) {
            self.kept.push_back(path);
        }
        while self.kept.len() > self.retention
            && let Some(oldest) = self.kept.pop_front()
        {
            fs::remove_file(oldest)?;
        }
        Ok(())
    }
}

fn tomorrow(now: &Zoned) -> Zoned {
    now.checked_add(1.day()).unwrap_or_else(|_| now.clone())
}

/// The missing folders are made.
fn append(path: &Path) -> io::Result<File> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    OpenOptions::new().append(true).create(true).open(path)
}

/// `memgraph.log` becomes `memgraph_2026-01-31.log`.
fn file_of(path: &Path, date: Date) -> PathBuf {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let extension = path
        .extension()
        .map(|extension| format!(".{}", extension.to_string_lossy()));
    path.with_file_name(format!("{stem}_{date}{}", extension.unwrap_or_default()))
}

/// Removes all files that are older than so many days from the folder of the log, whatever they are
/// (`CleanLogsDir` in flags/logging.cpp).
pub(in crate::server) fn clean_folder(path: &Path, days: u64) -> io::Result<()> {
    let limit = SystemTime::now().checked_sub(Duration::from_secs(days * 24 * 3600));
    let (Some(folder), Some(limit)) = (path.parent(), limit) else {
        return Ok(());
    };
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        if metadata.is_file() && metadata.modified()? < limit {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;

    #[test]
    fn the_day_is_part_of_the_name() {
        let day = date(2026, 1, 31);
        let named = |path: &str| file_of(Path::new(path), day).display().to_string();
        assert_eq!(named("/var/log/memgraph.log"), "/var/log/memgraph_2026-01-31.log");
        assert_eq!(named("log"), "log_2026-01-31");
    }

    #[test]
    fn a_day_later_there_is_another_file_and_the_oldest_goes() {
        let folder = std::env::temp_dir().join(format!("memgraph-sim-log-{}", std::process::id()));
        let mut log = DailyFile::open(&folder.join("a.log"), 2).unwrap();
        let now = Zoned::now();
        for day in 0..4 {
            let later = now.checked_add(day.days()).unwrap();
            log.write(&later, b"line\n").unwrap();
        }
        let mut names: Vec<_> = fs::read_dir(&folder)
            .unwrap()
            .map(|it| it.unwrap().path())
            .collect();
        names.sort();
        let expected = [2, 3].map(|day| {
            let date = now.checked_add(day.days()).unwrap().date();
            folder.join(format!("a_{date}.log"))
        });
        fs::remove_dir_all(&folder).unwrap();
        assert_eq!(names, expected);
    }
}
