//! What a process is started with: the release, the command line, and the init file.

use std::{collections::BTreeMap, path::Path, time::Duration};

use bolt_server::Version;
use memgraph_sim::{config::Config, flags::Flags, server};

/// The settings of the image, which the command line overrides.
const IMAGE: &str = include_str!("../../../images/memgraph.conf");

/// The time of day when everything begins, in microseconds since 1970.
const BEGINNING: i64 = 1_700_000_000_000_000;

/// How a container of Memgraph is started.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Setup {
    /// `3.12`; nothing stands for the release that the simulator knows best.
    pub version: String,
    /// The arguments of the container.
    pub arguments: Vec<String>,
    /// The content of the file that `--init-file` names; `None` if it is not there.
    pub init_file: Option<String>,
    /// The user of its environment, and the password.
    pub initial_user: Option<(String, String)>,
}

/// The configurations that were made of setups: there are few, and making one takes longer than many an event.
#[derive(Debug, Default)]
pub(super) struct Setups {
    known: BTreeMap<Setup, (Result<Config, String>, Duration)>,
}

impl Setups {
    /// The configuration, or why an instance so set up does not start; and for how long it waits for its data
    /// directory.
    pub(super) fn prepare(&mut self, setup: &Setup) -> (Result<Config, String>, Duration) {
        if let Some(known) = self.known.get(setup) {
            return known.clone();
        }
        let made = match configure(setup) {
            Ok((config, patience)) => (Ok(config), patience),
            Err(reason) => (Err(reason), Duration::ZERO),
        };
        self.known.insert(setup.clone(), made.clone());
        made
    }
}

fn configure(setup: &Setup) -> Result<(Config, Duration), String> {
    let version: Version = if setup.version.is_empty() {
        Version::default()
    } else {
        setup.version.parse().map_err(|error| format!("{error}"))?
    };
    let mut flags = Flags::new(version);
    flags.parse_file(IMAGE).map_err(|error| error.to_string())?;
    let arguments = setup.arguments.iter().cloned();
    flags.parse(arguments).map_err(|error| error.to_string())?;
    let directory = flags.text("data_directory").to_owned();
    let patience = if version >= Version::V3_10 {
        Duration::from_secs(flags.number("data_dir_lock_acquisition_timeout_sec"))
    } else {
        Duration::ZERO
    };
    let made = server::configure(version, &flags, Path::new(&directory));
    let config = Config {
        started_at: BEGINNING,
        data_directory: directory,
        init_statements: setup
            .init_file
            .clone()
            .filter(|_| !flags.text("init_file").is_empty()),
        init_data_statements: None,
        initial_user: setup.initial_user.clone(),
        ..made.map_err(|error| error.to_string())?
    };
    Ok((config, patience))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_decides() {
        let setup = Setup {
            arguments: vec![
                "--storage-wal-file-flush-every-n-tx=1".to_owned(),
                "--init-file=/gate".to_owned(),
            ],
            init_file: Some("SHOW VERSION;".to_owned()),
            ..Setup::default()
        };
        let (config, patience) = Setups::default().prepare(&setup);
        let config = config.unwrap();
        assert_eq!(config.wal_flush_every, 1);
        assert_eq!(config.init_statements.as_deref(), Some("SHOW VERSION;"));
        assert_eq!(patience, Duration::from_secs(30));
    }

    #[test]
    fn what_stops_a_start_is_told() {
        let setup = Setup {
            arguments: vec!["--no-such-flag=1".to_owned()],
            ..Setup::default()
        };
        assert!(Setups::default().prepare(&setup).0.is_err());
    }
}
