//! The settings of each release: name, default, and what values they take.

use bolt_server::Version;

/// A run-time setting.
pub(super) struct Setting {
    pub(super) name: &'static str,
    /// The flag that it mirrors; empty for settings without one.
    pub(super) flag: &'static str,
    pub(super) default: &'static str,
    /// Whether it outlives a restart.
    pub(super) lasts: bool,
    kind: Kind,
    since: Version,
    /// The first release without it.
    until: Option<Version>,
}

/// What values a setting takes.
#[derive(Clone, Copy)]
enum Kind {
    Any,
    Boolean,
    Integer,
    LogLevel,
    TimeZone,
    SnapshotInterval,
    DownloadTimeout,
    AccessTimeout,
    License,
}

const fn lasting(name: &'static str, flag: &'static str, default: &'static str, kind: Kind) -> Setting {
    Setting {
        name,
        flag,
        default,
        lasts: true,
        kind,
        since: Version::V3_4,
        until: None,
    }
}

const fn passing(name: &'static str, flag: &'static str, default: &'static str, kind: Kind) -> Setting {
    Setting {
        lasts: false,
        ..lasting(name, flag, default, kind)
    }
}

impl Setting {
    const fn since(self, since: Version) -> Self {
        Self { since, ..self }
    }

    const fn until(self, until: Version) -> Self {
        Self {
            until: Some(until),
            ..self
        }
    }

    pub(super) fn is_known_to(&self, version: Version) -> bool {
        self.since <= version && self.until.is_none_or(|until| version < until)
    }

    /// Why a value is not taken, in Memgraph's words.
    pub(super) fn check(&self, value: &str) -> Result<(), &'static str> {
        let (taken, problem) = match self.kind {
            Kind::Any => return Ok(()),
            Kind::Boolean => (
                matches!(value.to_ascii_lowercase().as_str(), "true" | "false"),
                "Boolean value supports only 'false' or 'true' as the input.",
            ),
            Kind::Integer => (value.parse::<i64>().is_ok(), "Value must be an integer."),
            Kind::LogLevel => (
                LOG_LEVELS.contains(&value),
                "Unsupported log level. Log level must be defined as one of the following strings: TRACE, DEBUG, \
                 INFO, WARNING, ERROR, CRITICAL",
            ),
            Kind::TimeZone => (
                jiff::tz::TimeZone::get(value).is_ok_and(|zone| zone.iana_name() == Some(value)),
                "Timezone names must follow the IANA standard. Please note that the names are case-sensitive.",
            ),
            Kind::SnapshotInterval => (
                value.is_empty() || value.parse().is_ok_and(|seconds: u64| seconds <= 7 * 24 * 3600),
                "Snapshot interval can be defined as an integer period in seconds or as a 6-field cron expression. \
                 Please note that a valid license is needed in order to use cron expressions.",
            ),
            Kind::DownloadTimeout => (
                value.parse::<u64>().is_ok(),
                "Input for file_download_connection_timeout_sec cannot be parsed as uint64_t",
            ),
            Kind::AccessTimeout => match value.parse::<u64>() {
                Ok(seconds) => (
                    (1..=1_000_000).contains(&seconds),
                    "storage.access_timeout_sec must be in range [1, 1000000]",
                ),
                Err(_) => (
                    false,
                    "storage.access_timeout_sec must be a valid unsigned integer",
                ),
            },
            // The simulator is a Community server: no licence is a valid one.
            Kind::License => (value.is_empty(), "Invalid license key: could not be decoded."),
        };
        if taken { Ok(()) } else { Err(problem) }
    }
}

const LOG_LEVELS: [&str; 6] = ["TRACE", "DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"];

/// The number that a text begins with, as `std::stod` reads it; `None` where that throws.
pub(super) fn leading_number(text: &str) -> Option<f64> {
    let text = text.trim_ascii_start();
    let ends = (1..=text.len()).rev().filter(|end| text.is_char_boundary(*end));
    ends.map(|end| &text[..end])
        .find_map(|start| start.parse::<f64>().ok())
}

