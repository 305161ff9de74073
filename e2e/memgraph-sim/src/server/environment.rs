//! What the command line, configuration files and environment variables say.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use bolt_server::Version;

use super::failure::StartError;
use crate::{
    config::{Config, Isolation},
    flags::Flags,
};

/// Selects the release that is simulated. The real server has no such variable.
pub(super) const VERSION_VARIABLE: &str = "MEMGRAPH_SIM_VERSION";
/// Where the image keeps its settings.
const IMAGE_CONFIGURATION: &str = "/etc/memgraph/memgraph.conf";
/// The longest time between two snapshots, in seconds.
const LONGEST_INTERVAL: u64 = 7 * 24 * 3600;

/// The release to simulate.
pub(super) fn version() -> Result<Version, StartError> {
    match std::env::var(VERSION_VARIABLE) {
        Ok(text) if !text.is_empty() => Ok(text.parse()?),
        _ => Ok(Version::default()),
    }
}

/// Settings of the image, then those of the user, then the command line, which wins (`LoadConfig` in
/// helpers.hpp).
pub(super) fn flags(
    version: Version,
    arguments: impl IntoIterator<Item = String>,
) -> Result<Flags, StartError> {
    let mut flags = Flags::new(version);
    let home = std::env::var_os("HOME").map(|home| Path::new(&home).join(".memgraph/config"));
    let named = std::env::var_os("MEMGRAPH_CONFIG").map(PathBuf::from);
    if let Some(path) = &named
        && !path.exists()
    {
        return Err(StartError::Fatal(format!(
            "MEMGRAPH_CONFIG environment variable set to nonexisting path: {}",
            path.display()
        )));
    }
    let files = [Some(PathBuf::from(IMAGE_CONFIGURATION)), home, named];
    for file in files.into_iter().flatten().filter(|file| file.exists()) {
        flags.parse([format!("--flag-file={}", file.display())])?;
    }
    flags.parse(arguments)?;
    check_words(version, &flags)?;
    Ok(flags)
}

/// Since 3.10 words that belong to no flag stop the start, unless `--strict-flag-check=false`
/// (`CheckSuspiciousPositionalArgs` in memgraph.cpp).
fn check_words(version: Version, flags: &Flags) -> Result<(), StartError> {
    let words = flags.words();
    if version < Version::V3_10 || words.is_empty() {
        return Ok(());
    }
    let quoted: Vec<String> = words.iter().map(|word| format!("'{word}'")).collect();
    let is_boolean = |word: &String| {
        let known = ["true", "false", "yes", "no", "1", "0", "t", "f", "y", "n"];
        known.contains(&word.to_ascii_lowercase().as_str())
    };
    let reason = if words.iter().any(is_boolean) {
        "This is likely caused by writing '--bool-flag false' (space-separated). Boolean flags require '=' syntax, e.g. \
         '--bool-flag=false', or use '--nobool-flag'. Without '=', the flag is set to true regardless of the value that \
         follows it."
    } else {
        "Memgraph does not accept positional arguments."
    };
    let text = format!(
        "Unexpected positional argument(s): {}. {reason}",
        quoted.join(", ")
    );
    if flags.is_set("strict_flag_check") {
        return Err(StartError::Words(text));
    }
    // The log is not there yet; Memgraph's goes to standard output until then.
    println!("[warning] {text}");
    Ok(())
}

/// `--bolt-port`, over which `MEMGRAPH_BOLT_PORT` wins.
pub(super) fn bolt_port(flags: &Flags) -> Result<u16, StartError> {
    let Ok(text) = std::env::var("MEMGRAPH_BOLT_PORT") else {
        return Ok(flags.port("bolt_port"));
    };
    text.trim_start()
        .parse()
        .map_err(|_| StartError::Fatal(format!("MEMGRAPH_BOLT_PORT is no port: {text:?}")))
}

