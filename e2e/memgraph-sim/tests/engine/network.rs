//! Instances on virtual time: engines, their disks, and a network between them that can lose, delay and cut.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap},
    hash::{DefaultHasher, Hash as _},
    time::Duration,
};

use bolt_server::{Response, Version};
use memgraph_sim::{
    config::Config,
    engine::{
        ConnectionId, DiskOperation, Effect, Engine, Event, ExitReason, Level, PeerMessage, SessionId, Time,
        Token,
    },
};
use rand::{SeedableRng, rngs::StdRng};

use crate::disk::Disk;

/// How long everything takes on the network.
const LATENCY: Duration = Duration::from_micros(200);
/// How long a sync of the disk takes.
const SYNC: Duration = Duration::from_millis(1);
/// How long a test waits for an answer, on the virtual clock.
pub const PATIENCE: Duration = Duration::from_secs(200);

/// An instance, running or not.
pub struct Member {
    config: Config,
    seed: u64,
    engine: Option<Engine>,
    /// Grows with each start, so that what was meant for a former process gets lost.
    incarnation: u64,
    disk: Disk,
    ready: bool,
    exit: Option<ExitReason>,
    listening: Option<u16>,
    /// Somebody else has the replication port.
    port_taken: bool,
    /// When the timer is set to fire.
    armed: Option<Time>,
    /// The other ends of connections.
    links: BTreeMap<ConnectionId, (String, ConnectionId)>,
    log: Vec<(Level, String)>,
    pub sessions: BTreeMap<SessionId, Option<Response>>,
}

/// Something on its way to a member.
pub enum Delivery {
    Event(Event),
    /// Somebody wants to connect to a port.
    Knock {
        port: u16,
        from: String,
        id: ConnectionId,
    },
    Timer,
}

struct Scheduled {
    at: Time,
    order: u64,
    to: String,
    incarnation: u64,
    what: Delivery,
}

impl PartialEq for Scheduled {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.order) == (other.at, other.order)
    }
}

impl Eq for Scheduled {}

impl PartialOrd for Scheduled {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Scheduled {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.order).cmp(&(other.at, other.order))
    }
}

/// A client's session with a member.
#[derive(Debug, Clone)]
pub struct Client {
    pub member: String,
    pub session: SessionId,
}

/// What becomes of a message between two members.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    Delivered,
    Lost,
    /// It takes longer by this, and so does everything behind it on the same connection.
    Delayed(Duration),
    /// It is lost, and its connection breaks.
    Cut,
    /// It arrives, and then its connection breaks.
    LastOne,
}

/// A decision about a message, by sender, receiver and message.
type Filter = Box<dyn FnMut(&str, &str, &PeerMessage) -> Fate>;

/// Several instances and the network between them.
pub struct Network {
    pub now: Time,
    members: BTreeMap<String, Member>,
    queue: BinaryHeap<Reverse<Scheduled>>,
    order: u64,
    last_connection: u64,
    pub last_session: u64,
    /// Members whose packets vanish.
    black_holes: Vec<String>,
    filter: Option<Filter>,
    /// Everything that instances have done, with its time: two runs of one schedule must not differ in it.
    pub done: Option<DefaultHasher>,
    /// Until when what arrives on a connection has to wait for what was sent before.
    late: BTreeMap<(String, ConnectionId), Time>,
}

impl Network {
    /// Starts instances with one release. The replication addresses are `name:10000`.
    pub fn new(version: Version, names: &[&str]) -> Self {
        let mut network = Self {
            now: Duration::ZERO,
            members: BTreeMap::new(),
            queue: BinaryHeap::new(),
            order: 0,
            last_connection: 0,
            last_session: 0,
            black_holes: Vec::new(),
            filter: None,
            done: None,
            late: BTreeMap::new(),
        };
        for name in names {
            network.add(
                name,
                Config {
                    version,
                    ..Config::default()
                },
            );
        }
        network
    }

