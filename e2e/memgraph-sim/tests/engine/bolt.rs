//! The Bolt protocol in front of the engine, byte by byte.

use std::sync::Arc;

use bolt_server::{
    Map, Session, SessionConfig, Value, Version,
    packstream::{Decoder, Encoder, Structures},
};
use bytes::BytesMut;

use crate::clients::Stage;
use crate::errors::Seen;
use crate::network::{Client, Network};
use crate::releases::each_release;

/// Magic number and proposals of a handshake.
fn handshake(proposals: [[u8; 4]; 4]) -> Vec<u8> {
    [&[0x60, 0x60, 0xB0, 0x17], proposals.concat().as_slice()].concat()
}

/// Only Bolt 5.2.
const BOLT_5_2: [[u8; 4]; 4] = [[0, 0, 2, 5], [0; 4], [0; 4], [0; 4]];

const HELLO: u8 = 0x01;
const RESET: u8 = 0x0F;
const RUN: u8 = 0x10;
const BEGIN: u8 = 0x11;
const PULL: u8 = 0x3F;
const ROUTE: u8 = 0x66;
const LOGON: u8 = 0x6A;

/// A reply: its signature (SUCCESS 0x70, RECORD 0x71, IGNORED 0x7E, FAILURE 0x7F) and its only field.
type Reply = (u8, Value);

pub struct Bolt {
    session: Session,
    client: Client,
}

impl Bolt {
    fn new(network: &mut Network, version: Version) -> Self {
        let session = Session::new(Arc::new(SessionConfig::new(version, "run")));
        Self {
            session,
            client: network.client("a"),
        }
    }

    /// Sends bytes and returns what the server says.
    fn bytes(&mut self, network: &mut Network, bytes: &[u8]) -> Vec<u8> {
        self.session.receive(bytes);
        while let Some(request) = self.session.next_request() {
            let response = network.request(&self.client, request);
            self.session.respond(response).unwrap();
        }
        self.session.take_output().to_vec()
    }

    fn send(&mut self, network: &mut Network, signature: u8, fields: &[Value]) -> Vec<Reply> {
        let mut body = BytesMut::new();
        let mut encoder = Encoder::new(&mut body, Structures::WithElementIds);
        encoder.structure(signature, fields.len().try_into().unwrap());
        fields.iter().for_each(|field| encoder.value(field));
        let length: u16 = body.len().try_into().unwrap();
        let message = [&length.to_be_bytes(), &body[..], &[0, 0]].concat();
        replies(&self.bytes(network, &message))
    }

    fn hello(&mut self, network: &mut Network) -> Vec<Reply> {
        let reply = self.bytes(network, &handshake(BOLT_5_2));
        assert_eq!(reply, [0, 0, 2, 5]);
        self.send(
            network,
            HELLO,
            &[Value::Map(map(&[("user_agent", "test/1".into())]))],
        )
    }

    fn log_on(&mut self, network: &mut Network, user: &str, password: &str) -> Vec<Reply> {
        let fields = [
            ("scheme", "basic".into()),
            ("principal", user.into()),
            ("credentials", password.into()),
        ];
        self.send(network, LOGON, &[Value::Map(map(&fields))])
    }

    fn run(&mut self, network: &mut Network, query: &str, extra: &[(&str, Value)]) -> Vec<Reply> {
        self.send(
            network,
            RUN,
            &[query.into(), Value::Map(Map::new()), Value::Map(map(extra))],
        )
    }

    /// The refusal of a password that is wrong.
    pub fn refused_logon(network: &mut Network, version: Version) -> Option<Seen> {
        let mut bolt = Self::new(network, version);
        bolt.hello(network);
        let reply = bolt.log_on(network, "bob", "wrong");
        Some(Seen::new(Stage::Logon, failure(&reply)))
    }

    /// The refusal of a routing table.
    pub fn refused_route(network: &mut Network, version: Version) -> Option<Seen> {
        let mut bolt = Self::new(network, version);
        bolt.hello(network);
        bolt.log_on(network, "", "");
        let fields = [
            Value::Map(Map::new()),
            Value::List(Vec::new()),
            Value::Map(Map::new()),
        ];
        let reply = bolt.send(network, ROUTE, &fields);
        Some(Seen::new(Stage::Route, failure(&reply)))
    }

