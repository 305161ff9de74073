//! Memgraph's command line: flags in the forms that gflags takes, and configuration files with one flag a
//! line.

mod table;

use std::collections::BTreeMap;

use bolt_server::Version;

use self::table::FLAGS;

/// What a flag's value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Bool,
    Integer,
    Number,
    Text,
}

/// A flag that Memgraph has or had.
#[derive(Debug, Clone, Copy)]
struct Flag {
    name: &'static str,
    kind: Kind,
    default: &'static str,
    since: Version,
    /// The first release without it.
    until: Option<Version>,
    /// Not shown by SHOW CONFIG.
    hidden: bool,
}

impl Flag {
    const fn new(name: &'static str, kind: Kind, default: &'static str) -> Self {
        Self {
            name,
            kind,
            default,
            since: Version::V3_4,
            until: None,
            hidden: false,
        }
    }

    const fn since(self, since: Version) -> Self {
        Self { since, ..self }
    }

    const fn until(self, until: Version) -> Self {
        Self {
            until: Some(until),
            ..self
        }
    }

    const fn hidden(self) -> Self {
        Self { hidden: true, ..self }
    }

    fn is_known_to(&self, version: Version) -> bool {
        self.since <= version && self.until.is_none_or(|until| version < until)
    }

    fn accepts(&self, value: &str) -> bool {
        match self.kind {
            Kind::Bool => boolean(value).is_some(),
            Kind::Integer => value.parse::<i64>().is_ok(),
            Kind::Number => value.parse::<f64>().is_ok(),
            Kind::Text => true,
        }
    }
}

/// What gflags takes for a truth value.
fn boolean(value: &str) -> Option<bool> {
    match value.to_ascii_lowercase().as_str() {
        "1" | "t" | "true" | "y" | "yes" => Some(true),
        "0" | "f" | "false" | "n" | "no" => Some(false),
        _ => None,
    }
}

/// A command line that stops the start. The texts are those of gflags.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FlagError {
    /// No such flag in this release.
    #[error("ERROR: unknown command line flag '{0}'")]
    Unknown(String),
    /// The flag needs a value.
    #[error("ERROR: flag '{0}' is missing its argument")]
    MissingValue(String),
    /// The value has the wrong type.
    #[error("ERROR: illegal value '{value}' specified for {kind} flag '{name}'")]
    IllegalValue {
        /// The flag.
        name: String,
        /// Its type.
        kind: &'static str,
        /// What was given.
        value: String,
    },
    /// Words that belong to no flag (`--flag false` sets a flag and leaves a word).
    #[error("ERROR: unexpected command line argument '{0}'")]
    Stray(String),
}

/// The values of all flags of a release.
#[derive(Debug, Clone)]
pub struct Flags {
    version: Version,
    values: BTreeMap<&'static str, String>,
}

impl Flags {
    /// The defaults.
    pub fn new(version: Version) -> Self {
        let known = FLAGS.iter().filter(|flag| flag.is_known_to(version));
        Self {
            version,
            values: known.map(|flag| (flag.name, flag.default.to_owned())).collect(),
        }
    }

    /// Takes the arguments of a command line, without the program's name.
    ///
    /// # Errors
    ///
    /// A flag is unknown or has no proper value, or (since 3.10, unless `--strict-flag-check=false`) a word
    /// belongs to no flag.
    pub fn parse(&mut self, arguments: impl IntoIterator<Item = String>) -> Result<(), FlagError> {
        let mut arguments = arguments.into_iter();
        let mut stray = None;
        while let Some(argument) = arguments.next() {
            let Some(body) = argument
                .strip_prefix('-')
                .map(|rest| rest.strip_prefix('-').unwrap_or(rest))
            else {
                stray.get_or_insert(argument);
                continue;
            };
            if body.is_empty() {
                // `--` ends the flags.
                stray = stray.or_else(|| arguments.next());
                break;
            }
            match body.split_once('=') {
                Some((name, value)) => self.set(name, value)?,
                None => self.take(body, &mut arguments)?,
            }
        }
        match stray {
            Some(word) if self.is_set("strict_flag_check") => Err(FlagError::Stray(word)),
            _ => Ok(()),
        }
    }