    /// Adds an instance and starts it.
    pub fn add(&mut self, name: &str, config: Config) {
        let seed = name.bytes().fold(7, |seed, byte| seed * 31 + u64::from(byte));
        let member = Member {
            config,
            seed,
            engine: None,
            incarnation: 0,
            disk: Disk::default(),
            ready: false,
            exit: None,
            listening: None,
            port_taken: false,
            armed: None,
            links: BTreeMap::new(),
            log: Vec::new(),
            sessions: BTreeMap::new(),
        };
        self.members.insert(name.to_owned(), member);
        self.start(name);
        self.until_ready(name);
    }

    /// Changes how an instance will be configured from its next start on.
    pub fn configure(&mut self, name: &str, change: impl FnOnce(&mut Config)) {
        change(&mut self.member(name).config);
    }

    /// Asks a process to end, and waits for that.
    pub fn stop(&mut self, name: &str) {
        self.schedule(Duration::ZERO, name, Delivery::Event(Event::Stop));
        let limit = self.now + PATIENCE;
        while self.member(name).exit.is_none() {
            assert!(self.step(limit), "{name} does not end");
        }
    }

    /// Starts a stopped instance, without waiting for it.
    pub fn start(&mut self, name: &str) {
        let now = self.now;
        let member = self.member(name);
        member.incarnation += 1;
        member.exit = None;
        member.ready = false;
        let random = StdRng::seed_from_u64(member.seed * 1000 + member.incarnation);
        let config = Config {
            // The engine's clock is the network's, which starts here.
            started_at: 1_700_000_000_000_000,
            ..member.config.clone()
        };
        let mut engine = Engine::new(config, Box::new(random));
        engine.advance(now);
        member.engine = Some(engine);
        self.carry_out(name);
    }

    /// Lets time pass until an instance has opened its Bolt port.
    pub fn until_ready(&mut self, name: &str) {
        let limit = self.now + PATIENCE;
        while !self.member(name).ready {
            assert!(
                self.member(name).exit.is_none(),
                "{name} has ended: {:?}",
                self.member(name).exit
            );
            assert!(self.step(limit), "{name} does not get ready");
        }
    }

    pub fn restart(&mut self, name: &str) {
        self.kill(name);
        self.start(name);
        self.until_ready(name);
    }

    /// Kills the process. What it wrote stays in the page cache.
    pub fn kill(&mut self, name: &str) {
        let member = self.member(name);
        member.engine = None;
        member.ready = false;
        member.armed = None;
        member.listening = None;
        member.incarnation += 1;
        member.sessions.clear();
        let links = std::mem::take(&mut member.links);
        for (_, (other, id)) in links {
            self.member(&other).links.remove(&id);
            self.send_event(name, &other, Event::Disconnected(id));
        }
    }

    /// Takes the power from the host: what was not synced is lost.
    pub fn power_off(&mut self, name: &str) {
        self.kill(name);
        self.member(name).disk.lose_unsynced();
    }

    pub fn disk(&mut self, name: &str) -> &mut Disk {
        &mut self.member(name).disk
    }

    pub fn has_exited(&mut self, name: &str) -> Option<ExitReason> {
        self.member(name).exit.clone()
    }

    pub fn is_ready(&mut self, name: &str) -> bool {
        self.member(name).ready
    }

    pub fn is_listening(&mut self, name: &str) -> bool {
        self.member(name).listening.is_some()
    }

    /// Whether a transaction waits for MAIN's decision there.
    pub fn is_prepared(&mut self, name: &str) -> bool {
        let engine = self.member(name).engine.as_ref();
        engine.is_some_and(|engine| engine.prepared().is_some())
    }

    /// Lets somebody else take the replication port.
    pub fn block_port(&mut self, name: &str) {
        self.member(name).port_taken = true;
    }

    pub fn logged(&mut self, name: &str, part: &str) -> bool {
        self.member(name).log.iter().any(|(_, line)| line.contains(part))
    }

    /// Makes all packets from and to a member vanish; its connections stay.
    pub fn black_hole(&mut self, name: &str) {
        self.black_holes.push(name.to_owned());
    }

    pub fn heal(&mut self) {
        self.black_holes.clear();
        self.filter = None;
    }

    /// Loses the messages that `filter` picks by sender, receiver and message.
    pub fn lose(&mut self, mut filter: impl FnMut(&str, &str, &PeerMessage) -> bool + 'static) {
        self.decide(move |from, to, message| match filter(from, to, message) {
            true => Fate::Lost,
            false => Fate::Delivered,
        });
    }