    fn pull(&mut self, network: &mut Network) -> Vec<Reply> {
        self.send(network, PULL, &[Value::Map(map(&[("n", Value::Integer(-1))]))])
    }
}

fn map(entries: &[(&str, Value)]) -> Map {
    entries
        .iter()
        .map(|(key, value)| ((*key).to_owned(), value.clone()))
        .collect()
}

/// Takes the chunks of replies apart; none of the replies here needs more than one chunk.
fn replies(mut bytes: &[u8]) -> Vec<Reply> {
    let mut replies = Vec::new();
    while let [high, low, rest @ ..] = bytes {
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        let (body, rest) = rest.split_at(length);
        // A structure with one field, or with none.
        let field = if body[0] == 0xB1 {
            Decoder::new(&body[2..], Structures::WithElementIds)
                .value()
                .unwrap()
        } else {
            Value::Null
        };
        replies.push((body[1], field));
        bytes = rest.strip_prefix(&[0, 0]).unwrap();
    }
    replies
}

/// Code and message of a FAILURE.
fn failure(replies: &[Reply]) -> (String, String) {
    let [(0x7F, Value::Map(map))] = replies else {
        panic!("no FAILURE: {replies:?}")
    };
    (
        map["code"].as_str().unwrap().to_owned(),
        map["message"].as_str().unwrap().to_owned(),
    )
}

/// What a client hears that breaks the protocol.
fn violation() -> (String, String) {
    (
        "Memgraph.ExecutionException".into(),
        "Something went wrong while executing the query! Check the server logs for more details.".into(),
    )
}

#[test]
fn j02_versions_are_negotiated_in_the_order_of_the_client() {
    each_release(|version| {
        let mut network = Network::new(version, &["a"]);
        let bolt_4 = if version >= Version::V3_12 {
            [0, 0, 4, 4]
        } else {
            [0, 0, 3, 4]
        };
        let agreed = [
            // 5.8 to 5.0, 4.4 to 4.2, 4.1, 3.0
            (
                [[0, 8, 8, 5], [0, 2, 4, 4], [0, 0, 1, 4], [0, 0, 0, 3]],
                [0, 0, 2, 5],
            ),
            ([[0, 2, 4, 4], [0, 0, 2, 5], [0; 4], [0; 4]], bolt_4),
            ([[0, 0, 3, 4], [0, 0, 2, 5], [0; 4], [0; 4]], [0, 0, 3, 4]),
            ([[0, 0, 1, 4], [0; 4], [0; 4], [0; 4]], [0, 0, 1, 4]),
            ([[0, 0, 0, 4], [0; 4], [0; 4], [0; 4]], [0, 0, 0, 4]),
            ([[0, 0, 0, 1], [0; 4], [0; 4], [0; 4]], [0, 0, 0, 1]),
            // A manifest is passed over.
            ([[0, 0, 1, 255], [0, 0, 2, 5], [0; 4], [0; 4]], [0, 0, 2, 5]),
        ];
        for (proposals, chosen) in agreed {
            let mut bolt = Bolt::new(&mut network, version);
            assert_eq!(bolt.bytes(&mut network, &handshake(proposals)), chosen);
            assert!(!bolt.session.is_closed());
        }
        let mut refused = vec![
            [[0, 0, 4, 5], [0; 4], [0; 4], [0; 4]],
            [[0, 0, 1, 5], [0, 0, 0, 5], [0, 0, 2, 4], [0, 0, 0, 3]],
            // Nothing behind an empty proposal counts.
            [[0, 0, 4, 5], [0; 4], [0, 0, 2, 5], [0; 4]],
        ];
        if version < Version::V3_12 {
            refused.push([[0, 0, 4, 4], [0; 4], [0; 4], [0; 4]]);
        }
        for proposals in refused {
            let mut bolt = Bolt::new(&mut network, version);
            // No version comes first: the whole answer is a message.
            let answer = bolt.bytes(&mut network, &handshake(proposals));
            assert_eq!(failure(&replies(&answer)), violation());
            assert!(bolt.session.is_closed());
        }
    });
}

