//! Random schedules: what clients and the world do, drawn from a seed.

use bolt_server::{BoltVersion, Map, Value, Version};
use rand::{Rng, SeedableRng, rngs::StdRng, seq::IndexedRandom};

use super::wire::{Identity, Message, entries};

/// The names of the instances.
pub const NAMES: [&str; 3] = ["a", "b", "c"];
/// The only user that is ever created.
pub const USER: Identity = Identity("u", "p");

/// One thing that happens.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// A client sends messages in one go. It connects first if it has to.
    Send { session: usize, messages: Vec<Message> },
    /// A client's connection is cut.
    Cut { session: usize },
    /// kill -9
    Kill { instance: usize },
    /// A killed instance is started.
    Start { instance: usize },
}

/// A client.
#[derive(Debug, Clone, Copy)]
pub struct Session {
    pub instance: usize,
    pub bolt: BoltVersion,
    pub who: Identity,
}

/// What happens in which order, and where.
///
/// Not in it, because it would depend on real time: messages to one instance from two clients at once (their
/// order on two sockets is the kernel's), kills while an answer is awaited, black holes (time-outs of many
/// seconds; the tests of the engine have them), TERMINATE TRANSACTIONS (the numbers of transactions count those
/// who watch, too).
#[derive(Debug, Clone)]
pub struct Schedule {
    pub seed: u64,
    pub version: Version,
    pub instances: usize,
    /// `--replication-replica-check-frequency-sec`; 0 for no pings.
    pub pings: u64,
    pub sessions: Vec<Session>,
    pub actions: Vec<Action>,
}

struct Generator {
    random: StdRng,
    version: Version,
    up: Vec<bool>,
    sessions: Vec<Session>,
    actions: Vec<Action>,
    tokens: i64,
}

/// Draws the schedule of a seed.
pub fn schedule(seed: u64) -> Schedule {
    let mut random = StdRng::seed_from_u64(seed);
    let version = *Version::ALL.choose(&mut random).unwrap();
    let instances = *[1, 2, 2, 3, 3, 3].choose(&mut random).unwrap();
    // Healing by pings takes seconds of real time: only some schedules have it.
    let pings = u64::from(instances > 1 && random.random_bool(0.08));
    let spoken: Vec<_> = BoltVersion::ALL
        .into_iter()
        .filter(|bolt| *bolt != BoltVersion::V4_4 || version >= Version::V3_12)
        .collect();
    let count = random.random_range(instances..=4);
    let sessions = (0..count)
        .map(|index| Session {
            instance: match index {
                index if index < instances => index,
                _ => random.random_range(0..instances),
            },
            bolt: *spoken.choose(&mut random).unwrap(),
            who: match random.random_bool(0.8) {
                true => USER,
                false => Identity("", ""),
            },
        })
        .collect();
    let mut generator = Generator {
        random,
        version,
        up: vec![true; instances],
        sessions,
        actions: Vec::new(),
        tokens: 0,
    };
    generator.prelude();
    let length = match pings {
        0 => generator.random.random_range(8..30),
        _ => generator.random.random_range(4..10),
    };
    while generator.actions.len() < length {
        generator.step();
    }
    let Generator {
        sessions, actions, ..
    } = generator;
    Schedule {
        seed,
        version,
        instances,
        pings,
        sessions,
        actions,
    }
}

impl Generator {
    fn chance(&mut self, probability: f64) -> bool {
        self.random.random_bool(probability)
    }