    /// Lets `filter` decide what becomes of each message.
    pub fn decide(&mut self, filter: impl FnMut(&str, &str, &PeerMessage) -> Fate + 'static) {
        self.filter = Some(Box::new(filter));
    }

    /// Lets time pass.
    pub fn run(&mut self, duration: Duration) {
        let until = self.now + duration;
        while self.step(until) {}
        self.now = until;
    }

    pub fn member(&mut self, name: &str) -> &mut Member {
        self.members
            .get_mut(name)
            .unwrap_or_else(|| panic!("no instance {name}"))
    }

    fn is_cut_off(&self, name: &str) -> bool {
        self.black_holes.iter().any(|it| it == name)
    }

    pub fn schedule(&mut self, delay: Duration, to: &str, what: Delivery) {
        self.order += 1;
        let incarnation = self.member(to).incarnation;
        let at = self.now + delay;
        self.queue.push(Reverse(Scheduled {
            at,
            order: self.order,
            to: to.to_owned(),
            incarnation,
            what,
        }));
    }

    fn send_event(&mut self, from: &str, to: &str, event: Event) {
        if !self.is_cut_off(from) && !self.is_cut_off(to) {
            self.schedule(LATENCY, to, Delivery::Event(event));
        }
    }

    /// Delivers what comes next, if it comes before `until`.
    pub fn step(&mut self, until: Time) -> bool {
        if self.queue.peek().is_none_or(|Reverse(next)| next.at > until) {
            return false;
        }
        let Some(Reverse(next)) = self.queue.pop() else {
            return false;
        };
        self.now = self.now.max(next.at);
        let now = self.now;
        let member = self.member(&next.to);
        if member.incarnation != next.incarnation || member.engine.is_none() {
            if let Delivery::Knock { from, id, .. } = next.what {
                self.send_event(&next.to, &from, Event::Disconnected(id));
            }
            return true;
        }
        match next.what {
            Delivery::Timer => {
                if member.armed != Some(next.at) {
                    return true;
                }
                member.armed = None;
                if let Some(engine) = &mut member.engine {
                    engine.advance(now);
                }
            }
            Delivery::Event(event) => {
                if let Some(engine) = &mut member.engine {
                    engine.handle(now, event);
                }
            }
            Delivery::Knock { port, from, id } => {
                if member.listening != Some(port) {
                    self.send_event(&next.to, &from, Event::Disconnected(id));
                    return true;
                }
                self.last_connection += 1;
                let accepted = ConnectionId(2 * self.last_connection + 1);
                self.member(&next.to).links.insert(accepted, (from.clone(), id));
                self.member(&from).links.insert(id, (next.to.clone(), accepted));
                if let Some(engine) = &mut self.member(&next.to).engine {
                    engine.handle(now, Event::Accepted(accepted));
                }
                self.send_event(&next.to, &from, Event::Connected(id));
            }
        }
        self.carry_out(&next.to);
        true
    }

    /// Carries out what an engine wants.
    fn carry_out(&mut self, name: &str) {
        loop {
            let Some(engine) = &mut self.member(name).engine else {
                return;
            };
            let effects = engine.take_effects();
            if effects.is_empty() {
                break;
            }
            for effect in effects {
                self.effect(name, effect);
            }
        }
        let now = self.now;
        let member = self.member(name);
        let next = member
            .engine
            .as_ref()
            .and_then(Engine::next_deadline)
            .map(|at| at.max(now));
        if let Some(at) = next
            && member.armed.is_none_or(|armed| at < armed)
        {
            member.armed = Some(at);
            self.schedule(at - now, name, Delivery::Timer);
        }
    }

