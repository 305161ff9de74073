//! The server around an [`Engine`](crate::engine::Engine): sockets, files, a clock.
//!
//! Everything runs on one thread; only disk syncs and large files go to others. Each event is handed to the
//! engine and its effects are carried out at once, in order.

mod bolt;
mod counters;
mod directory;
mod disk;
mod environment;
mod failure;
mod faults;
mod guest;
mod log;
mod metrics;
mod monitor;
mod peers;
mod setup;
mod tls;
mod transport;

use std::{
    cell::{Cell, RefCell},
    collections::{HashMap, VecDeque},
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

use bolt_server::{Response, SessionConfig};
use tokio::sync::{Notify, mpsc, oneshot};

use self::{
    counters::Counters,
    disk::Disk,
    faults::Faults,
    log::Log,
    metrics::MetricsPort,
    peers::Replication,
    tls::{ClientTls, ClusterTls},
};
pub use self::{
    environment::configure,
    failure::{ExitCode, StartError},
    guest::Guest,
    setup::run,
};
use crate::engine::{DiskOperation, Effect, Engine, Event, ExitReason, Level, SessionId, Time};

/// How long the engine's clock may stand still at most while there is nothing to do.
const LONG: Duration = Duration::from_secs(3600);

/// Carries events to the engine and effects to the world.
struct Driver {
    engine: RefCell<Engine>,
    started: Instant,
    disk: Rc<Disk>,
    faults: Arc<Faults>,
    replication: Replication,
    replication_address: String,
    /// For how long what is sent to another instance may go without acknowledgement; none: for as long as the kernel likes.
    user_timeout: Option<Duration>,
    clients: RefCell<HashMap<SessionId, mpsc::UnboundedSender<Response>>>,
    last_session: Cell<u64>,
    /// What new sessions begin with.
    bolt: RefCell<Arc<SessionConfig>>,
    bolt_address: (String, u16),
    monitoring_address: (String, u16),
    metrics_port: MetricsPort,
    client_tls: ClientTls,
    cluster_tls: Option<ClusterTls>,
    counters: Counters,
    log: Log,
    /// When the timer task will wake up.
    armed: Cell<Option<Time>>,
    rearm: Notify,
    exit: RefCell<Option<oneshot::Sender<ExitReason>>>,
}

impl Driver {
    fn now(&self) -> Time {
        self.started.elapsed()
    }

    /// Hands an event to the engine and carries out what it wants.
    fn dispatch(self: &Rc<Self>, event: Event) {
        let mut events = VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            self.engine.borrow_mut().handle(self.now(), event);
            self.carry_out(&mut events);
        }
        self.check_timer();
    }

    /// Lets time pass.
    fn tick(self: &Rc<Self>) {
        self.engine.borrow_mut().advance(self.now());
        let mut events = VecDeque::new();
        self.carry_out(&mut events);
        while let Some(event) = events.pop_front() {
            self.engine.borrow_mut().handle(self.now(), event);
            self.carry_out(&mut events);
        }
        self.check_timer();
    }

    fn carry_out(self: &Rc<Self>, events: &mut VecDeque<Event>) {
        let effects = self.engine.borrow_mut().take_effects();
        for effect in effects {
            match effect {
                Effect::Ready => self.open_ports(),
                Effect::Exit(reason) => return self.leave(reason),
                Effect::Respond(session, response) => {
                    if let Some(client) = self.clients.borrow().get(&session) {
                        // A client that has gone needs no answer.
                        let _ = client.send(response);
                    }
                }
                Effect::Listen(token, port) => {
                    let open = self.listen(port);
                    events.push_back(Event::Listening(token, open));
                }
                Effect::StopListening => self.replication.stop_listening(),
                Effect::Connect(id, address) => self.connect(id, address),
                Effect::Send(id, message) => self.replication.send(id, message),
                Effect::Disconnect(id) => self.replication.disconnect(id),
                Effect::Disk(token, operation) => {
                    let later = matches!(operation, DiskOperation::Sync { .. }) || Disk::is_large(&operation);
                    match token {
                        Some(token) if later => {
                            let work = self.disk.later(operation);
                            let driver = Rc::clone(self);
                            tokio::task::spawn_local(async move {
                                let result = work.await;
                                driver.dispatch(Event::Disk(token, result));
                            });
                        }
                        Some(token) => events.push_back(Event::Disk(token, self.disk.perform(&operation))),
                        None => {
                            if let Err(error) = self.disk.perform(&operation) {
                                let directory = self.disk.root().display().to_string();
                                return self
                                    .leave(ExitReason::Fatal(operation.last_words(&directory, &error)));
                            }
                        }
                    }
                }
                Effect::Setting(name, value) => self.apply_setting(&name, value),
                Effect::ReloadTls(token) => {
                    let result = self.client_tls.reload().map_err(|error| {
                        let message = error.to_string();
                        tracing::error!("{message}");
                        message
                    });
                    events.push_back(Event::TlsReloaded(token, result));
                }
                Effect::Log(level, line) => write(level, &line),
            }
        }
    }

    /// The start is complete. Bolt comes first, the others follow (memgraph.cpp).
    fn open_ports(self: &Rc<Self>) {
        if self.open_bolt_port() {
            self.open_monitoring_port();
            self.open_metrics_port();
        }
    }

    /// What run-time settings mean for the server around the engine.
    fn apply_setting(&self, name: &str, value: String) {
        match name {
            "log.level" => self.log.set_level(&value),
            "log.to_stderr" => self.log.set_to_stderr(value == "true"),
            "server.name" => Arc::make_mut(&mut self.bolt.borrow_mut()).server_name = value,
            _ => {}
        }
    }

    fn leave(&self, reason: ExitReason) {
        if let Some(exit) = self.exit.take() {
            let _ = exit.send(reason);
        }
    }

    fn check_timer(&self) {
        let next = self.engine.borrow().next_deadline();
        let earlier = match (next, self.armed.get()) {
            (Some(next), Some(armed)) => next < armed,
            (Some(_), None) => true,
            (None, _) => false,
        };
        if earlier {
            self.rearm.notify_one();
        }
    }

    /// Wakes the engine when its timers are due.
    async fn keep_time(self: Rc<Self>) {
        loop {
            let next = self.engine.borrow().next_deadline();
            self.armed.set(next);
            let wait = next.map_or(LONG, |next| next.saturating_sub(self.now()));
            tokio::select! {
                () = tokio::time::sleep(wait) => self.tick(),
                () = self.rearm.notified() => {}
            }
        }
    }

    fn new_session(&self) -> SessionId {
        self.last_session.set(self.last_session.get() + 1);
        SessionId(self.last_session.get())
    }
}

fn write(level: Level, line: &str) {
    match level {
        Level::Trace => tracing::trace!("{line}"),
        Level::Debug => tracing::debug!("{line}"),
        Level::Info => tracing::info!("{line}"),
        Level::Warning => tracing::warn!("{line}"),
        Level::Error => tracing::error!("{line}"),
    }
}
