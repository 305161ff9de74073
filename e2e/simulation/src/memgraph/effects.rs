//! Carries out what engines want.

use std::{collections::VecDeque, time::Duration};

use memgraph_sim::engine::{
    ConnectionId, DiskError, DiskOperation, DiskReply, Effect, Engine, Event, ExitReason, Level, PeerMessage,
    Token,
};

use super::{
    Process,
    command::Target,
    connection::{End, Owner, Packet, Side},
    core::Core,
    path::up_to,
    process::{Exit, Input, Pending, Status},
    queue::Happening,
};

/// How many lines of its log are kept of a process.
const LOG_LINES: usize = 200;

impl Core {
    /// Carries out what an engine wants, until it wants nothing more.
    pub(super) fn carry_out(&mut self, process: Process) {
        let mut soon = VecDeque::new();
        loop {
            let now = self.now;
            let state = &mut self.processes[process.index()];
            let Some(engine) = &mut state.engine else { return };
            let effects = engine.take_effects();
            if !effects.is_empty() {
                self.effects(process, effects, &mut soon);
                continue;
            }
            if state.frozen {
                state.missed.extend(soon.into_iter().map(Input::Event));
                return;
            }
            match soon.pop_front() {
                Some(event) => engine.handle(now, event),
                None => break,
            }
        }
        let now = self.now;
        let state = &mut self.processes[process.index()];
        let next = state.engine.as_ref().and_then(Engine::next_deadline);
        if let Some(at) = next.map(|at| at.max(now))
            && state.armed.is_none_or(|armed| at < armed)
        {
            state.armed = Some(at);
            self.queue.push(at, Happening::Timer { process });
        }
    }

    pub(super) fn effects(&mut self, process: Process, effects: Vec<Effect>, soon: &mut VecDeque<Event>) {
        let mut effects = effects.into_iter();
        while let Some(effect) = effects.next() {
            let state = &mut self.processes[process.index()];
            if state.engine.is_none() {
                return;
            }
            if state.frozen {
                state.unfinished.push(effect);
                state.unfinished.extend(effects);
                return;
            }
            self.effect(process, effect, soon);
        }
    }

    fn effect(&mut self, process: Process, effect: Effect, soon: &mut VecDeque<Event>) {
        let state = &mut self.processes[process.index()];
        match effect {
            Effect::Ready => {
                state.status.send_replace(Status::Ready);
            }
            Effect::Exit(ExitReason::Stopped) => self.end(process, Exit::Stopped),
            Effect::Exit(ExitReason::Fatal(reason)) => self.end(process, Exit::Fatal(reason)),
            Effect::Respond(session, response) => {
                if let Some(event) = self.respond(process, session, response) {
                    soon.push_back(event);
                }
            }
            Effect::Listen(token, port) => {
                let free = state.listening.is_none();
                if free {
                    state.listening = Some(port);
                }
                soon.push_back(Event::Listening(token, free));
            }
            Effect::StopListening => state.listening = None,
            Effect::Connect(id, address) => self.dial(process, id, &address, soon),
            Effect::Send(id, message) => {
                if let Some((key, side)) = state.links.get(&id).copied() {
                    self.send_peer(process, key, side, message);
                }
            }
            Effect::Disconnect(id) => {
                if let Some((key, side)) = state.links.remove(&id) {
                    self.close(key, side, false);
                }
            }
            Effect::Disk(token, operation) => self.disk(process, token, operation, soon),
            Effect::Setting(..) => {}
            Effect::ReloadTls(token) => {
                let refusal = Err("there is no TLS in this network".to_owned());
                soon.push_back(Event::TlsReloaded(token, refusal));
            }
            Effect::Log(level, line) => {
                if level >= Level::Warning {
                    tracing::debug!(process = process.index(), line, "log");
                    if state.log.len() == LOG_LINES {
                        state.log.pop_front();
                    }
                    state.log.push_back((self.now, level, line));
                }
            }
        }
    }

    fn dial(&mut self, process: Process, id: ConnectionId, address: &str, soon: &mut VecDeque<Event>) {
        let Some(to) = self.resolve(&Target::Name(address.to_owned())) else {
            soon.push_back(Event::Disconnected(id));
            return;
        };
        let key = self.new_key();
        let state = &mut self.processes[process.index()];
        state.links.insert(id, (key, Side::Caller));
        let pod = state.pod;
        let caller = End {
            place: self.pods[pod.index()].place,
            pod: Some(pod),
            owner: Owner::Peer(process, id),
        };
        self.connect(key, to, caller, None);
    }