#[test]
fn j03_a_client_of_bolt_5_logs_on_before_it_runs_queries() {
    each_release(|version| {
        let mut network = Network::new(version, &["a"]);
        let mut bolt = Bolt::new(&mut network, version);
        let welcome = bolt.hello(&mut network);
        let metadata = map(&[
            ("connection_id", "bolt-1".into()),
            (
                "server",
                "Neo4j/v5.11.0 compatible graph database server - Memgraph".into(),
            ),
        ]);
        assert_eq!(welcome, [(0x70, Value::Map(metadata))]);
        assert_eq!(bolt.log_on(&mut network, "", ""), welcome);
        for (signature, fields) in [
            (
                RUN,
                vec!["RETURN 1".into(), Value::Map(Map::new()), Value::Map(Map::new())],
            ),
            (RESET, Vec::new()),
        ] {
            let mut hasty = Bolt::new(&mut network, version);
            hasty.hello(&mut network);
            assert_eq!(
                failure(&hasty.send(&mut network, signature, &fields)),
                violation()
            );
            assert!(hasty.session.is_closed());
        }
    });
}

#[test]
fn j04_passwords_count_once_there_are_users() {
    each_release(|version| {
        let mut network = Network::new(version, &["a"]);
        for (user, password) in [("anybody", "anything"), ("", "")] {
            let mut bolt = Bolt::new(&mut network, version);
            bolt.hello(&mut network);
            assert_eq!(bolt.log_on(&mut network, user, password)[0].0, 0x70);
            assert!(!bolt.session.is_closed());
        }
        network.must("a", "CREATE USER bob IDENTIFIED BY 'secret'");
        let mut bolt = Bolt::new(&mut network, version);
        bolt.hello(&mut network);
        assert_eq!(bolt.log_on(&mut network, "bob", "secret")[0].0, 0x70);
        for (user, password) in [("bob", "wrong"), ("anybody", "secret"), ("", "")] {
            let mut bolt = Bolt::new(&mut network, version);
            bolt.hello(&mut network);
            assert_eq!(
                failure(&bolt.log_on(&mut network, user, password)),
                (
                    "Memgraph.ClientError.Security.Unauthenticated".into(),
                    "Authentication failure".into()
                )
            );
            assert!(bolt.session.is_closed());
        }
    });
}

#[test]
fn j05_after_a_failure_everything_is_ignored_until_reset() {
    each_release(|version| {
        let mut network = Network::new(version, &["a"]);
        let mut bolt = Bolt::new(&mut network, version);
        bolt.hello(&mut network);
        bolt.log_on(&mut network, "", "");
        failure(&bolt.run(&mut network, "NONSENSE", &[]));
        for _ in 0..2 {
            assert_eq!(bolt.pull(&mut network), [(0x7E, Value::Null)]);
            assert_eq!(bolt.run(&mut network, "RETURN 1", &[]), [(0x7E, Value::Null)]);
        }
        assert_eq!(bolt.send(&mut network, RESET, &[])[0].0, 0x70);
        assert_eq!(bolt.run(&mut network, "RETURN 1", &[])[0].0, 0x70);
        assert_eq!(bolt.pull(&mut network)[0], (0x71, Value::List(vec![1.into()])));
        // There is nothing to pull.
        assert_eq!(failure(&bolt.pull(&mut network)), violation());
        assert!(bolt.session.is_closed());
    });
}

/// The metadata of the SUCCESS that ends a result.
fn summary(replies: &[Reply]) -> &Map {
    match replies {
        [.., (0x70, Value::Map(metadata))] => metadata,
        other => panic!("no SUCCESS: {other:?}"),
    }
}

