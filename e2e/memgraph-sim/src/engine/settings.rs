//! Run-time settings (`flags/run_time_configurable.cpp`, `utils/settings.cpp`): most mirror a flag, some
//! outlive a restart.

mod table;

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    time::Duration,
};

use bolt_server::{Failure, FailureCode, Value as BoltValue, Version};
use cypher_subset::ast::Settings as Statement;
use futures::channel::oneshot;

use self::table::{SETTINGS, Setting};
use super::{
    Node,
    event::{DiskError, Effect, ExitReason, Level, Time},
    session::Answer,
};
use crate::{config::Config, durability::state};

/// The values of the settings, and what follows from them.
pub(super) struct Settings {
    /// All that is stored, also what a former release left there.
    values: RefCell<BTreeMap<String, String>>,
    query_timeout: Cell<Option<Duration>>,
    access_timeout: Cell<Duration>,
    snapshot_interval: Cell<Option<Duration>>,
    interval_changed: RefCell<Option<oneshot::Sender<()>>>,
}

impl Settings {
    pub(super) fn new(config: &Config) -> Self {
        Self {
            values: RefCell::default(),
            query_timeout: Cell::new(None),
            access_timeout: Cell::new(config.access_timeout),
            snapshot_interval: Cell::new(config.snapshot_interval),
            interval_changed: RefCell::default(),
        }
    }

    /// `storage.access_timeout_sec`
    pub(super) fn access_timeout(&self) -> Duration {
        self.access_timeout.get()
    }

    /// `storage.snapshot.interval`; `None` for no periodic snapshots.
    pub(super) fn snapshot_interval(&self) -> Option<Duration> {
        self.snapshot_interval.get().filter(|period| !period.is_zero())
    }

    /// Waits until the interval of snapshots is set anew.
    pub(super) fn interval_change(&self) -> oneshot::Receiver<()> {
        let (sender, receiver) = oneshot::channel();
        self.interval_changed.replace(Some(sender));
        receiver
    }

    /// When a transaction that begins now has run for too long: the lower one of `query.timeout` and the
    /// client's own limit (`DetermineTxTimeout` in query/interpreter.cpp).
    pub(super) fn deadline(&self, now: Time, own: Option<Duration>) -> Option<Time> {
        let limits = [self.query_timeout.get(), own];
        limits.into_iter().flatten().min().map(|limit| now + limit)
    }

    fn find(version: Version, name: &str) -> Option<&'static Setting> {
        let mut known = SETTINGS.iter().filter(|setting| setting.is_known_to(version));
        known.find(|setting| setting.name == name)
    }
}

impl Node {
    /// Brings the settings in their state after a start: those that last keep their value, unless a flag
    /// says otherwise; the others begin with their flag.
    pub(super) async fn restore_settings(&self) -> Result<(), DiskError> {
        let stored: Option<Result<BTreeMap<String, String>, ()>> =
            self.restore(&state::settings_file()).await?;
        let mut values = match stored.clone() {
            Some(Ok(values)) => values,
            Some(Err(())) => return Err(DiskError::Failed("the settings cannot be read".to_owned())),
            None => BTreeMap::new(),
        };
        let version = self.config.version;
        for setting in SETTINGS.iter().filter(|setting| setting.is_known_to(version)) {
            match self.given_setting(setting) {
                Some(value) => drop(values.insert(setting.name.to_owned(), value)),
                None if setting.lasts && values.contains_key(setting.name) => {}
                None => drop(values.insert(setting.name.to_owned(), setting.default.to_owned())),
            }
            if let Some(value) = values.get(setting.name)
                && let Err(failure) = self.apply_setting(setting.name, value)
            {
                self.io.log(Level::Error, failure.message);
            }
        }
        let unchanged = stored == Some(Ok(values.clone()));
        self.settings.values.replace(values);
        if unchanged {
            return Ok(());
        }
        self.save_settings().await
    }

    /// What flags say of a setting.
    fn given_setting(&self, setting: &Setting) -> Option<String> {
        match setting.name {
            "storage.snapshot.interval" => Some(self.config.snapshot_interval?.as_secs().to_string()),
            "storage.access_timeout_sec" => Some(self.config.access_timeout.as_secs().to_string()),
            _ => self.config.given_flags.get(setting.flag).cloned(),
        }
    }