    pub(super) fn peer_connected(&mut self, process: Process, id: ConnectionId) {
        self.input(process, Input::Event(Event::Connected(id)));
    }

    pub(super) fn peer_gone(&mut self, process: Process, id: ConnectionId) {
        self.processes[process.index()].links.remove(&id);
        self.input(process, Input::Event(Event::Disconnected(id)));
    }

    pub(super) fn peer_said(&mut self, key: u64, process: Process, id: ConnectionId, message: PeerMessage) {
        self.note_arrival(key, process, &message);
        self.input(process, Input::Event(Event::Received(id, message)));
    }

    /// Sends a message to another instance, unless the test has other plans with it.
    fn send_peer(&mut self, process: Process, key: u64, side: Side, message: PeerMessage) {
        let deed = self.about_to_send(process, key, side, &message);
        if deed.delivers() {
            self.transmit(key, side.other(), Packet::Peer(message), deed.delay());
        }
        if deed.breaks() {
            self.break_connection(key);
        }
        self.act(deed);
    }

    fn disk(
        &mut self,
        process: Process,
        token: Option<Token>,
        operation: DiskOperation,
        soon: &mut VecDeque<Event>,
    ) {
        let volume = self.processes[process.index()].volume;
        let volume = &mut self.volumes[volume.index()];
        if let DiskOperation::Sync { path, .. } = &operation {
            let length = volume.disk.length(path);
            let failed = std::mem::take(&mut volume.fail_next_sync)
                .then(|| DiskError::Failed("Input/output error (5)".to_owned()));
            let Some(token) = token else {
                // Nobody waits for it: that it has ended can as well be known now.
                match failed {
                    None => volume.disk.synced(path, length),
                    Some(error) => self.give_up(process, &operation, &error),
                }
                return;
            };
            let delay = volume.sync + up_to(volume.sync, &mut self.random);
            let pending = match failed {
                None => Pending::Sync {
                    path: path.clone(),
                    length,
                },
                Some(error) => Pending::Result(Err(error)),
            };
            self.later(process, token, delay, pending);
            return self.about_to_sync(process);
        }
        let slow = match &operation {
            DiskOperation::Replace(path, _) if path.starts_with("snapshots/") => Some(volume.snapshot),
            _ => None,
        };
        // Of what is done without waiting, only a rename can fail here.
        let renamed = match (&operation, token) {
            (DiskOperation::Rename(..), None) => Some(operation.clone()),
            _ => None,
        };
        let result = volume.disk.perform(operation, self.now);
        match (token, slow, result) {
            (Some(token), Some(delay), result) => self.later(process, token, delay, Pending::Result(result)),
            (Some(token), None, result) => soon.push_back(Event::Disk(token, result)),
            (None, _, Ok(_)) => {}
            (None, _, Err(error)) => {
                if let Some(operation) = renamed {
                    self.give_up(process, &operation, &error);
                }
            }
        }
    }

    /// Ends a process because its disk failed.
    fn give_up(&mut self, process: Process, operation: &DiskOperation, error: &DiskError) {
        let directory = &self.processes[process.index()].config.data_directory;
        let last_words = operation.last_words(directory, error);
        self.end(process, Exit::Fatal(last_words));
    }

    fn later(&mut self, process: Process, token: Token, delay: Duration, pending: Pending) {
        self.processes[process.index()].disk.insert(token, pending);
        self.queue
            .push(self.now + delay, Happening::Disk { process, token });
    }

    pub(super) fn disk_done(&mut self, process: Process, token: Token) {
        let state = &mut self.processes[process.index()];
        let Some(pending) = state.disk.remove(&token) else {
            return;
        };
        if state.engine.is_none() {
            return;
        }
        let result = match pending {
            Pending::Sync { path, length } => {
                self.volumes[state.volume.index()].disk.synced(&path, length);
                Ok(DiskReply::Done)
            }
            Pending::Result(result) => result,
        };
        self.input(process, Input::Event(Event::Disk(token, result)));
    }
}
