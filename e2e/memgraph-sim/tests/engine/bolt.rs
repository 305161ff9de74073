//! The Bolt protocol in front of the engine, byte by byte.

use std::sync::Arc;

use bolt_server::{
    Map, Session, SessionConfig, Value, Version,
    packstream::{Decoder, Encoder, Structures},
};
use bytes::BytesMut;

use crate::network::{Client, Network};

/// Magic number and proposals of a handshake.
fn handshake(proposals: [[u8; 4]; 4]) -> Vec<u8> {
    [&[0x60, 0x60, 0xB0, 0x17], proposals.concat().as_slice()].concat()
}

/// Only Bolt 5.2.
const BOLT_5_2: [[u8; 4]; 4] = [[0, 0, 2, 5], [0; 4], [0; 4], [0; 4]];

const HELLO: u8 = 0x01;
const RESET: u8 = 0x0F;
const RUN: u8 = 0x10;
const PULL: u8 = 0x3F;
const ROUTE: u8 = 0x66;
const LOGON: u8 = 0x6A;

/// A reply: its signature (SUCCESS 0x70, RECORD 0x71, IGNORED 0x7E, FAILURE 0x7F) and its only field.
type Reply = (u8, Value);

struct Bolt {
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

const VIOLATION: &str = "Memgraph.ExecutionException";

#[test]
fn j02_versions_are_negotiated_in_the_order_of_the_client() {
    for version in Version::ALL {
        let mut network = Network::new(version, &["a"]);
        let mut bolt = Bolt::new(&mut network, version);
        // 5.8 to 5.0, 4.4 to 4.2, 4.1, 3.0
        let proposals = handshake([[0, 8, 8, 5], [0, 2, 4, 4], [0, 0, 1, 4], [0, 0, 0, 3]]);
        assert_eq!(bolt.bytes(&mut network, &proposals), [0, 0, 2, 5]);
        let mut bolt = Bolt::new(&mut network, version);
        let proposals = handshake([[0, 2, 4, 4], [0; 4], [0; 4], [0; 4]]);
        let chosen = if version >= Version::V3_12 {
            [0, 0, 4, 4]
        } else {
            [0, 0, 3, 4]
        };
        assert_eq!(bolt.bytes(&mut network, &proposals), chosen);
        let mut bolt = Bolt::new(&mut network, version);
        let only_5_4 = bolt.bytes(&mut network, &handshake([[0, 0, 4, 5], [0; 4], [0; 4], [0; 4]]));
        assert_eq!(failure(&replies(&only_5_4)).0, VIOLATION);
        assert!(bolt.session.is_closed());
    }
}

#[test]
fn j03_a_client_of_bolt_5_logs_on_before_it_runs_queries() {
    let mut network = Network::new(Version::default(), &["a"]);
    let mut bolt = Bolt::new(&mut network, Version::default());
    let welcome = bolt.hello(&mut network);
    let [(0x70, Value::Map(metadata))] = welcome.as_slice() else {
        panic!("{welcome:?}")
    };
    assert_eq!(metadata["connection_id"].as_str(), Some("bolt-1"));
    assert_eq!(
        metadata["server"].as_str(),
        Some("Neo4j/v5.11.0 compatible graph database server - Memgraph")
    );
    assert_eq!(bolt.log_on(&mut network, "", ""), welcome);
    let mut hasty = Bolt::new(&mut network, Version::default());
    hasty.hello(&mut network);
    assert_eq!(failure(&hasty.run(&mut network, "RETURN 1", &[])).0, VIOLATION);
    assert!(hasty.session.is_closed());
}

#[test]
fn j04_passwords_count_once_there_are_users() {
    let mut network = Network::new(Version::default(), &["a"]);
    let mut bolt = Bolt::new(&mut network, Version::default());
    bolt.hello(&mut network);
    assert_eq!(bolt.log_on(&mut network, "anybody", "anything")[0].0, 0x70);
    network.must("a", "CREATE USER bob IDENTIFIED BY 'secret'");
    let mut bolt = Bolt::new(&mut network, Version::default());
    bolt.hello(&mut network);
    let refused = failure(&bolt.log_on(&mut network, "bob", "wrong"));
    assert_eq!(
        refused,
        (
            "Memgraph.ClientError.Security.Unauthenticated".into(),
            "Authentication failure".into()
        )
    );
    assert!(bolt.session.is_closed());
}

#[test]
fn j05_after_a_failure_everything_is_ignored_until_reset() {
    let mut network = Network::new(Version::default(), &["a"]);
    let mut bolt = Bolt::new(&mut network, Version::default());
    bolt.hello(&mut network);
    bolt.log_on(&mut network, "", "");
    failure(&bolt.run(&mut network, "NONSENSE", &[]));
    assert_eq!(bolt.pull(&mut network), [(0x7E, Value::Null)]);
    assert_eq!(bolt.send(&mut network, RESET, &[])[0].0, 0x70);
    assert_eq!(bolt.run(&mut network, "RETURN 1", &[])[0].0, 0x70);
    assert_eq!(bolt.pull(&mut network)[0], (0x71, Value::List(vec![1.into()])));
    assert_eq!(
        failure(&bolt.pull(&mut network)).0,
        VIOLATION,
        "there is nothing to pull"
    );
    assert!(bolt.session.is_closed());
}

#[test]
fn j37_there_is_no_routing_table_and_no_other_database() {
    for version in Version::ALL {
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
        bolt.send(&mut network, RESET, &[]);
        let (code, message) = failure(&bolt.run(&mut network, "RETURN 1", &[("db", "neo4j".into())]));
        assert_eq!(code, "Memgraph.TransientError.MemgraphError.MemgraphError");
        assert_eq!(message, "Tried to retrieve an unknown database \"neo4j\".");
    }
}
