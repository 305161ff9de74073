//! Memgraph's command line: flags in the forms that its gflags takes, and configuration files with one flag
//! a line.

mod help;
mod kind;
mod table;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt, fs,
};

use bolt_server::Version;

use self::{
    kind::{Check, Kind},
    table::FLAGS,
};

/// The name that sections of configuration files can name.
const PROGRAM: &str = "memgraph";

/// A flag that Memgraph has or had.
#[derive(Debug, Clone, Copy)]
struct Flag {
    name: &'static str,
    kind: Kind,
    default: &'static str,
    description: &'static str,
    check: Check,
    since: Version,
    /// The first release without it.
    until: Option<Version>,
    /// Not shown by SHOW CONFIG.
    hidden: bool,
}

impl Flag {
    const fn new(name: &'static str, kind: Kind, default: &'static str, description: &'static str) -> Self {
        Self {
            name,
            kind,
            default,
            description,
            check: Check::Nothing,
            since: Version::V3_4,
            until: None,
            hidden: false,
        }
    }

    const fn within(self, low: i64, high: u64) -> Self {
        Self {
            check: Check::Within(low, high),
            ..self
        }
    }

    const fn one_of(self, values: &'static [&'static str]) -> Self {
        Self {
            check: Check::OneOf(values),
            ..self
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
}

/// Something on a command line that stops the start. The texts are those of gflags.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FlagError {
    /// No such flag in this release.
    #[error("ERROR: unknown command line flag '{0}'")]
    Unknown(String),
    /// `--no..` of a flag that is not boolean.
    #[error("ERROR: boolean value ({flag}) specified for {kind} command line flag")]
    NotBoolean {
        /// The flag as written.
        flag: String,
        /// Its type.
        kind: &'static str,
    },
    /// The flag needs a value.
    #[error("ERROR: flag '{flag}' is missing its argument; flag description: {description}")]
    MissingValue {
        /// The flag as written.
        flag: String,
        /// What it is for.
        description: &'static str,
    },
    /// The value has the wrong type.
    #[error("ERROR: illegal value '{value}' specified for {kind} flag '{name}'")]
    IllegalValue {
        /// The flag.
        name: &'static str,
        /// Its type.
        kind: &'static str,
        /// What was given.
        value: String,
    },
    /// The value is not among those that are allowed.
    #[error("{complaint}\nERROR: failed validation of new value '{value}' for flag '{name}'")]
    Refused {
        /// The flag.
        name: &'static str,
        /// What was given.
        value: String,
        /// What is allowed.
        complaint: String,
    },
    /// A file with flags cannot be read.
    #[error("{path}: {reason}")]
    File {
        /// The file.
        path: String,
        /// Why.
        reason: String,
    },
}

/// All that is wrong with a command line, by flag.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FlagErrors(pub BTreeMap<String, FlagError>);

impl fmt::Display for FlagErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.0.values().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            write!(f, "{error}")?;
        }
        Ok(())
    }
}

impl std::error::Error for FlagErrors {}

/// The values of all flags of a release.
#[derive(Debug, Clone)]
pub struct Flags {
    version: Version,
    values: BTreeMap<&'static str, String>,
    given: BTreeSet<&'static str>,
    words: Vec<String>,
    errors: FlagErrors,
}

impl Flags {
    /// The defaults.
    pub fn new(version: Version) -> Self {
        let known = FLAGS.iter().filter(|flag| flag.is_known_to(version));
        Self {
            version,
            values: known.map(|flag| (flag.name, flag.default.to_owned())).collect(),
            given: BTreeSet::new(),
            words: Vec::new(),
            errors: FlagErrors::default(),
        }
    }

    /// Takes the arguments of a command line, without the program's name. What belongs to no flag becomes
    /// [`words`](Self::words).
    ///
    /// # Errors
    ///
    /// Flags are unknown or have no proper value. All are told at once; the others are set nevertheless.
    pub fn parse(&mut self, arguments: impl IntoIterator<Item = String>) -> Result<(), FlagErrors> {
        let mut arguments = arguments.into_iter();
        while let Some(argument) = arguments.next() {
            let Some(body) = argument.strip_prefix('-').filter(|rest| !rest.is_empty()) else {
                self.words.push(argument);
                continue;
            };
            let body = body.strip_prefix('-').unwrap_or(body);
            if body.is_empty() {
                // `--` ends the flags.
                self.words.extend(arguments);
                break;
            }
            let (flag, value) = match self.split(body) {
                Ok(found) => found,
                Err(error) => {
                    let key = body.split_once('=').map_or(body, |(name, _)| name);
                    self.errors.0.insert(key.to_owned(), error);
                    continue;
                }
            };
            let Some(value) = value.or_else(|| arguments.next()) else {
                let error = FlagError::MissingValue {
                    flag: argument.clone(),
                    description: flag.description,
                };
                self.errors.0.insert(body.to_owned(), error);
                break;
            };
            self.set(flag, &value);
        }
        self.report()
    }