#[test]
fn j06_admin_queries_answer_in_the_form_of_queries() {
    each_release(|version| {
        let mut network = Network::new(version, &["a"]);
        let mut bolt = Bolt::new(&mut network, version);
        bolt.hello(&mut network);
        bolt.log_on(&mut network, "", "");
        let header = |fields: &[&str]| {
            let fields = fields.iter().map(|field| Value::from(*field)).collect();
            [(0x70, Value::Map(map(&[("fields", Value::List(fields))])))]
        };
        assert_eq!(
            bolt.run(&mut network, "SHOW REPLICATION ROLE", &[]),
            header(&["replication role"])
        );
        let result = bolt.pull(&mut network);
        assert_eq!(result.len(), 2);
        assert_eq!(result[0], (0x71, Value::List(vec!["main".into()])));
        let plain = summary(&result).clone();
        let expected = [
            ("has_more", Value::Boolean(false)),
            ("type", "rw".into()),
            ("db", "memgraph".into()),
            ("cost_estimate", Value::Float(0.0)),
            ("run_id", "run".into()),
        ];
        for (key, value) in expected {
            assert_eq!(plain[key], value, "{key}");
        }
        assert!(!plain.contains_key("notifications"));
        assert!(!plain.contains_key("stats"));
        // Queries without rows; what they have done is in the notifications.
        let warning = [
            ("severity", Value::from("WARNING")),
            ("code", "ReplicaPortWarning".into()),
            (
                "title",
                "Be careful the replication port must be different from the memgraph port!".into(),
            ),
            ("description", "".into()),
        ];
        let info = |title: &str| {
            [
                ("severity", Value::from("INFO")),
                ("code", "SetReplica".into()),
                ("title", title.into()),
                ("description", "".into()),
            ]
        };
        let queries = [
            (
                "SET REPLICATION ROLE TO REPLICA WITH PORT 7687",
                vec![info("Replica role set to REPLICA."), warning],
            ),
            (
                "SET REPLICATION ROLE TO MAIN",
                vec![info("Replica role set to MAIN.")],
            ),
            (
                "SET REPLICATION ROLE TO REPLICA WITH PORT 10000",
                vec![info("Replica role set to REPLICA.")],
            ),
        ];
        for (query, notifications) in queries {
            assert_eq!(bolt.run(&mut network, query, &[]), header(&[]));
            let result = bolt.pull(&mut network);
            assert_eq!(result.len(), 1, "no rows");
            let mut metadata = summary(&result).clone();
            let Some(Value::List(mut told)) = metadata.remove("notifications") else {
                panic!("{metadata:?}")
            };
            told.sort_by_key(|it| format!("{it:?}").contains("WARNING"));
            let notifications: Vec<_> = notifications.iter().map(|it| Value::Map(map(it))).collect();
            assert_eq!(told, notifications, "{query}");
            assert_eq!(metadata, plain);
        }
    });
}

#[test]
fn j37_there_is_no_routing_table_and_no_other_database() {
    each_release(|version| {
        let mut network = Network::new(version, &["a"]);
        let mut bolt = Bolt::new(&mut network, version);
        bolt.hello(&mut network);
        bolt.log_on(&mut network, "", "");
        let route = [
            Value::Map(Map::new()),
            Value::List(Vec::new()),
            Value::Map(Map::new()),
        ];
        let (code, message) = failure(&bolt.send(&mut network, ROUTE, &route));
        let class = if version >= Version::Head {
            "ClientError"
        } else {
            "TransientError"
        };
        assert_eq!(code, format!("Memgraph.{class}.MemgraphError.MemgraphError"));
        assert_eq!(
            message,
            "You cannot fetch routing table from an instance which is not part of a cluster."
        );
        assert!(!bolt.session.is_closed());
        let extra = [("db", Value::from("neo4j"))];
        for begin in [false, true] {
            bolt.send(&mut network, RESET, &[]);
            let refused = if begin {
                bolt.send(&mut network, BEGIN, &[Value::Map(map(&extra))])
            } else {
                bolt.run(&mut network, "RETURN 1", &extra)
            };
            assert_eq!(
                failure(&refused),
                (
                    "Memgraph.TransientError.MemgraphError.MemgraphError".into(),
                    "Tried to retrieve an unknown database \"neo4j\".".into()
                )
            );
        }
        bolt.send(&mut network, RESET, &[]);
        let accepted = bolt.run(&mut network, "RETURN 1", &[("db", "memgraph".into())]);
        assert_eq!(accepted[0].0, 0x70);
    });
}
