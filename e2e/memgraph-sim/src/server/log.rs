//! The log: lines in Memgraph's form, to a file by day, to standard error, and to whoever listens on the
//! monitoring port (flags/logging.cpp; the form is spdlog's default).

mod file;

use std::{
    fmt::{self, Write as _},
    io::Write as _,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use jiff::Zoned;
use tokio::sync::broadcast;
use tracing::{Event, Level, Subscriber, field::Visit};
use tracing_subscriber::{
    Layer, Registry, filter::LevelFilter, layer::Context, layer::SubscriberExt as _, reload,
    util::SubscriberInitExt as _,
};

pub(super) use self::file::{DailyFile, clean_folder};

/// Marks lines that are worse than an error; the logging library has no such level.
const CRITICAL: &str = "memgraph_sim::critical";
/// Lines of other packages are none of Memgraph's.
const OWN: &str = "memgraph_sim";
/// How many lines a listener may be behind before it misses some.
const BACKLOG: usize = 4096;
/// The name of the logger, as it appears in each line.
const NAME: &str = "memgraph_log";

/// Logs a line of the level CRITICAL.
pub(super) fn critical(line: &str) {
    tracing::error!(target: CRITICAL, "{line}");
}

/// A line for listeners.
#[derive(Debug, Clone)]
pub(super) struct Line {
    pub(super) level: &'static str,
    pub(super) message: Arc<str>,
}

/// What can be changed while the server runs.
pub(super) struct Log {
    level: Option<reload::Handle<LevelFilter, Registry>>,
    sinks: Arc<Sinks>,
}

/// Where lines go.
struct Sinks {
    critical_only: AtomicBool,
    to_stderr: AtomicBool,
    file: Option<Mutex<DailyFile>>,
    listeners: broadcast::Sender<Line>,
}

impl Log {
    /// Starts logging at a level (one of Memgraph's names).
    pub(super) fn start(level: &str, to_stderr: bool, file: Option<DailyFile>) -> Self {
        let (listeners, _) = broadcast::channel(BACKLOG);
        let sinks = Arc::new(Sinks {
            critical_only: AtomicBool::new(false),
            to_stderr: AtomicBool::new(to_stderr),
            file: file.map(Mutex::new),
            listeners,
        });
        let (filter, handle) = reload::Layer::new(LevelFilter::WARN);
        let started = tracing_subscriber::registry()
            .with(filter)
            .with(Lines(Arc::clone(&sinks)))
            .try_init();
        let log = Self {
            // A second server in the same process (a test) goes on with the first one's log.
            level: started.is_ok().then_some(handle),
            sinks,
        };
        log.set_level(level);
        log
    }

    /// `log.level`
    pub(super) fn set_level(&self, level: &str) {
        let filter = match level {
            "TRACE" => LevelFilter::TRACE,
            "DEBUG" => LevelFilter::DEBUG,
            "INFO" => LevelFilter::INFO,
            "ERROR" | "CRITICAL" => LevelFilter::ERROR,
            _ => LevelFilter::WARN,
        };
        self.sinks
            .critical_only
            .store(level == "CRITICAL", Ordering::Relaxed);
        if let Some(handle) = &self.level
            && let Err(error) = handle.modify(|current| *current = filter)
        {
            tracing::error!("cannot change the log level: {error}");
        }
    }

    /// `log.to_stderr`
    pub(super) fn set_to_stderr(&self, on: bool) {
        self.sinks.to_stderr.store(on, Ordering::Relaxed);
    }

    /// All lines from now on.
    pub(super) fn listen(&self) -> broadcast::Receiver<Line> {
        self.sinks.listeners.subscribe()
    }
}

struct Lines(Arc<Sinks>);

impl<S: Subscriber> Layer<S> for Lines {
    fn on_event(&self, event: &Event<'_>, _context: Context<'_, S>) {
        let metadata = event.metadata();
        if !metadata.target().starts_with(OWN) {
            return;
        }
        let level = match (metadata.target(), *metadata.level()) {
            (CRITICAL, _) => "critical",
            _ if self.0.critical_only.load(Ordering::Relaxed) => return,
            (_, Level::TRACE) => "trace",
            (_, Level::DEBUG) => "debug",
            (_, Level::INFO) => "info",
            (_, Level::WARN) => "warning",
            (_, Level::ERROR) => "error",
        };
        let mut message = Message::default();
        event.record(&mut message);
        self.0.write(level, message.0);
    }
}

/// The text of an event.
#[derive(Default)]
struct Message(String);

impl Visit for Message {
    fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            // Writing to a string cannot fail.
            let _ = write!(self.0, "{value:?}");
        }
    }
}

impl Sinks {
    fn write(&self, level: &'static str, message: String) {
        let to_stderr = self.to_stderr.load(Ordering::Relaxed);
        if to_stderr || self.file.is_some() {
            let now = Zoned::now();
            let line = format!("[{}] [{NAME}] [{level}] {message}\n", now.strftime("%F %T%.3f"));
            if to_stderr {
                // There is nowhere to complain about standard error.
                let _ = std::io::stderr().write_all(line.as_bytes());
            }
            if let Some(file) = &self.file {
                let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
                if let Err(error) = file.write(&now, line.as_bytes()) {
                    let _ = writeln!(std::io::stderr(), "cannot write the log file: {error}");
                }
            }
        }
        if self.listeners.receiver_count() > 0 {
            let message = message.into();
            // Nobody listens any more.
            let _ = self.listeners.send(Line { level, message });
        }
    }
}