    fn effect(&mut self, name: &str, effect: Effect) {
        if let Some(done) = &mut self.done {
            format!("{:?} {name} {effect:?}", self.now).hash(done);
        }
        match effect {
            Effect::Ready => self.member(name).ready = true,
            Effect::Exit(reason) => {
                self.kill(name);
                self.member(name).exit = Some(reason);
            }
            Effect::Respond(session, response) => {
                if let Some(slot) = self.member(name).sessions.get_mut(&session) {
                    *slot = Some(response);
                }
            }
            Effect::Listen(token, port) => {
                let free = self.member(name).listening.is_none() && !self.member(name).port_taken;
                if free {
                    self.member(name).listening = Some(port);
                }
                self.schedule(
                    Duration::ZERO,
                    name,
                    Delivery::Event(Event::Listening(token, free)),
                );
            }
            Effect::StopListening => self.member(name).listening = None,
            Effect::Connect(id, address) => self.connect_to(name, id, &address),
            Effect::Send(id, message) => self.send(name, id, message),
            Effect::Disconnect(id) => {
                if let Some((other, its)) = self.member(name).links.remove(&id) {
                    self.member(&other).links.remove(&its);
                    self.send_on(name, (&other, its), Duration::ZERO, Event::Disconnected(its));
                }
            }
            Effect::Disk(token, operation) => self.disk_operation(name, token, operation),
            // They matter only to a server.
            Effect::Setting(..) => {}
            Effect::ReloadTls(token) => {
                let refusal = Err("there is no TLS in this network".to_owned());
                let answer = Event::TlsReloaded(token, refusal);
                self.schedule(Duration::ZERO, name, Delivery::Event(answer));
            }
            Effect::Log(level, line) => self.member(name).log.push((level, line)),
        }
    }

    fn connect_to(&mut self, name: &str, id: ConnectionId, address: &str) {
        let (host, port) = address.split_once(':').expect("an address with a port");
        if self.is_cut_off(name) || self.is_cut_off(host) {
            return;
        }
        if !self.members.contains_key(host) {
            return self.schedule(LATENCY, name, Delivery::Event(Event::Disconnected(id)));
        }
        let knock = Delivery::Knock {
            port: port.parse().unwrap(),
            from: name.to_owned(),
            id,
        };
        self.schedule(LATENCY, host, knock);
    }

    fn send(&mut self, name: &str, id: ConnectionId, message: PeerMessage) {
        let Some((other, its)) = self.member(name).links.get(&id).cloned() else {
            return;
        };
        if self.is_cut_off(name) || self.is_cut_off(&other) {
            return;
        }
        let fate = match &mut self.filter {
            Some(filter) => filter(name, &other, &message),
            None => Fate::Delivered,
        };
        let delay = match fate {
            Fate::Lost => return,
            Fate::Cut => return self.cut(name, id),
            Fate::Delivered | Fate::LastOne => Duration::ZERO,
            Fate::Delayed(delay) => delay,
        };
        // Through the codec, as over TCP.
        let message = PeerMessage::decode(&message.encode().unwrap()).unwrap();
        self.send_on(name, (&other, its), delay, Event::Received(its, message));
        if fate == Fate::LastOne {
            self.cut(name, id);
        }
    }

    /// Breaks a connection, for both ends.
    fn cut(&mut self, name: &str, id: ConnectionId) {
        if let Some((other, its)) = self.member(name).links.remove(&id) {
            self.member(&other).links.remove(&its);
            self.send_on(name, (&other, its), Duration::ZERO, Event::Disconnected(its));
            self.send_on(&other, (name, id), Duration::ZERO, Event::Disconnected(id));
        }
    }

    /// Sends along a connection: what was sent before arrives before.
    fn send_on(&mut self, from: &str, (to, its): (&str, ConnectionId), delay: Duration, event: Event) {
        if self.is_cut_off(from) || self.is_cut_off(to) {
            return;
        }
        let late = self.late.entry((to.to_owned(), its)).or_default();
        *late = (*late).max(self.now + LATENCY + delay);
        let delay = *late - self.now;
        self.schedule(delay, to, Delivery::Event(event));
    }

    fn disk_operation(&mut self, name: &str, token: Option<Token>, operation: DiskOperation) {
        let delay = match operation {
            DiskOperation::Sync { .. } => SYNC,
            DiskOperation::Replace(ref path, _) if path.starts_with("snapshots/") => {
                self.member(name).disk.slow_snapshots
            }
            _ => Duration::ZERO,
        };
        let result = self.member(name).disk.perform(operation);
        match token {
            Some(token) => self.schedule(delay, name, Delivery::Event(Event::Disk(token, result))),
            None => assert!(result.is_ok(), "a write that nobody waits for failed: {result:?}"),
        }
    }
}
