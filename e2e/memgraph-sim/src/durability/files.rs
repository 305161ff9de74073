//! Names of durability files, as Memgraph builds them (`src/storage/v2/durability/paths.hpp`).

/// Where snapshots live, inside the data directory.
pub(crate) const SNAPSHOTS: &str = "snapshots";
/// Where log files live.
pub(crate) const WAL: &str = "wal";
/// The role and the registered replicas.
pub(crate) const REPLICATION: &str = "replication";
/// Users.
pub(crate) const AUTH: &str = "auth";
/// Files that are being received from MAIN; emptied at each start.
pub(crate) const TEMPORARY: &str = "tmp";
/// Where superseded files go, inside `snapshots` and `wal`.
pub(crate) const OLD: &str = ".old";
/// Where files go that a start without recovery finds.
pub(crate) const BACKUP: &str = ".backup";

/// `YYYYmmddHHMMSSffffff` of a wall-clock time in microseconds since 1970.
fn date(microseconds: i64) -> String {
    jiff::Timestamp::from_microsecond(microseconds)
        .unwrap_or(jiff::Timestamp::UNIX_EPOCH)
        .strftime("%Y%m%d%H%M%S%6f")
        .to_string()
}

/// A time in microseconds since 1970 as SHOW SNAPSHOTS prints it.
pub(crate) fn readable_time(microseconds: i64) -> String {
    jiff::Timestamp::from_microsecond(microseconds)
        .unwrap_or(jiff::Timestamp::UNIX_EPOCH)
        .strftime("%Y-%m-%d %H:%M:%S")
        .to_string()
}

/// A size in bytes as SHOW SNAPSHOTS and SHOW STORAGE INFO print it (`src/utils/readable_size.cpp`).
pub(crate) fn readable_size(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if bytes < 1024 {
        return format!("{bytes}B");
    }
    let mut size = bytes as f64 / 1024.0;
    let mut unit = 0;
    while size >= 1024.0 && unit + 1 < UNITS.len() {
        size /= 1024.0;
        unit += 1;
    }
    format!("{size:.2}{}", UNITS[unit])
}

/// When a file with such a name was made, in microseconds since 1970; 0 if the name tells no date.
pub(crate) fn created_at(name: &str) -> i64 {
    let parse = |text: &str| {
        let date = jiff::civil::DateTime::strptime("%Y%m%d%H%M%S", text.get(..14)?).ok()?;
        let whole = date
            .to_zoned(jiff::tz::TimeZone::UTC)
            .ok()?
            .timestamp()
            .as_microsecond();
        Some(whole + text.get(14..20)?.parse::<i64>().ok()?)
    };
    parse(name).unwrap_or(0)
}

/// The name of a snapshot whose last transaction is `durable`.
pub(crate) fn snapshot(now: i64, durable: u64) -> String {
    format!("{}_timestamp_{durable}", date(now))
}

/// The name of a log file that is being written.
pub(crate) fn current_wal(now: i64) -> String {
    format!("{}_current", date(now))
}

/// The name of a log file that is complete.
pub(crate) fn finished_wal(now: i64, from: u64, to: u64) -> String {
    format!("{}_from_{from}_to_{to}", date(now))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_memgraphs_form() {
        let now = 1_753_000_000_000_123;
        assert_eq!(snapshot(now, 7), "20250720082640000123_timestamp_7");
        assert_eq!(current_wal(now), "20250720082640000123_current");
        assert_eq!(finished_wal(now, 1, 9), "20250720082640000123_from_1_to_9");
        assert_eq!(created_at(&snapshot(now, 7)), now);
        assert_eq!(created_at("else"), 0);
    }

    #[test]
    fn sizes_have_memgraphs_form() {
        assert_eq!(readable_size(0), "0B");
        assert_eq!(readable_size(1023), "1023B");
        assert_eq!(readable_size(1536), "1.50KiB");
        assert_eq!(readable_size(3 << 30), "3.00GiB");
        assert_eq!(readable_size(5 << 50), "5120.00TiB");
    }
}