/// The time between two periodic snapshots (`Initialize` in flags/run_time_configurable.cpp); `None` for none.
fn snapshot_interval(flags: &Flags) -> Result<Option<Duration>, StartError> {
    let seconds = flags.number("storage_snapshot_interval_sec");
    let text = flags.text("storage_snapshot_interval");
    if text.is_empty() {
        return Ok((seconds > 0).then(|| Duration::from_secs(seconds)));
    }
    if seconds > 0 {
        tracing::warn!(
            "Periodic snapshot schedule defined via both --storage-snapshot-interval-sec and \
             --storage-snapshot-interval. Memgraph will use the configuration flag from --storage-snapshot-interval!"
        );
    }
    match text.parse::<u64>() {
        Ok(seconds) if seconds <= LONGEST_INTERVAL => {
            Ok((seconds > 0).then(|| Duration::from_secs(seconds)))
        }
        // Six fields look like the format of cron.
        Err(_) if text.split_whitespace().count() == 6 => Err(StartError::Fatal(
            "Defining snapshot schedule via cron expressions is an enterprise feature. Check your license status by \
             running SHOW LICENSE INFO."
                .to_owned(),
        )),
        Ok(_) | Err(_) => Err(StartError::Fatal(
            "Defined snapshot interval not a valid expression.".to_owned(),
        )),
    }
}

/// All that the engine has to know of what was asked for with these flags.
///
/// # Errors
///
/// An instance with these flags does not start.
pub fn configure(version: Version, flags: &Flags, directory: &Path) -> Result<Config, StartError> {
    let started_at = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    refuse_unknown(flags)?;
    let analytical = flags.text("storage_mode") == "IN_MEMORY_ANALYTICAL";
    // In this mode there is neither a log nor are there periodic snapshots.
    let snapshot_interval = snapshot_interval(flags)?.filter(|_| !analytical);
    let wal_enabled = flags.is_set("storage_wal_enabled") && !analytical;
    if wal_enabled && snapshot_interval.is_none() {
        return Err(StartError::Fatal(
            "In order to use write-ahead-logging you must enable periodic snapshots by setting the snapshot interval to \
             a value larger than 0!"
                .to_owned(),
        ));
    }
    let count = |name: &str| usize::try_from(flags.number(name)).unwrap_or(usize::MAX);
    let absolute = fs::canonicalize(directory).unwrap_or_else(|_| directory.to_owned());
    Ok(Config {
        version,
        started_at: i64::try_from(started_at.as_micros()).unwrap_or(i64::MAX),
        data_directory: absolute.display().to_string(),
        wal_enabled,
        wal_file_kib: flags.number("storage_wal_file_size_kib"),
        wal_flush_every: flags.number("storage_wal_file_flush_every_n_tx").max(1),
        snapshot_interval,
        snapshot_retention: count("storage_snapshot_retention_count"),
        snapshot_on_exit: flags.is_set("storage_snapshot_on_exit"),
        backup_directory: keeps_superseded(version, flags),
        properties_on_edges: flags.is_set("storage_properties_on_edges"),
        recover_data: flags.is_set("data_recovery_on_startup"),
        allow_recovery_failure: flags.is_set("storage_allow_recovery_failure"),
        restore_replication: flags.is_set("replication_restore_state_on_startup"),
        replica_check: Duration::from_secs(flags.number("replication_replica_check_frequency_sec")),
        access_timeout: Duration::from_secs(flags.number("storage_access_timeout_sec")),
        isolation: isolation(flags),
        analytical,
        memory_limit: mebibytes(flags.number("memory_limit")),
        bolt_port: bolt_port(flags)?,
        initial_user: initial_user(),
        init_statements: statements(flags.text("init_file")),
        init_data_statements: statements(flags.text("init_data_file")),
        given_flags: given_flags(flags),
        flags: flags.table(),
    })
}

/// So many MiB in bytes; none of them means another limit.
fn mebibytes(number: u64) -> Option<u64> {
    (number > 0).then(|| number.saturating_mul(1 << 20))
}

/// Refuses what would silently be another server than the one that was asked for.
fn refuse_unknown(flags: &Flags) -> Result<(), StartError> {
    let coordination = [
        "management_port",
        "coordinator_port",
        "coordinator_id",
        "coordinator_hostname",
    ];
    let what = if flags.text("storage_mode") == "ON_DISK_TRANSACTIONAL" {
        "storage on disk"
    } else if coordination.iter().any(|name| flags.is_given(name)) {
        "instances that coordinators manage, and coordinators"
    } else {
        return Ok(());
    };
    Err(StartError::Fatal(format!(
        "not supported by the simulator: {what}"
    )))
}

