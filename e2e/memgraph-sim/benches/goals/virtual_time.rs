//! What engines cost on virtual time, without sockets and files.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap, HashMap},
    time::Duration,
};

use anyhow::{Context as _, bail};
use bolt_server::{Map, Prepare, Request, Response, Value};
use memgraph_sim::{
    config::Config,
    engine::{
        ConnectionId, DiskError, DiskOperation, DiskReply, Effect, Engine, Event, SessionId, Time, Token,
    },
};
use rand::{SeedableRng, rngs::StdRng};

use crate::{
    figures::{Figure, Goal},
    instance::own_cpu,
};

const ENGINES: usize = 5;
const SPAN: Duration = Duration::from_secs(600);
const WRITES: u32 = 200;
const LATENCY: Duration = Duration::from_micros(200);
const SESSION: SessionId = SessionId(1);

/// Five engines for ten virtual minutes: at rest, and with 200 writes. What counts is CPU time, since others may use
/// the machine as well.
pub fn measure(repetitions: usize) -> anyhow::Result<Vec<Figure>> {
    let mut rest = Figure::new(
        "10 virtual minutes of 5 engines at rest",
        "ms of CPU",
        Goal::Below(10.0),
    );
    let mut busy = Figure::new(
        "10 virtual minutes of 5 engines with 200 writes",
        "ms of CPU",
        Goal::None,
    );
    let mut seeds = Figure::new(
        "seeds, each with start, set-up and 200 writes",
        "per s of CPU",
        Goal::AtLeast(25.0),
    );
    for _ in 0..repetitions {
        let mut cluster = Cluster::new()?;
        let (began, before) = (own_cpu()?, cluster.pings);
        cluster.run(SPAN)?;
        rest.add((own_cpu()? - began).as_secs_f64() * 1e3);
        let pings = cluster.pings - before;
        anyhow::ensure!(
            pings + 10 > (ENGINES as u64 - 1) * SPAN.as_secs(),
            "there were only {pings} pings"
        );
        drop(cluster);
        let began = own_cpu()?;
        let mut cluster = Cluster::new()?;
        let set_up = own_cpu()?;
        for number in 0..WRITES {
            cluster.query(0, "CREATE (:Token {token: $token})", i64::from(number))?;
            cluster.run(SPAN / WRITES)?;
        }
        let ended = own_cpu()?;
        busy.add((ended - set_up).as_secs_f64() * 1e3);
        seeds.add(1.0 / (ended - began).as_secs_f64());
    }
    Ok(vec![rest, busy, seeds])
}

/// Something on its way to an engine.
struct Delivery {
    at: Time,
    order: u64,
    to: usize,
    what: What,
}

enum What {
    Event(Event),
    Knock { from: usize, id: ConnectionId },
    Timer,
}

impl PartialEq for Delivery {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.order) == (other.at, other.order)
    }
}

impl Eq for Delivery {}

impl PartialOrd for Delivery {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Delivery {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.order).cmp(&(other.at, other.order))
    }
}

/// An engine with its files and connections.
struct Member {
    engine: Engine,
    files: BTreeMap<String, Vec<u8>>,
    links: HashMap<ConnectionId, (usize, ConnectionId)>,
    armed: Option<Time>,
    answer: Option<Response>,
}

/// A MAIN with SYNC and ASYNC replicas, and a network that delivers everything.
struct Cluster {
    now: Time,
    members: Vec<Member>,
    queue: BinaryHeap<Reverse<Delivery>>,
    order: u64,
    last_connection: u64,
    pings: u64,
}

impl Cluster {
    fn new() -> anyhow::Result<Self> {
        let member = |seed: usize| Member {
            engine: Engine::new(Config::default(), Box::new(StdRng::seed_from_u64(seed as u64))),
            files: BTreeMap::new(),
            links: HashMap::new(),
            armed: None,
            answer: None,
        };
        let mut cluster = Self {
            now: Duration::ZERO,
            members: (0..ENGINES).map(member).collect(),
            queue: BinaryHeap::new(),
            order: 0,
            last_connection: 0,
            pings: 0,
        };
        for id in 0..ENGINES {
            cluster.schedule(Duration::ZERO, id, What::Timer);
            cluster.members[id].armed = Some(Duration::ZERO);
            cluster.schedule(LATENCY, id, What::Event(Event::SessionOpened(SESSION)));
        }
        cluster.run(Duration::from_millis(1))?;
        for id in 1..ENGINES {
            cluster.query(id, "SET REPLICATION ROLE TO REPLICA WITH PORT 10000", 0)?;
            let mode = if id % 2 == 0 { "ASYNC" } else { "SYNC" };
            cluster.query(0, &format!("REGISTER REPLICA r{id} {mode} TO '{id}:10000'"), 0)?;
        }
        Ok(cluster)
    }

    fn schedule(&mut self, delay: Duration, to: usize, what: What) {
        self.order += 1;
        self.queue.push(Reverse(Delivery {
            at: self.now + delay,
            order: self.order,
            to,
            what,
        }));
    }

    /// Runs a statement to its end.
    fn query(&mut self, id: usize, text: &str, token: i64) -> anyhow::Result<()> {
        let prepare = Prepare {
            query: text.to_owned(),
            parameters: Map::from([("token".to_owned(), Value::Integer(token))]),
            ..Prepare::default()
        };
        self.request(id, Request::Prepare(prepare))
            .with_context(|| text.to_owned())?;
        self.request(id, Request::Execute { take: None })
            .with_context(|| text.to_owned())
    }

