//! The command line, in the forms that gflags takes.

use std::{collections::VecDeque, time::Duration};

/// How rows are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    Csv,
    Tabular,
    Cypherl,
}

/// How quotes are written in CSV.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Csv {
    pub(crate) delimiter: String,
    /// What stands before a quote inside of a field.
    pub(crate) escape: String,
}

/// What was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Flags {
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) username: String,
    pub(crate) password: String,
    pub(crate) tls: bool,
    pub(crate) format: Format,
    pub(crate) fit_to_screen: bool,
    pub(crate) csv: Csv,
    /// For how long a connection that is lost is made anew.
    pub(crate) patience: Duration,
}

/// What is to be done.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Run(Flags),
    /// Show a text, and that is all.
    Tell(String),
    /// As `Tell`, but gflags calls it a failure.
    Help(String),
    Refuse(String),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Bool,
    Int32,
    Text,
}

struct Flag {
    name: &'static str,
    kind: Kind,
    default: &'static str,
    description: &'static str,
    allowed: fn(&str) -> bool,
}

const fn flag(name: &'static str, kind: Kind, default: &'static str, description: &'static str) -> Flag {
    Flag {
        name,
        kind,
        default,
        description,
        allowed: |_| true,
    }
}

/// Those of mgconsole 1.5 (`src/main.cpp`), without what only other import modes use.
const FLAGS: [Flag; 15] = [
    flag(
        "host",
        Kind::Text,
        "127.0.0.1",
        "Server address. It can be a DNS resolvable hostname.",
    ),
    flag("port", Kind::Int32, "7687", "Server port."),
    flag("username", Kind::Text, "", "Database username."),
    flag("password", Kind::Text, "", "Database password."),
    flag(
        "use_ssl",
        Kind::Bool,
        "false",
        "Use SSL when connecting to the server.",
    ),
    flag(
        "fit_to_screen",
        Kind::Bool,
        "false",
        "Fit output width to screen width.",
    ),
    flag("term_colors", Kind::Bool, "false", "Accepted, without effect."),
    Flag {
        allowed: |value| ["csv", "tabular", "cypherl"].contains(&value),
        ..flag(
            "output_format",
            Kind::Text,
            "tabular",
            "Query output format can be csv, tabular or cypherl.",
        )
    },
    flag(
        "verbose_execution_info",
        Kind::Bool,
        "false",
        "Accepted, without effect.",
    ),
    Flag {
        allowed: |value| value.len() == 1,
        ..flag(
            "csv_delimiter",
            Kind::Text,
            ",",
            "Character used to separate fields.",
        )
    },
    flag(
        "csv_escapechar",
        Kind::Text,
        "",
        "Character used to escape the quotechar(\") if the `csv-doublequote` flag is false.",
    ),
    flag(
        "csv_doublequote",
        Kind::Bool,
        "true",
        "Whether quotes inside of a field are doubled.",
    ),
    flag("history", Kind::Text, "~/.memgraph", "Accepted, without effect."),
    flag("no_history", Kind::Bool, "false", "Accepted, without effect."),
    Flag {
        allowed: |value| value == "serial",
        ..flag("import_mode", Kind::Text, "serial", "Only serial.")
    },
];

impl Default for Flags {
    /// Those of an empty command line.
    fn default() -> Self {
        Self {
            host: "127.0.0.1".to_owned(),
            port: 7687,
            username: String::new(),
            password: String::new(),
            tls: false,
            format: Format::Tabular,
            fit_to_screen: false,
            csv: Csv {
                delimiter: ",".to_owned(),
                escape: "\"".to_owned(),
            },
            // Three attempts, as mgconsole has them.
            patience: Duration::from_secs(3),
        }
    }
}

impl Flags {
    /// Reads a command line, without the program's name.
    pub(crate) fn parse(arguments: impl IntoIterator<Item = String>) -> Outcome {
        let mut values = FLAGS.map(|flag| flag.default.to_owned());
        let mut arguments: VecDeque<_> = arguments.into_iter().collect();
        while let Some(argument) = arguments.pop_front() {
            if argument == "--" {
                break;
            }
            // gflags leaves alone what is no flag, and so does mgconsole.
            let Some(text) = argument.strip_prefix("--").or_else(|| argument.strip_prefix('-')) else {
                continue;
            };
            if text.is_empty() {
                continue;
            }
            match set(text, &mut arguments, &mut values) {
                Ok(None) => {}
                Ok(Some(outcome)) => return outcome,
                Err(reason) => return Outcome::Refuse(format!("ERROR: {reason}")),
            }
        }
        Self::from_values(values)
    }

    fn from_values(values: [String; FLAGS.len()]) -> Outcome {
        let value = |name: &str| {
            let found = FLAGS.iter().position(|flag| flag.name == name);
            found.map(|index| values[index].as_str()).unwrap_or_default()
        };
        let is_set = |name| value(name) == "true";
        let format = match value("output_format") {
            "csv" => Format::Csv,
            "cypherl" => Format::Cypherl,
            _ => Format::Tabular,
        };
        let escape = if is_set("csv_doublequote") {
            "\"".to_owned()
        } else {
            value("csv_escapechar").to_owned()
        };
        if format == Format::Csv && escape.chars().count() != 1 {
            return Outcome::Refuse(
                "Unsupported combination of 'csv-doublequote' and 'csv-escapechar'\nflags: Run 'mgconsole --help' \
                 for usage."
                    .into(),
            );
        }
        let Ok(port) = value("port").parse() else {
            return Outcome::Refuse(format!(
                "Connection failure: there is no port {}; name one up to 65535",
                value("port")
            ));
        };
        Outcome::Run(Self {
            host: value("host").to_owned(),
            port,
            username: value("username").to_owned(),
            password: value("password").to_owned(),
            tls: is_set("use_ssl"),
            format,
            fit_to_screen: is_set("fit_to_screen"),
            csv: Csv {
                delimiter: value("csv_delimiter").to_owned(),
                escape,
            },
            ..Self::default()
        })
    }
}