    /// Takes a configuration file: one flag a line, with its value after `=`; `#` starts a comment. As with
    /// gflags, lines that make no sense are passed over, and a line with names of programs begins a section
    /// for those.
    ///
    /// # Errors
    ///
    /// A flag has a wrong value.
    pub fn parse_file(&mut self, content: &str) -> Result<(), FlagErrors> {
        self.take_file(content);
        self.report()
    }

    fn take_file(&mut self, content: &str) {
        let (mut relevant, mut among_names) = (true, false);
        for line in content.lines().map(str::trim_start) {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let Some(body) = line.strip_prefix('-') else {
                relevant = (among_names && relevant)
                    || line.split_whitespace().any(|name| matches!(name, PROGRAM | "*"));
                among_names = true;
                continue;
            };
            among_names = false;
            let body = body.strip_prefix('-').unwrap_or(body);
            if relevant && let Ok((flag, Some(value))) = self.split(body) {
                self.set(flag, &value);
            }
        }
    }

    fn report(&mut self) -> Result<(), FlagErrors> {
        let errors = std::mem::take(&mut self.errors);
        if errors.0.is_empty() { Ok(()) } else { Err(errors) }
    }

    fn find(&self, name: &str) -> Option<&'static Flag> {
        // gflags takes dashes for underscores.
        let name = name.replace('-', "_");
        FLAGS
            .iter()
            .find(|flag| flag.name == name && flag.is_known_to(self.version))
    }

    /// The flag and the value that belongs to it, if the word itself tells it.
    fn split(&self, body: &str) -> Result<(&'static Flag, Option<String>), FlagError> {
        let (name, value) = match body.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (body, None),
        };
        if let Some(flag) = self.find(name) {
            let implied = (flag.kind == Kind::Bool).then(|| "true".to_owned());
            return Ok((flag, value.or(implied)));
        }
        match name.strip_prefix("no").and_then(|name| self.find(name)) {
            Some(flag) if flag.kind == Kind::Bool => Ok((flag, Some("false".to_owned()))),
            Some(flag) => Err(FlagError::NotBoolean {
                flag: name.to_owned(),
                kind: flag.kind.name(),
            }),
            None => Err(FlagError::Unknown(name.to_owned())),
        }
    }

    fn set(&mut self, flag: &'static Flag, value: &str) {
        let name = flag.name;
        let Some(normal) = flag.kind.normalize(value) else {
            let error = FlagError::IllegalValue {
                name,
                kind: flag.kind.name(),
                value: value.to_owned(),
            };
            self.errors.0.insert(name.to_owned(), error);
            return;
        };
        if let Some(complaint) = flag.check.complaint(name, &normal) {
            let error = FlagError::Refused {
                name,
                value: normal,
                complaint,
            };
            self.errors.0.insert(name.to_owned(), error);
            return;
        }
        self.values.insert(name, normal);
        self.given.insert(name);
        if name == "flag_file" {
            for path in value.split(',') {
                match fs::read_to_string(path) {
                    Ok(content) => self.take_file(&content),
                    Err(error) => {
                        let error = FlagError::File {
                            path: path.to_owned(),
                            reason: error.to_string(),
                        };
                        self.errors.0.insert(path.to_owned(), error);
                    }
                }
            }
        }
    }

    /// Words of the command line that belong to no flag (`--flag false` sets a flag and leaves a word).
    pub fn words(&self) -> &[String] {
        &self.words
    }

    /// Whether a flag was given, even with its default as the value.
    pub fn is_given(&self, name: &str) -> bool {
        self.given.contains(name)
    }

    /// The flags that were given, with their values.
    pub fn given(&self) -> impl Iterator<Item = (&str, &str)> {
        self.given.iter().map(|name| (*name, self.text(name)))
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

    /// The value of a flag with a port.
    pub fn port(&self, name: &str) -> u16 {
        u16::try_from(self.number(name)).unwrap_or(0)
    }

    /// The flags that are not hidden.
    fn shown(&self) -> impl Iterator<Item = &'static Flag> {
        FLAGS
            .iter()
            .filter(|flag| flag.is_known_to(self.version) && !flag.hidden)
    }

    /// Name, default, current value and description of all flags that are not hidden, for SHOW CONFIG.
    pub fn table(&self) -> Vec<[String; 4]> {
        let row = |flag: &Flag| {
            let current = self.text(flag.name);
            [flag.name, flag.default, current, flag.description].map(str::to_owned)
        };
        self.shown().map(row).collect()
    }
}

#[cfg(test)]
mod tests;