    /// Takes a configuration file: one flag a line, `#` starts a comment.
    ///
    /// # Errors
    ///
    /// As [`parse`](Self::parse).
    pub fn parse_file(&mut self, content: &str) -> Result<(), FlagError> {
        let mut lines = content
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty() && !line.starts_with('#'));
        lines.try_for_each(|line| self.parse([line.to_owned()]))
    }

    fn find(&self, name: &str) -> Option<&'static Flag> {
        // gflags takes dashes for underscores.
        let name = name.replace('-', "_");
        FLAGS
            .iter()
            .find(|flag| flag.name == name && flag.is_known_to(self.version))
    }

    fn set(&mut self, name: &str, value: &str) -> Result<(), FlagError> {
        let flag = self
            .find(name)
            .ok_or_else(|| FlagError::Unknown(name.to_owned()))?;
        if !flag.accepts(value) {
            let kind = match flag.kind {
                Kind::Bool => "bool",
                Kind::Integer => "int64",
                Kind::Number => "double",
                Kind::Text => "string",
            };
            return Err(FlagError::IllegalValue {
                name: name.to_owned(),
                kind,
                value: value.to_owned(),
            });
        }
        let value = match flag.kind {
            Kind::Bool => boolean(value).unwrap_or_default().to_string(),
            Kind::Integer | Kind::Number | Kind::Text => value.to_owned(),
        };
        self.values.insert(flag.name, value);
        Ok(())
    }

    /// `--flag`, `--noflag` and `--flag value`.
    fn take(&mut self, name: &str, rest: &mut impl Iterator<Item = String>) -> Result<(), FlagError> {
        match self.find(name) {
            Some(flag) if flag.kind == Kind::Bool => self.set(name, "true"),
            Some(_) => {
                let value = rest
                    .next()
                    .ok_or_else(|| FlagError::MissingValue(name.to_owned()))?;
                self.set(name, &value)
            }
            None => {
                let negated = name.strip_prefix("no").and_then(|name| self.find(name));
                match negated {
                    Some(flag) if flag.kind == Kind::Bool => self.set(flag.name, "false"),
                    _ => Err(FlagError::Unknown(name.to_owned())),
                }
            }
        }
    }

    /// The value of a flag; empty if this release does not have it.
    pub fn text(&self, name: &str) -> &str {
        self.values.get(name).map_or("", String::as_str)
    }

    /// The value of a boolean flag; false if this release does not have it.
    pub fn is_set(&self, name: &str) -> bool {
        self.text(name) == "true"
    }

    /// The value of a flag with a number; 0 if this release does not have it, or if it is negative.
    pub fn number(&self, name: &str) -> u64 {
        self.text(name).parse().unwrap_or(0)
    }

    /// Name, default, current value and description of all flags that are not hidden, for SHOW CONFIG. The
    /// simulator has no descriptions.
    pub fn table(&self) -> Vec<[String; 4]> {
        let shown = FLAGS
            .iter()
            .filter(|flag| flag.is_known_to(self.version) && !flag.hidden);
        let row = |flag: &Flag| {
            [
                flag.name.to_owned(),
                flag.default.to_owned(),
                self.text(flag.name).to_owned(),
                String::new(),
            ]
        };
        shown.map(row).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(version: Version, arguments: &[&str]) -> Result<Flags, FlagError> {
        let mut flags = Flags::new(version);
        flags.parse(arguments.iter().map(|it| (*it).to_owned()))?;
        Ok(flags)
    }

    #[test]
    fn all_forms_of_gflags_are_taken() {
        let flags = parse(
            Version::V3_12,
            &[
                "--bolt-port=1",
                "-data_directory",
                "/d",
                "--storage-wal-enabled",
                "--notelemetry-enabled",
            ],
        )
        .unwrap();
        assert_eq!(flags.number("bolt_port"), 1);
        assert_eq!(flags.text("data_directory"), "/d");
        assert!(flags.is_set("storage_wal_enabled"));
        assert!(!flags.is_set("telemetry_enabled"));
    }

    #[test]
    fn a_separate_false_is_a_stray_word() {
        let arguments = ["--storage-wal-enabled", "false"];
        assert_eq!(
            parse(Version::V3_12, &arguments).unwrap_err(),
            FlagError::Stray("false".into())
        );
        let before = parse(Version::V3_8, &arguments).unwrap();
        assert!(before.is_set("storage_wal_enabled"), "and the flag is on");
        let lenient = ["--storage-wal-enabled", "false", "--strict-flag-check=false"];
        assert!(parse(Version::V3_12, &lenient).is_ok());
    }

    #[test]
    fn unknown_and_removed_flags_stop_the_start() {
        assert_eq!(
            parse(Version::V3_12, &["--nope=1"]).unwrap_err(),
            FlagError::Unknown("nope".into())
        );
        let removed = ["--bolt-session-inactivity-timeout=1"];
        assert!(parse(Version::V3_6, &removed).is_ok());
        assert!(parse(Version::V3_8, &removed).is_err());
        assert!(parse(Version::V3_11, &["--storage-allow-recovery-failure"]).is_err());
        assert!(parse(Version::V3_12, &["--storage-allow-recovery-failure"]).is_ok());
        assert!(parse(Version::V3_12, &["--bolt-port=x"]).is_err());
        assert!(parse(Version::V3_12, &["--bolt-port"]).is_err());
    }

    #[test]
    fn files_hold_one_flag_a_line() {
        let mut flags = Flags::new(Version::V3_12);
        flags
            .parse_file("# comment\n\n--log-level=TRACE\n  --storage-wal-enabled=true\n")
            .unwrap();
        assert_eq!(flags.text("log_level"), "TRACE");
        assert!(flags.is_set("storage_wal_enabled"));
        assert!(flags.parse_file("--nope").is_err());
    }

    #[test]
    fn the_table_is_sorted_and_hides_hidden_flags() {
        assert!(FLAGS.is_sorted_by_key(|flag| flag.name));
        let table = Flags::new(Version::V3_12).table();
        assert!(
            table
                .iter()
                .any(|[name, default, ..]| name == "bolt_port" && default == "7687")
        );
        assert!(table.iter().all(|[name, ..]| name != "also_log_to_stderr"));
    }
}