/// Takes one flag, without its dashes, and its value from what follows if it is there.
fn set(
    text: &str,
    rest: &mut VecDeque<String>,
    values: &mut [String; FLAGS.len()],
) -> Result<Option<Outcome>, String> {
    let (written, value) = match text.split_once('=') {
        Some((name, value)) => (name, Some(value.to_owned())),
        None => (text, None),
    };
    let name = written.replace('-', "_");
    match name.as_str() {
        "help" | "helpshort" | "helpfull" => return Ok(Some(Outcome::Help(usage()))),
        "version" => {
            let version = env!("CARGO_PKG_VERSION");
            return Ok(Some(Outcome::Tell(format!(
                "mgconsole version {version} (stand-in)\n"
            ))));
        }
        _ => {}
    }
    let find = |name: &str| FLAGS.iter().position(|flag| flag.name == name);
    let negated = || {
        let index = find(name.strip_prefix("no")?)?;
        (FLAGS[index].kind == Kind::Bool).then_some(index)
    };
    let Some(index) = find(&name) else {
        let index = negated().ok_or_else(|| format!("unknown command line flag '{written}'"))?;
        values[index] = "false".into();
        return Ok(None);
    };
    let flag = &FLAGS[index];
    let value = match (value, flag.kind) {
        (Some(value), _) => value,
        (None, Kind::Bool) => "true".into(),
        (None, _) => rest.pop_front().ok_or_else(|| {
            format!(
                "flag '{written}' is missing its argument; flag description: {}",
                flag.description
            )
        })?,
    };
    let accepted = match flag.kind {
        Kind::Text => Some(value.clone()),
        Kind::Int32 => value.parse::<i32>().ok().map(|number| number.to_string()),
        Kind::Bool => match value.to_ascii_lowercase().as_str() {
            "1" | "t" | "true" | "y" | "yes" => Some("true".into()),
            "0" | "f" | "false" | "n" | "no" => Some("false".into()),
            _ => None,
        },
    };
    let kind = match flag.kind {
        Kind::Bool => "bool",
        Kind::Int32 => "int32",
        Kind::Text => "string",
    };
    let accepted =
        accepted.ok_or_else(|| format!("illegal value '{value}' specified for {kind} flag '{name}'"))?;
    if !(flag.allowed)(&accepted) {
        return Err(format!(
            "failed validation of new value '{value}' for flag '{name}'"
        ));
    }
    values[index] = accepted;
    Ok(None)
}

fn usage() -> String {
    let mut text = "mgconsole: Memgraph bolt client (a stand-in).\n\n  Flags:\n".to_owned();
    for flag in &FLAGS {
        text += &format!(
            "    -{} ({}) default: {:?}\n",
            flag.name, flag.description, flag.default
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(arguments: &[&str]) -> Outcome {
        Flags::parse(arguments.iter().map(|it| (*it).to_owned()))
    }

    fn flags(arguments: &[&str]) -> Flags {
        match parse(arguments) {
            Outcome::Run(flags) => flags,
            other => panic!("{arguments:?}: {other:?}"),
        }
    }

    #[test]
    fn flags_come_in_all_forms() {
        let default = flags(&[]);
        assert_eq!((default.host.as_str(), default.port), ("127.0.0.1", 7687));
        assert_eq!(default.format, Format::Tabular);
        assert_eq!(default, Flags::default());
        let all = flags(&[
            "--host=a",
            "-port",
            "7",
            "--username=memgraph",
            "-password=b=c",
            "--use-ssl",
            "--output-format",
            "csv",
            "--no-history",
            "ignored",
            "--",
            "--unknown",
        ]);
        assert_eq!((all.host.as_str(), all.port, all.tls), ("a", 7, true));
        assert_eq!(
            (all.username.as_str(), all.password.as_str()),
            ("memgraph", "b=c")
        );
        assert_eq!(all.format, Format::Csv);
        assert!(!flags(&["--use_ssl", "--nouse_ssl"]).tls);
        assert!(!flags(&["--use_ssl=no"]).tls);
    }

    #[test]
    fn what_gflags_refuses_is_refused_in_its_words() {
        for (arguments, reason) in [
            (vec!["--unknown=1"], "ERROR: unknown command line flag 'unknown'"),
            (vec!["--nohost"], "ERROR: unknown command line flag 'nohost'"),
            (
                vec!["--port"],
                "ERROR: flag 'port' is missing its argument; flag description: Server port.",
            ),
            (
                vec!["--port=x"],
                "ERROR: illegal value 'x' specified for int32 flag 'port'",
            ),
            (
                vec!["--output-format=xml"],
                "ERROR: failed validation of new value 'xml' for flag 'output_format'",
            ),
        ] {
            assert_eq!(parse(&arguments), Outcome::Refuse(reason.into()));
        }
        assert!(matches!(
            parse(&["--output-format=csv", "--nocsv-doublequote"]),
            Outcome::Refuse(_)
        ));
    }
}