    /// What has become of a flag, if it has a setting.
    pub(super) fn current_flag(&self, flag: &str) -> Option<String> {
        let version = self.config.version;
        let mut known = SETTINGS.iter().filter(|setting| setting.is_known_to(version));
        let setting = known.find(|setting| setting.flag == flag)?;
        self.settings.values.borrow().get(setting.name).cloned()
    }

    async fn save_settings(&self) -> Result<(), DiskError> {
        let values = self.settings.values.borrow().clone();
        self.save_state(&state::settings_file(), &values).await
    }

    /// Executes a statement about settings.
    pub(super) async fn setting_statement(&self, statement: &Statement) -> Result<Answer, Failure> {
        let rows = match statement {
            Statement::ShowAll => {
                let values = self.settings.values.borrow();
                let row = |(name, value): (&String, &String)| vec![name.clone().into(), value.clone().into()];
                values.iter().map(row).collect()
            }
            Statement::Show { name } => {
                let value = self.settings.values.borrow().get(name).cloned();
                vec![vec![BoltValue::from(value.ok_or_else(|| unknown(name))?)]]
            }
            Statement::Set { name, value } => {
                self.change_setting(name, value).await?;
                Vec::new()
            }
        };
        Ok(Answer {
            rows,
            notifications: Vec::new(),
        })
    }

    async fn change_setting(&self, name: &str, value: &str) -> Result<(), Failure> {
        if !self.settings.values.borrow().contains_key(name) {
            return Err(unknown(name));
        }
        let version = self.config.version;
        let Some(setting) = Settings::find(version, name) else {
            // Memgraph asserts that everything stored is a setting of its own; after an upgrade it is not.
            let reason = "Settings storage is out of sync".to_owned();
            self.io.effect(Effect::Exit(ExitReason::Fatal(reason)));
            return std::future::pending().await;
        };
        setting.check(value).map_err(|problem| {
            Failure::transient(if version >= Version::V3_10 {
                format!("Cannot update setting '{name}': {problem}")
            } else {
                format!("'{value}' not valid for '{name}': {problem}")
            })
        })?;
        self.settings
            .values
            .borrow_mut()
            .insert(name.to_owned(), value.to_owned());
        if let Err(error) = self.save_settings().await {
            let reason = format!("Failed to modify the setting: {error}");
            self.io.effect(Effect::Exit(ExitReason::Fatal(reason)));
            return std::future::pending().await;
        }
        self.apply_setting(name, value)
    }

    /// What a value leads to. The driver is told, too: most of what settings change is its business.
    fn apply_setting(&self, name: &str, value: &str) -> Result<(), Failure> {
        let settings = &self.settings;
        match name {
            "query.timeout" => {
                let seconds = table::leading_number(value).ok_or_else(unknown_exception)?;
                let limit = Duration::try_from_secs_f64(seconds).ok();
                settings.query_timeout.set(limit.filter(|limit| !limit.is_zero()));
            }
            "storage.access_timeout_sec" => {
                if let Ok(seconds) = value.parse() {
                    settings.access_timeout.set(Duration::from_secs(seconds));
                }
            }
            "storage.snapshot.interval" => {
                let seconds = value.parse().unwrap_or(0);
                settings.snapshot_interval.set(Some(Duration::from_secs(seconds)));
                if let Some(changed) = settings.interval_changed.take() {
                    // Nobody waits if there are no periodic snapshots at all.
                    let _ = changed.send(());
                }
            }
            _ => {}
        }
        self.io.effect(Effect::Setting(name.to_owned(), value.to_owned()));
        Ok(())
    }
}

fn unknown(name: &str) -> Failure {
    Failure::transient(format!("Unknown setting name '{name}'"))
}

/// What a client hears of an exception that is not Memgraph's own, here of `std::stod`.
fn unknown_exception() -> Failure {
    Failure {
        code: FailureCode::Database,
        message:
            "An unknown exception occurred, this is unexpected. Real message should be in database logs."
                .to_owned(),
    }
}
