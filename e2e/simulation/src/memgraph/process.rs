//! Processes of Memgraph: an engine on a volume, with everything that it wants done.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use memgraph_sim::{
    config::Config,
    engine::{ConnectionId, DiskError, DiskReply, Effect, Engine, Event, Level, SessionId, Time, Token},
};
use rand::{SeedableRng as _, rngs::StdRng};
use tokio::sync::watch;

use super::{
    Pod, Process, Volume, connection::Side, core::Core, disk::Disk, queue::Happening, session::ServerSession,
    setup::Setup, stream::Request,
};

/// How a process is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Status {
    /// It waits for its data directory, which another process has.
    Waiting,
    /// It recovers its data and is not open to clients yet.
    Starting,
    /// It is open to clients.
    Ready,
    /// It is no more.
    Ended(Exit),
}

/// How a process has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Exit {
    /// It was asked to (SIGTERM).
    Stopped,
    /// It gave up, with these last words.
    Fatal(String),
    /// SIGKILL
    Killed,
    /// Its host lost power.
    PowerLost,
}

impl Exit {
    /// The exit code that a container runtime tells: 128 and the number of the signal, where it was one.
    #[must_use]
    pub fn code(&self) -> i32 {
        match self {
            Self::Stopped => 0,
            Self::Fatal(_) => 128 + 6,
            Self::Killed | Self::PowerLost => 128 + 9,
        }
    }
}

/// What comes to a process.
#[derive(Debug)]
pub(super) enum Input {
    Event(Event),
    /// A client's request, which the server's Bolt has not looked at yet.
    Request(SessionId, Request),
}

/// A process.
pub(super) struct ProcessState {
    pub(super) pod: Pod,
    pub(super) volume: Volume,
    pub(super) config: Config,
    seed: u64,
    pub(super) engine: Option<Engine>,
    pub(super) status: watch::Sender<Status>,
    /// It is stopped (SIGSTOP).
    pub(super) frozen: bool,
    /// What its kernel has for it when it goes on.
    pub(super) missed: Vec<Input>,
    /// What it was about to do when it was frozen.
    pub(super) unfinished: Vec<Effect>,
    /// When its timer is set to fire.
    pub(super) armed: Option<Time>,
    pub(super) listening: Option<u16>,
    pub(super) links: BTreeMap<ConnectionId, (u64, Side)>,
    pub(super) sessions: BTreeMap<SessionId, ServerSession>,
    pub(super) last_session: u64,
    pub(super) last_accepted: u64,
    /// Syncs under way, with how long the file was when each began; and other things that take time.
    pub(super) disk: BTreeMap<Token, Pending>,
    pub(super) log: VecDeque<(Time, Level, String)>,
}

#[derive(Debug)]
pub(super) enum Pending {
    Sync { path: String, length: usize },
    Result(Result<DiskReply, DiskError>),
}

impl ProcessState {
    pub(super) fn is_ready(&self) -> bool {
        *self.status.borrow() == Status::Ready
    }

    pub(super) fn is_frozen(&self) -> bool {
        self.frozen
    }
}

/// A volume.
#[derive(Debug, Default)]
pub(super) struct VolumeState {
    pub(super) disk: Disk,
    /// The process that has it locked.
    pub(super) holder: Option<Process>,
    /// Those that wait for that.
    waiting: VecDeque<Process>,
    /// A sync takes so long, and up to twice that.
    pub(super) sync: Duration,
    /// To write a snapshot takes so long.
    pub(super) snapshot: Duration,
    /// The next sync fails.
    pub(super) fail_next_sync: bool,
}

impl VolumeState {
    pub(super) fn new() -> Self {
        Self {
            sync: Duration::from_micros(400),
            snapshot: Duration::from_millis(20),
            ..Self::default()
        }
    }
}

impl Core {
    pub(super) fn start(&mut self, pod: Pod, volume: Volume, setup: &Setup) -> Process {
        let process = Process::new(self.processes.len());
        let (config, patience) = self.setups.prepare(setup);
        let seed = self.random.u64(..);
        let (status, _) = watch::channel(Status::Waiting);
        let (config, refused) = match config {
            Ok(config) => (config, None),
            Err(reason) => (Config::default(), Some(reason)),
        };
        self.processes.push(ProcessState {
            pod,
            volume,
            config,
            seed,
            engine: None,
            status,
            frozen: false,
            missed: Vec::new(),
            unfinished: Vec::new(),
            armed: None,
            listening: None,
            links: BTreeMap::new(),
            sessions: BTreeMap::new(),
            last_session: 0,
            last_accepted: 0,
            disk: BTreeMap::new(),
            log: VecDeque::new(),
        });
        self.pods[pod.index()].volume = Some(volume);
        if let Some(before) = self.pods[pod.index()].process.replace(process) {
            self.end(before, Exit::Killed);
            self.pods[pod.index()].process = Some(process);
        }
        if let Some(reason) = refused {
            self.end(process, Exit::Fatal(reason));
        } else if self.volumes[volume.index()].holder.is_some() {
            self.volumes[volume.index()].waiting.push_back(process);
            self.queue
                .push(self.now + patience, Happening::Impatience { process });
        } else {
            self.boot(process);
        }
        process
    }