    fn request(&mut self, id: usize, request: Request) -> anyhow::Result<()> {
        self.schedule(LATENCY, id, What::Event(Event::Request(SESSION, request)));
        let limit = self.now + Duration::from_secs(100);
        loop {
            match self.members[id].answer.take() {
                Some(Response::Failed(failure)) => bail!("refused: {}", failure.message),
                Some(_) => return Ok(()),
                None => anyhow::ensure!(self.step(limit)?, "no answer"),
            }
        }
    }

    /// Lets time pass.
    fn run(&mut self, span: Duration) -> anyhow::Result<()> {
        let until = self.now + span;
        while self.step(until)? {}
        self.now = until;
        Ok(())
    }

    /// Delivers what comes next, if it comes before `until`.
    fn step(&mut self, until: Time) -> anyhow::Result<bool> {
        if self.queue.peek().is_none_or(|Reverse(next)| next.at > until) {
            return Ok(false);
        }
        let Some(Reverse(Delivery { at, to, what, .. })) = self.queue.pop() else {
            return Ok(false);
        };
        self.now = self.now.max(at);
        match what {
            What::Timer => {
                let member = &mut self.members[to];
                if member.armed != Some(at) {
                    return Ok(true);
                }
                member.armed = None;
                member.engine.advance(self.now);
            }
            What::Event(event) => self.members[to].engine.handle(self.now, event),
            What::Knock { from, id } => {
                self.last_connection += 1;
                let accepted = ConnectionId(2 * self.last_connection + 1);
                self.members[to].links.insert(accepted, (from, id));
                self.members[from].links.insert(id, (to, accepted));
                self.members[to]
                    .engine
                    .handle(self.now, Event::Accepted(accepted));
                self.schedule(LATENCY, from, What::Event(Event::Connected(id)));
            }
        }
        self.carry_out(to)?;
        Ok(true)
    }

    fn carry_out(&mut self, id: usize) -> anyhow::Result<()> {
        for effect in self.members[id].engine.take_effects() {
            match effect {
                Effect::Ready
                | Effect::StopListening
                | Effect::Setting(..)
                | Effect::ReloadTls(_)
                | Effect::Log(..) => {}
                Effect::Exit(reason) => bail!("engine {id} has ended: {reason:?}"),
                Effect::Respond(_, response) => self.members[id].answer = Some(response),
                Effect::Listen(token, _) => {
                    self.schedule(Duration::ZERO, id, What::Event(Event::Listening(token, true)));
                }
                Effect::Connect(connection, address) => {
                    let host = address.split(':').next().unwrap_or_default();
                    let knock = What::Knock {
                        from: id,
                        id: connection,
                    };
                    self.schedule(LATENCY, host.parse()?, knock);
                }
                Effect::Send(connection, message) => {
                    self.pings += u64::from(message.name() == "FrequentHeartbeatReq");
                    if let Some((other, its)) = self.members[id].links.get(&connection).copied() {
                        self.schedule(LATENCY, other, What::Event(Event::Received(its, message)));
                    }
                }
                Effect::Disconnect(connection) => {
                    if let Some((other, its)) = self.members[id].links.remove(&connection) {
                        self.members[other].links.remove(&its);
                        self.schedule(LATENCY, other, What::Event(Event::Disconnected(its)));
                    }
                }
                Effect::Disk(token, operation) => self.disk(id, token, operation),
            }
        }
        let now = self.now;
        let member = &mut self.members[id];
        let next = member.engine.next_deadline().map(|at| at.max(now));
        if let Some(at) = next
            && member.armed.is_none_or(|armed| at < armed)
        {
            member.armed = Some(at);
            self.schedule(at - now, id, What::Timer);
        }
        Ok(())
    }

    fn disk(&mut self, id: usize, token: Option<Token>, operation: DiskOperation) {
        let files = &mut self.members[id].files;
        let result = match operation {
            DiskOperation::Append(path, bytes) => {
                files.entry(path).or_default().extend(bytes);
                Ok(DiskReply::Done)
            }
            DiskOperation::Replace(path, bytes) => {
                files.insert(path, bytes);
                Ok(DiskReply::Done)
            }
            DiskOperation::Sync { .. } => Ok(DiskReply::Done),
            DiskOperation::Rename(from, to) => {
                if let Some(bytes) = files.remove(&from) {
                    files.insert(to, bytes);
                }
                Ok(DiskReply::Done)
            }
            DiskOperation::Remove(path) => {
                files.remove(&path);
                Ok(DiskReply::Done)
            }
            DiskOperation::Read(path) => files
                .get(&path)
                .map(|bytes| DiskReply::Content(bytes.clone()))
                .ok_or(DiskError::Missing),
            DiskOperation::List(folder) => {
                let inside = |path: &String| {
                    let name = path.strip_prefix(&folder)?.strip_prefix('/')?;
                    (!name.contains('/')).then(|| name.to_owned())
                };
                Ok(DiskReply::Names(files.keys().filter_map(inside).collect()))
            }
        };
        if let Some(token) = token {
            self.schedule(Duration::ZERO, id, What::Event(Event::Disk(token, result)));
        }
    }
}