fn isolation(flags: &Flags) -> Isolation {
    let levels = [Isolation::ReadCommitted, Isolation::ReadUncommitted];
    let level = flags.text("isolation_level");
    let found = levels.into_iter().find(|known| known.as_str() == level);
    found.unwrap_or(Isolation::Snapshot)
}

/// Whether superseded files go to `.old`.
pub(super) fn keeps_superseded(version: Version, flags: &Flags) -> bool {
    version < Version::V3_8 || flags.is_set("storage_backup_dir_enabled")
}

fn given_flags(flags: &Flags) -> BTreeMap<String, String> {
    let given = flags.given();
    given
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

/// `MEMGRAPH_USER` and `MEMGRAPH_PASSWORD`, else the first line of `MEMGRAPH_PASSFILE`.
fn initial_user() -> Option<(String, String)> {
    if let (Ok(user), Ok(password)) = (std::env::var("MEMGRAPH_USER"), std::env::var("MEMGRAPH_PASSWORD")) {
        return Some((user, password));
    }
    let Ok(content) = fs::read_to_string(std::env::var_os("MEMGRAPH_PASSFILE")?) else {
        tracing::warn!("Problem with opening MG_PASSFILE, memgraph server will start without user");
        return None;
    };
    let found = pass_line(content.split('\n').next().unwrap_or_default());
    if found.is_none() {
        tracing::warn!(
            "Wrong data format. Data should be store in format: username:password, memgraph server will start without \
             user"
        );
    }
    found.filter(|(user, password)| !user.is_empty() && !password.is_empty())
}

/// `user:password`, in which `\:` stands for a colon. As in Memgraph (`LoadUsernameAndPassword` in helpers.hpp),
/// what stands before an escaped colon in the password is lost, and the colon with it.
fn pass_line(line: &str) -> Option<(String, String)> {
    let (mut parts, mut part, mut rest) = (Vec::new(), String::new(), line);
    while let Some((before, after)) = rest.split_once(':') {
        match before.strip_suffix('\\') {
            Some(before) => {
                part.push_str(before);
                part.push(':');
            }
            None => {
                part.push_str(before);
                parts.push(std::mem::take(&mut part));
            }
        }
        rest = after;
    }
    parts.push(rest.to_owned());
    let [user, password] = <[String; 2]>::try_from(parts).ok()?;
    Some((user, password))
}

fn statements(path: &str) -> Option<String> {
    if path.is_empty() {
        return None;
    }
    match fs::read_to_string(path) {
        Ok(text) => Some(text),
        Err(_) => {
            // Memgraph starts all the same.
            tracing::trace!("Could not find init file {path}");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colons_in_pass_files_can_be_escaped_in_the_name() {
        assert_eq!(pass_line(r"a:b"), Some(("a".into(), "b".into())));
        assert_eq!(pass_line(r"a\:b:c"), Some(("a:b".into(), "c".into())));
        assert_eq!(
            pass_line(r"a:c\:d"),
            Some(("a".into(), "d".into())),
            "a mistake of Memgraph's"
        );
        assert_eq!(pass_line("a"), None);
        assert_eq!(pass_line("a:b:c"), None);
    }

    fn interval(arguments: &[&str]) -> Result<Option<Duration>, String> {
        let mut flags = Flags::new(Version::V3_12);
        flags.parse(arguments.iter().map(|it| (*it).to_owned())).unwrap();
        snapshot_interval(&flags).map_err(|error| error.to_string())
    }

    #[test]
    fn the_interval_of_snapshots_has_two_flags() {
        let seconds = |seconds| Ok(Some(Duration::from_secs(seconds)));
        assert_eq!(interval(&[]), seconds(300));
        assert_eq!(interval(&["--storage-snapshot-interval-sec=5"]), seconds(5));
        assert_eq!(interval(&["--storage-snapshot-interval=7"]), seconds(7));
        assert_eq!(interval(&["--storage-snapshot-interval-sec=0"]), Ok(None));
        let cron = interval(&["--storage-snapshot-interval=0 0 * * * *"]).unwrap_err();
        assert!(cron.contains("enterprise feature"));
        assert!(interval(&["--storage-snapshot-interval=often"]).is_err());
    }
}