    fn boot(&mut self, process: Process) {
        let state = &mut self.processes[process.index()];
        let volume = &mut self.volumes[state.volume.index()];
        volume.holder = Some(process);
        if !state.config.backup_directory {
            // `CleanDataDir` in memgraph.cpp.
            volume.disk.remove("snapshots/.old");
            volume.disk.remove("wal/.old");
        }
        let random = StdRng::seed_from_u64(state.seed);
        let mut engine = Engine::new(state.config.clone(), Box::new(random));
        engine.advance(self.now);
        state.engine = Some(engine);
        state.status.send_replace(Status::Starting);
        self.carry_out(process);
    }

    pub(super) fn lose_patience(&mut self, process: Process) {
        let state = &self.processes[process.index()];
        if *state.status.borrow() == Status::Waiting {
            let reason = "Couldn't acquire lock on the storage directory!".to_owned();
            self.end(process, Exit::Fatal(reason));
        }
    }

    /// Ends a process. Its kernel closes its connections, unless the power is lost.
    pub(super) fn end(&mut self, process: Process, exit: Exit) {
        let state = &mut self.processes[process.index()];
        if matches!(*state.status.borrow(), Status::Ended(_)) {
            return;
        }
        tracing::debug!(process = process.index(), ?exit, "process ended");
        let lost_power = exit == Exit::PowerLost;
        state.status.send_replace(Status::Ended(exit));
        state.engine = None;
        state.listening = None;
        // A socket with something in it that was not read is reset.
        let unread = !state.missed.is_empty();
        state.missed.clear();
        state.unfinished.clear();
        let links = std::mem::take(&mut state.links);
        let sessions = std::mem::take(&mut state.sessions);
        let (pod, volume) = (state.pod, state.volume);
        if self.pods[pod.index()].process == Some(process) {
            self.pods[pod.index()].process = None;
        }
        if !lost_power {
            for (key, side) in links.into_values() {
                self.close(key, side, unread);
            }
            for session in sessions.into_values() {
                self.close(session.connection, Side::Called, unread);
            }
        }
        let held = self.volumes[volume.index()].holder == Some(process);
        let volume = &mut self.volumes[volume.index()];
        if !lost_power {
            for pending in self.processes[process.index()].disk.values() {
                if let Pending::Sync { path, length } = pending {
                    volume.disk.left_unsynced(path, *length);
                }
            }
        }
        volume.waiting.retain(|waiting| *waiting != process);
        if held {
            volume.holder = None;
            if let Some(next) = volume.waiting.pop_front() {
                self.boot(next);
            }
        }
    }

    /// SIGTERM
    pub(super) fn stop(&mut self, process: Process) {
        if *self.processes[process.index()].status.borrow() == Status::Waiting {
            return self.end(process, Exit::Stopped);
        }
        self.input(process, Input::Event(Event::Stop));
    }

    /// SIGSTOP
    pub(super) fn freeze(&mut self, process: Process) {
        let state = &mut self.processes[process.index()];
        state.frozen = state.engine.is_some();
    }

    /// SIGCONT
    pub(super) fn thaw(&mut self, process: Process) {
        let state = &mut self.processes[process.index()];
        if !std::mem::take(&mut state.frozen) {
            return;
        }
        // It finishes what it was at, then sees what has come meanwhile.
        let unfinished = std::mem::take(&mut state.unfinished);
        let mut soon = VecDeque::new();
        self.effects(process, unfinished, &mut soon);
        let missed = std::mem::take(&mut self.processes[process.index()].missed);
        for input in missed {
            if let Some(event) = self.event(process, input) {
                soon.push_back(event);
            }
        }
        let now = self.now;
        let state = &mut self.processes[process.index()];
        if state.frozen {
            state.missed.extend(soon.into_iter().map(Input::Event));
        } else if let Some(engine) = &mut state.engine {
            engine.resume(now, soon);
            self.carry_out(process);
        }
    }

    /// Something comes to a process.
    pub(super) fn input(&mut self, process: Process, input: Input) {
        let state = &mut self.processes[process.index()];
        if state.frozen {
            state.missed.push(input);
            return;
        }
        let Some(event) = self.event(process, input) else {
            return;
        };
        let now = self.now;
        if let Some(engine) = &mut self.processes[process.index()].engine {
            engine.handle(now, event);
            self.carry_out(process);
        }
    }

    /// What an engine is told of an input.
    fn event(&mut self, process: Process, input: Input) -> Option<Event> {
        match input {
            Input::Event(event) => Some(event),
            Input::Request(session, request) => self.request(process, session, request),
        }
    }

    /// An engine's timer fires.
    pub(super) fn wake(&mut self, process: Process) {
        let now = self.now;
        let state = &mut self.processes[process.index()];
        if state.armed.is_none_or(|at| at > now) {
            return;
        }
        state.armed = None;
        if !state.frozen
            && let Some(engine) = &mut state.engine
        {
            engine.advance(now);
            self.carry_out(process);
        }
    }
}