/// All settings.
#[rustfmt::skip]
pub(super) const SETTINGS: &[Setting] = &[
    lasting("aws.access_key", "aws_access_key", "", Kind::Any).since(Version::V3_8),
    lasting("aws.endpoint_url", "aws_endpoint_url", "", Kind::Any).since(Version::V3_8),
    lasting("aws.region", "aws_region", "", Kind::Any).since(Version::V3_8),
    lasting("aws.secret_key", "aws_secret_key", "", Kind::Any).since(Version::V3_8),
    passing("cartesian-product-enabled", "cartesian_product_enabled", "true", Kind::Boolean),
    passing("debug-query-plans", "debug_query_plans", "false", Kind::Boolean),
    lasting("enterprise.license", "", "", Kind::Any).until(Version::V3_10),
    lasting("enterprise.license", "", "", Kind::License).since(Version::V3_10),
    lasting("file.download_conn_timeout_sec", "file_download_conn_timeout_sec", "10", Kind::DownloadTimeout).since(Version::V3_8),
    lasting("hops_limit_partial_results", "hops_limit_partial_results", "true", Kind::Boolean),
    lasting("log.failed_queries", "log_failed_queries", "false", Kind::Boolean).since(Version::V3_11),
    passing("log.level", "log_level", "WARNING", Kind::LogLevel),
    lasting("log.min_duration_ms", "log_min_duration_ms", "-1", Kind::Integer).since(Version::V3_11),
    lasting("log.query_plan", "log_query_plan", "true", Kind::Boolean).since(Version::V3_11),
    passing("log.to_stderr", "also_log_to_stderr", "false", Kind::Boolean),
    lasting("organization.name", "", "", Kind::Any),
    lasting("query-log-directory", "query_log_directory", "", Kind::Any).until(Version::V3_11),
    passing("query.timeout", "query_execution_timeout_sec", "600", Kind::Any),
    lasting("server.name", "bolt_server_name_for_init", "Neo4j/v5.11.0 compatible graph database server - Memgraph", Kind::Any),
    lasting("storage-gc-aggressive", "storage_gc_aggressive", "false", Kind::Boolean).since(Version::V3_8),
    passing("storage.access_timeout_sec", "storage_access_timeout_sec", "1", Kind::AccessTimeout).since(Version::V3_10),
    lasting("storage.omit_vector_index_properties_on_return", "storage_omit_vector_index_properties_on_return", "false", Kind::Boolean).since(Version::Head),
    passing("storage.snapshot.interval", "storage_snapshot_interval", "", Kind::SnapshotInterval),
    lasting("timezone", "timezone", "UTC", Kind::TimeZone),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_release_has_a_setting_once() {
        for version in Version::ALL {
            let known = SETTINGS.iter().filter(|setting| setting.is_known_to(version));
            let names: Vec<_> = known.map(|setting| setting.name).collect();
            assert!(names.is_sorted_by(|a, b| a < b), "{version}");
        }
    }

    #[test]
    fn numbers_are_read_as_far_as_they_go() {
        assert_eq!(leading_number("12.5abc"), Some(12.5));
        assert_eq!(leading_number(" 600"), Some(600.0));
        assert_eq!(leading_number("abc"), None);
        assert_eq!(leading_number(""), None);
    }

    #[test]
    fn time_zones_are_case_sensitive() {
        let setting = lasting("timezone", "timezone", "UTC", Kind::TimeZone);
        assert_eq!(setting.check("UTC"), Ok(()));
        assert!(setting.check("utc").is_err());
        assert!(setting.check("Mars/Olympus").is_err());
    }

    #[test]
    fn snapshots_are_made_once_a_week_at_least() {
        let setting = passing("storage.snapshot.interval", "", "", Kind::SnapshotInterval);
        for taken in ["", "0", "604800"] {
            assert_eq!(setting.check(taken), Ok(()), "{taken:?}");
        }
        for refused in ["-1", "604801", "* * * * * *", "x"] {
            assert!(setting.check(refused).is_err(), "{refused:?}");
        }
    }
}
