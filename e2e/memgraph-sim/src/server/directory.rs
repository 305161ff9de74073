//! The data directory at the start: ours, nobody else's, and clean.

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::MetadataExt as _,
    path::Path,
    time::Duration,
};

use bolt_server::Version;
use rustix::fs::FlockOperation;

use super::failure::StartError;

/// Removes superseded files that are not wanted any more (`CleanDataDir` in memgraph.cpp;
/// `--storage-backup-dir-enabled`).
pub(super) fn remove_superseded(path: &Path) -> Result<(), StartError> {
    for folder in ["snapshots/.old", "wal/.old"] {
        match fs::remove_dir_all(path.join(folder)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(unusable(path, error)),
            _ => {}
        }
    }
    Ok(())
}

fn unusable(path: &Path, error: io::Error) -> StartError {
    StartError::DataDirectory {
        path: path.display().to_string(),
        error,
    }
}

/// Makes sure that the directory is there, is ours, and that nobody else uses it. It is ours for as long as the
/// result lives.
pub(super) fn take(version: Version, path: &Path, patience: Duration) -> Result<File, StartError> {
    fs::create_dir_all(path).map_err(|error| unusable(path, error))?;
    let owner = fs::metadata(path).map_err(|error| unusable(path, error))?.uid();
    let process = rustix::process::geteuid().as_raw();
    if owner != process {
        return Err(StartError::Owner {
            message: wrong_owner(version, path, &user_name(process), &user_name(owner)),
            coded: version >= Version::V3_11,
        });
    }
    let lock = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .open(path.join(".lock"))
        .map_err(|error| unusable(path, error))?;
    if rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive).is_ok() {
        return Ok(lock);
    }
    // The kernel frees the lock when its holder dies, so that waiting means: another process still runs.
    let (done, waiting) = std::sync::mpsc::channel();
    let copy = lock.try_clone().map_err(|error| unusable(path, error))?;
    std::thread::spawn(move || {
        let taken = rustix::fs::flock(&copy, FlockOperation::LockExclusive).is_ok();
        // If nobody waits any more, the process is about to end.
        let _ = done.send(taken);
    });
    match waiting.recv_timeout(patience) {
        Ok(true) => Ok(lock),
        Ok(false) | Err(_) => Err(StartError::Fatal(in_use(version, path, patience))),
    }
}

fn wrong_owner(version: Version, path: &Path, process: &str, owner: &str) -> String {
    if version >= Version::V3_11 {
        format!(
            "The process is running as user {process}, but '{}' is owned by user {owner}. Please start the process as \
             user {owner}!",
            path.display()
        )
    } else {
        format!(
            "The process is running as user {process}, but the data directory is owned by user {owner}. Please start \
             the process as user {owner}!"
        )
    }
}

fn in_use(version: Version, path: &Path, patience: Duration) -> String {
    let path = path.display();
    if version >= Version::V3_10 {
        // The missing space is Memgraph's.
        format!(
            "Couldn't acquire lock on the storage directory {path} within {}s!Another Memgraph process is currently \
             running with the same storage directory, please stop it first before restarting this process!",
            patience.as_secs()
        )
    } else {
        format!(
            "Couldn't acquire lock on the storage directory {path}!\nAnother Memgraph process is currently running \
             with the same storage directory, please stop it first before starting this process!"
        )
    }
}

/// The name of a user, or the number if it has none.
fn user_name(id: u32) -> String {
    let users = fs::read_to_string("/etc/passwd").unwrap_or_default();
    find_user(&users, id).unwrap_or_else(|| id.to_string())
}

fn find_user(users: &str, id: u32) -> Option<String> {
    users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        let found: u32 = fields.nth(1)?.parse().ok()?;
        (found == id).then(|| name.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_named() {
        let users = "root:x:0:0:root:/root:/bin/bash\nmemgraph:x:101:103::/var/lib/memgraph:/bin/false\n";
        assert_eq!(find_user(users, 101).as_deref(), Some("memgraph"));
        assert_eq!(find_user(users, 7), None);
    }

    #[test]
    fn texts_are_those_of_the_release() {
        let path = Path::new("/d");
        let old = wrong_owner(Version::V3_10, path, "root", "memgraph");
        assert!(old.contains("but the data directory is owned by user memgraph."));
        let new = wrong_owner(Version::V3_11, path, "root", "memgraph");
        assert!(
            new.contains("but '/d' is owned by user memgraph. Please start the process as user memgraph!")
        );
        assert!(in_use(Version::V3_8, path, Duration::ZERO).contains("/d!\nAnother"));
        assert!(in_use(Version::V3_12, path, Duration::from_secs(30)).contains("/d within 30s!Another"));
    }
}
