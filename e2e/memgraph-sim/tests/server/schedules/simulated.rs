//! Runs a schedule on virtual time.

use std::{sync::Arc, time::Duration};

use bolt_server::{BoltVersion, Response, Session as BoltSession, SessionConfig};
use memgraph_sim::{
    config::Config,
    engine::{Event, SessionId},
    flags::Flags,
};

use super::{
    Outcome, Settled, arguments,
    generate::{Action, NAMES, Schedule, Session, USER},
    questions,
    wire::{Identity, Message, Reply, handshake, login, mask, take_replies},
};
use crate::network::{Delivery, Network};

/// An answer that takes longer ends the schedule: the real run shall not wait for it.
const LONGEST: Duration = Duration::from_millis(2500);
const DATA: &str = "/var/lib/memgraph";
const RUN_ID: &str = "00000000-0000-4000-8000-000000000000";

struct Connection {
    session: BoltSession,
    id: SessionId,
}

/// The answer takes too long for a schedule.
pub struct TooSlow;

pub struct Simulation<'a> {
    schedule: &'a Schedule,
    network: Network,
    connections: Vec<Option<Connection>>,
    observers: Vec<Option<Connection>>,
    /// Where the newest snapshot of each instance is.
    snapshots: Vec<String>,
    places: Vec<(String, String)>,
}

impl<'a> Simulation<'a> {
    pub fn new(schedule: &'a Schedule) -> Self {
        let mut network = Network::new(schedule.version, &[]);
        for name in &NAMES[..schedule.instances] {
            let mut flags = Flags::new(schedule.version);
            let own = [format!("--data-directory={DATA}"), "--bolt-port=7687".to_owned()];
            flags.parse(arguments(schedule).into_iter().chain(own)).unwrap();
            let config = Config {
                version: schedule.version,
                data_directory: DATA.to_owned(),
                snapshot_interval: Some(Duration::from_secs(604_800)),
                replica_check: Duration::from_secs(schedule.pings),
                flags: flags.table(),
                ..Config::default()
            };
            network.add(name, config);
        }
        let addresses = NAMES.map(|name| (format!("{name}:10000"), format!("@address:{name}@")));
        Self {
            schedule,
            network,
            connections: schedule.sessions.iter().map(|_| None).collect(),
            observers: (0..schedule.instances).map(|_| None).collect(),
            snapshots: vec!["/none".to_owned(); schedule.instances],
            places: addresses
                .into_iter()
                .chain([(DATA.to_owned(), "@data@".to_owned())])
                .collect(),
        }
    }

    fn is_up(&mut self, instance: usize) -> bool {
        self.network.is_ready(NAMES[instance])
    }

    pub fn perform(&mut self, action: &Action) -> Result<Outcome, TooSlow> {
        let mut outcome = Outcome::default();
        match action {
            Action::Send { session, messages } => {
                let Session { instance, bolt, who } = self.schedule.sessions[*session];
                if self.is_up(instance) {
                    let (mut connection, mut replies) = match self.connections[*session].take() {
                        Some(connection) => (connection, Vec::new()),
                        None => self.connect(instance, bolt, who)?,
                    };
                    replies.extend(self.send(instance, &mut connection, bolt, who, messages)?);
                    outcome.closed = connection.session.is_closed();
                    if outcome.closed {
                        self.close(instance, connection);
                    } else {
                        self.connections[*session] = Some(connection);
                    }
                    if let Some(path) = snapshot_path(&replies) {
                        self.snapshots[instance] = path;
                    }
                    outcome.replies = self.masked(replies);
                }
            }
            Action::Cut { session } => {
                if let Some(connection) = self.connections[*session].take() {
                    let instance = self.schedule.sessions[*session].instance;
                    self.close(instance, connection);
                }
            }
            Action::Kill { instance } => {
                self.network.kill(NAMES[*instance]);
                self.observers[*instance] = None;
                for (connection, session) in self.connections.iter_mut().zip(&self.schedule.sessions) {
                    if session.instance == *instance {
                        *connection = None;
                    }
                }
            }
            Action::Start { instance } => {
                let name = NAMES[*instance];
                self.network.start(name);
                let limit = self.network.now + LONGEST;
                while !self.network.is_ready(name) && self.network.has_exited(name).is_none() {
                    if !self.network.step(limit) {
                        return Err(TooSlow);
                    }
                }
            }
        }
        outcome.settled = self.settle()?;
        Ok(outcome)
    }

    /// Lets what goes on in the background end, and looks at the instances.
    fn settle(&mut self) -> Result<Vec<Option<Settled>>, TooSlow> {
        if self.schedule.pings == 0 {
            // Nothing waits for longer than an ASYNC replica's lock is waited for.
            self.network.run(Duration::from_millis(100));
            return self.observe();
        }
        // A lost replica shows after its third failed ping.
        let mut same = 0;
        let mut last = self.observe()?;
        while same < 5 {
            self.network.run(Duration::from_secs(self.schedule.pings));
            let now = self.observe()?;
            same = if now == last { same + 1 } else { 0 };
            last = now;
        }
        Ok(last)
    }