    fn pick<'a>(&mut self, choices: &[&'a str]) -> &'a str {
        choices.choose(&mut self.random).unwrap()
    }

    fn instance(&mut self) -> usize {
        self.random.random_range(0..self.up.len())
    }

    /// An auto-committed query with all of its result, from a client of the instance.
    fn query(&mut self, instance: usize, query: impl Into<String>) {
        // The first sessions are those of the instances.
        let query = Message::Run {
            query: query.into(),
            extra: Map::new(),
        };
        self.actions.push(Action::Send {
            session: instance,
            messages: vec![Message::Reset, query, Message::Pull(-1)],
        });
    }

    fn register(&mut self, main: usize, replica: usize) {
        let mode = match self.version {
            Version::V3_4 => self.pick(&["SYNC", "ASYNC"]),
            _ => self.pick(&["SYNC", "ASYNC", "STRICT_SYNC"]),
        };
        let name = NAMES[replica];
        self.query(
            main,
            format!("REGISTER REPLICA {name} {mode} TO '@address:{name}@'"),
        );
    }

    fn demote(&mut self, instance: usize) {
        self.query(instance, "SET REPLICATION ROLE TO REPLICA WITH PORT @port@");
    }

    /// Most schedules begin with replication that works.
    fn prelude(&mut self) {
        if self.chance(0.3) {
            self.query(0, "CREATE (:T {token: 0})");
        }
        for replica in 1..self.up.len() {
            if self.chance(0.85) {
                self.demote(replica);
                self.register(0, replica);
            }
        }
    }

    fn step(&mut self) {
        let instance = self.instance();
        if !self.up[instance] {
            if self.chance(0.5) {
                self.up[instance] = true;
                self.actions.push(Action::Start { instance });
            }
            return;
        }
        match self.random.random_range(0..100) {
            0..5 => {
                self.up[instance] = false;
                self.actions.push(Action::Kill { instance });
            }
            5..9 => {
                self.actions.push(Action::Kill { instance });
                self.actions.push(Action::Start { instance });
            }
            9..13 => {
                let session = self.random.random_range(0..self.sessions.len());
                if self.up[self.sessions[session].instance] {
                    self.actions.push(Action::Cut { session });
                }
            }
            13..15 => self.demote(instance),
            15..18 => self.query(instance, "SET REPLICATION ROLE TO MAIN"),
            18..22 => {
                let replica = self.instance();
                self.register(instance, replica);
            }
            22..24 => {
                let name = self.pick(&NAMES);
                self.query(instance, format!("DROP REPLICA {name}"));
            }
            24..29 => self.fail_over(),
            29..33 => self.query(instance, "CREATE SNAPSHOT"),
            _ => self.talk(),
        }
    }

    /// Another instance takes over.
    fn fail_over(&mut self) {
        let count = self.up.len();
        let next = self.instance();
        if count == 1 || !self.up[next] {
            return;
        }
        self.query(next, "SET REPLICATION ROLE TO MAIN");
        if self.chance(0.7) {
            let token = self.token();
            self.query(next, format!("CREATE (:T {{token: {token}}})"));
        }
        for other in (0..count).filter(|other| *other != next) {
            if self.up[other] && self.chance(0.8) {
                self.demote(other);
                self.register(next, other);
            }
        }
    }

    fn token(&mut self) -> i64 {
        self.tokens += 1;
        self.tokens
    }

    /// A client says something.
    fn talk(&mut self) {
        let session = self.random.random_range(0..self.sessions.len());
        if !self.up[self.sessions[session].instance] {
            return;
        }
        let mut messages = Vec::new();
        if self.chance(0.5) {
            messages.push(Message::Reset);
        }
        match self.random.random_range(0..20) {
            0..12 => {
                let run = self.run();
                messages.extend([run, Message::Pull(-1)]);
            }
            12 => {
                let (query, extra) = ("UNWIND range(1, 9) AS i RETURN i, i * 2".to_owned(), Map::new());
                messages.extend([Message::Run { query, extra }, Message::Pull(4)]);
                messages.push(match self.chance(0.5) {
                    true => Message::Pull(-1),
                    false => Message::Discard(-1),
                });
            }
            13..17 => {
                messages.push(Message::Begin);
                for _ in 0..self.random.random_range(0..3) {
                    let run = self.run();
                    messages.extend([run, Message::Pull(-1)]);
                }
                match self.random.random_range(0..4) {
                    0 => messages.push(Message::Rollback),
                    // Stays open.
                    1 => {}
                    _ => messages.push(Message::Commit),
                }
            }
            17 => messages.push(match self.chance(0.5) {
                true => Message::Commit,
                false => Message::Rollback,
            }),
            _ => {
                let odd = self.odd();
                messages.push(odd);
            }
        }
        self.actions.push(Action::Send { session, messages });
    }

    fn odd(&mut self) -> Message {
        match self.random.random_range(0..9) {
            0 => Message::Route,
            1 => Message::LogOff,
            2 => Message::LogOn,
            3 => Message::Goodbye,
            4 => Message::Pull(3),
            5 => Message::Discard(-1),
            6 => {
                let signature = self.random.random();
                Message::Odd(signature, vec![Value::Integer(7)])
            }
            7 => Message::Run {
                query: "RETURN 1".into(),
                extra: entries(&[("db", "neo4j".into())]),
            },
            _ => Message::Reset,
        }
    }

    fn run(&mut self) -> Message {
        let query = match self.random.random_range(0..20) {
            0..7 => self.write(),
            7..12 => self.read(),
            12..15 => self.schema(),
            15..18 => self.show(),
            _ => self.mistake(),
        };
        Message::Run {
            query,
            extra: Map::new(),
        }
    }

    fn write(&mut self) -> String {
        let token = self.token();
        let known = self.random.random_range(0..=token);
        match self.random.random_range(0..9) {
            0..3 => format!("CREATE (:T {{token: {token}}})"),
            3 => format!("UNWIND range(1, 3) AS i CREATE (n:T {{token: {token} * 100 + i}}) RETURN n"),
            4 => format!("MATCH (n:T) WHERE n.token <= {known} SET n.seen = {token}"),
            5 => format!("MATCH (n:T) WHERE n.token = {known} DETACH DELETE n"),
            6 => format!("MERGE (n:M {{k: {}}}) SET n.token = {token}", known % 3),
            7 => format!("CREATE (a:A {{i: {token}}})-[r:R {{w: 0.5}}]->(b:B) RETURN a, r, b"),
            _ => "MATCH (n:M) REMOVE n.token SET n:Old".to_owned(),
        }
    }

    fn read(&mut self) -> String {
        self.pick(&[
            "MATCH (n:T) RETURN n.token ORDER BY n.token",
            "MATCH (n) RETURN n ORDER BY id(n)",
            "MATCH (n) RETURN labels(n) AS l, count(n) ORDER BY l",
            "MATCH (a)-[r:R]->(b) RETURN a, r, b ORDER BY id(r)",
            "MATCH (n:M) WHERE n.k IN [0, 2] RETURN max(n.token), collect(n.k)",
            "RETURN 1 AS one, 'text' AS two, null AS three, [1.5, {a: true}] AS four",
        ])
        .to_owned()
    }

    fn schema(&mut self) -> String {
        self.pick(&[
            "CREATE INDEX ON :T(token)",
            "DROP INDEX ON :T(token)",
            "CREATE INDEX ON :T",
            "CREATE CONSTRAINT ON (n:T) ASSERT n.token IS UNIQUE",
            "DROP CONSTRAINT ON (n:T) ASSERT n.token IS UNIQUE",
            "CREATE CONSTRAINT ON (n:M) ASSERT EXISTS (n.k)",
            "CREATE ENUM Colour VALUES { Red, Green }",
            "ALTER ENUM Colour ADD VALUE Blue",
            "STORAGE MODE IN_MEMORY_ANALYTICAL",
            "STORAGE MODE IN_MEMORY_TRANSACTIONAL",
            "CREATE USER u IDENTIFIED BY 'p'",
            "DROP USER u",
            "RECOVER SNAPSHOT '@snapshot@'",
            "RECOVER SNAPSHOT '@snapshot@' FORCE",
        ])
        .to_owned()
    }

    fn show(&mut self) -> String {
        self.pick(&[
            "SHOW REPLICATION ROLE",
            "SHOW REPLICAS",
            "SHOW SNAPSHOTS",
            "SHOW NEXT SNAPSHOT",
            "SHOW INDEX INFO",
            "SHOW CONSTRAINT INFO",
            "SHOW ENUMS",
            "SHOW STORAGE INFO",
            "SHOW VERSION",
            "SHOW CONFIG",
            "SHOW USERS",
            "SHOW DATABASES",
            "SHOW LICENSE INFO",
            "DUMP DATABASE",
            "SHOW METRICS INFO",
        ])
        .to_owned()
    }

    fn mistake(&mut self) -> String {
        self.pick(&[
            "NONSENSE",
            "MATCH (n RETURN n",
            "RETURN nothing",
            "RETURN 1 / 0",
            "RETURN 'a' * 2",
            "RETURN $missing",
            "SET REPLICATION ROLE TO REPLICA",
            "SET REPLICATION ROLE TO MAIN WITH PORT 10000",
            "SET REPLICATION ROLE TO REPLICA WITH PORT 70000",
            "REGISTER REPLICA r SYNC TO 'one:two:three'",
            "REGISTER REPLICA mg-0 SYNC TO 'x'",
            "DROP REPLICA nobody",
            "RECOVER SNAPSHOT '/nowhere/at/all'",
            "MATCH (n:T) DELETE n RETURN n.token",
            "COMMIT",
            "ROLLBACK",
        ])
        .to_owned()
    }
}