    fn observe(&mut self) -> Result<Vec<Option<Settled>>, TooSlow> {
        let mut all = Vec::new();
        for instance in 0..self.schedule.instances {
            if !self.is_up(instance) {
                all.push(None);
                continue;
            }
            let mut observer = match self.observers[instance].take() {
                Some(observer) => observer,
                None => self.connect(instance, BoltVersion::V5_2, USER)?.0,
            };
            let replies = self.send(instance, &mut observer, BoltVersion::V5_2, USER, &questions())?;
            self.observers[instance] = Some(observer);
            all.push(Some(Settled::read(self.masked(replies))));
        }
        Ok(all)
    }

    fn masked(&self, mut replies: Vec<Reply>) -> Vec<Reply> {
        for reply in &mut replies {
            mask(&mut reply.field, &self.places);
        }
        replies
    }

    fn close(&mut self, instance: usize, connection: Connection) {
        let closed = Delivery::Event(Event::SessionClosed(connection.id));
        self.network.schedule(Duration::ZERO, NAMES[instance], closed);
        self.network.run(Duration::ZERO);
        self.network
            .member(NAMES[instance])
            .sessions
            .remove(&connection.id);
    }

    /// Connects and logs in; also gives the replies to that.
    fn connect(
        &mut self,
        instance: usize,
        bolt: BoltVersion,
        who: Identity,
    ) -> Result<(Connection, Vec<Reply>), TooSlow> {
        let network = &mut self.network;
        network.last_session += 1;
        let id = SessionId(network.last_session);
        network.member(NAMES[instance]).sessions.insert(id, None);
        let opened = Delivery::Event(Event::SessionOpened(id));
        network.schedule(Duration::ZERO, NAMES[instance], opened);
        let config = SessionConfig::new(self.schedule.version, RUN_ID);
        let mut connection = Connection {
            session: BoltSession::new(Arc::new(config)),
            id,
        };
        let chosen = self.exchange(instance, &mut connection, &handshake(bolt))?;
        assert_eq!(chosen.len(), 4, "the version is spoken");
        let bytes = login(bolt, who).concat();
        let mut output = self.exchange(instance, &mut connection, &bytes)?;
        Ok((connection, take_replies(bolt, &mut output)))
    }

    fn send(
        &mut self,
        instance: usize,
        connection: &mut Connection,
        bolt: BoltVersion,
        who: Identity,
        messages: &[Message],
    ) -> Result<Vec<Reply>, TooSlow> {
        let fill = |text: &str| {
            let text = text.replace("@port@", "10000");
            let text = NAMES.iter().fold(text, |text, name| {
                text.replace(&format!("@address:{name}@"), &format!("{name}:10000"))
            });
            text.replace("@snapshot@", &self.snapshots[instance])
        };
        let bytes: Vec<u8> = messages
            .iter()
            .flat_map(|message| message.bytes(bolt, who, fill))
            .collect();
        let mut output = self.exchange(instance, connection, &bytes)?;
        Ok(take_replies(bolt, &mut output))
    }

    fn exchange(
        &mut self,
        instance: usize,
        connection: &mut Connection,
        bytes: &[u8],
    ) -> Result<Vec<u8>, TooSlow> {
        connection.session.receive(bytes);
        while let Some(request) = connection.session.next_request() {
            let asked = Delivery::Event(Event::Request(connection.id, request));
            self.network.schedule(Duration::ZERO, NAMES[instance], asked);
            let response = self.answer(instance, connection.id)?;
            connection.session.respond(response).unwrap();
        }
        Ok(connection.session.take_output().to_vec())
    }

    fn answer(&mut self, instance: usize, id: SessionId) -> Result<Response, TooSlow> {
        let limit = self.network.now + LONGEST;
        loop {
            let sessions = &mut self.network.member(NAMES[instance]).sessions;
            if let Some(response) = sessions.get_mut(&id).and_then(Option::take) {
                return Ok(response);
            }
            if !self.network.step(limit) {
                return Err(TooSlow);
            }
        }
    }
}

/// The path in the answer to CREATE SNAPSHOT.
pub fn snapshot_path(replies: &[Reply]) -> Option<String> {
    use bolt_server::Value;
    replies.iter().find_map(|reply| match &reply.field {
        Value::List(row) if reply.signature == 0x71 => match row.as_slice() {
            [Value::String(path)] if path.contains("/snapshots/") => Some(path.clone()),
            _ => None,
        },
        _ => None,
    })
}
