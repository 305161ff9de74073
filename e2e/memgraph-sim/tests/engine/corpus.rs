//! The inputs that `make sim-fuzz` begins with and what it has found: each of them is harmless.

#[path = "../../fuzz/src/targets.rs"]
mod targets;

use std::{
    cell::RefCell,
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    rc::Rc,
};

use bolt_server::{
    BoltVersion, Map, Value, Version,
    packstream::{Encoder, Structures},
};
use bytes::BytesMut;
use memgraph_sim::engine::{DiskOperation, DiskReply};

use crate::network::{Fate, Network};

fn folder(target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fuzz/corpus")
        .join(target)
}

#[test]
fn the_corpus_is_harmless() {
    for (name, target) in targets::ALL {
        let mut count = 0;
        for entry in fs::read_dir(folder(name)).unwrap() {
            let path = entry.unwrap().path();
            let input = fs::read(&path).unwrap();
            println!("{}", path.display());
            target(&input);
            // Torn and damaged ones, too.
            target(&input[..input.len() / 2]);
            let inverted: Vec<_> = input.iter().map(|byte| !byte).collect();
            target(&inverted);
            count += 1;
        }
        assert!(count > 1, "there are hardly any inputs for {name}");
    }
}

/// Statements of every kind, for the parser and as traffic.
const QUERIES: [&str; 28] = [
    "CREATE (a:T {token: 1, text: 'x', list: [1, 2.5, null], map: {k: true}})-[:R {w: 1}]->(:U)",
    "CREATE (:T {token: 2, deep: [[[[1]]]]})",
    "CREATE ENUM Colour VALUES { Red, Green }",
    "ALTER ENUM Colour ADD VALUE Blue",
    "CREATE (:T {token: 3, colour: Colour::Red})",
    "MATCH (n:T) WHERE n.token >= 1 AND NOT n.token IN [3, 4] OR n.text = \"y\" SET n.seen = true, n:Seen RETURN n",
    "MATCH (a)-[r:R]->(b) SET r.w = r.w + 1 RETURN a, r, b",
    "MATCH (n:Seen) REMOVE n.seen, n:Seen",
    "MERGE (n:M {k: 1}) ON CREATE SET n.c = 1 ON MATCH SET n.m = 2 RETURN n",
    "OPTIONAL MATCH (n:None) RETURN count(n), collect(n), min(n.a), max(n.a), sum(n.a)",
    "UNWIND range(1, 5) AS i WITH i WHERE i % 2 = 1 RETURN DISTINCT i ORDER BY i DESC SKIP 1 LIMIT 1",
    "MATCH (n:T {token: 2}) DETACH DELETE n",
    "CREATE INDEX ON :T(token)",
    "CREATE CONSTRAINT ON (n:T) ASSERT n.token IS UNIQUE",
    "CREATE CONSTRAINT ON (n:M) ASSERT EXISTS (n.k)",
    "DROP INDEX ON :T(token)",
    "CREATE USER u IDENTIFIED BY 'p'",
    "SHOW USERS",
    "CREATE SNAPSHOT",
    "SHOW SNAPSHOTS",
    "SHOW REPLICAS",
    "SHOW REPLICATION ROLE",
    "SHOW STORAGE INFO",
    "DUMP DATABASE",
    "STORAGE MODE IN_MEMORY_TRANSACTIONAL",
    "RETURN CASE WHEN true THEN 1 ELSE 2 END AS `odd name`, $parameter, -1.5e3, 0x1F, 'it''s'",
    "REGISTER REPLICA `r-0` STRICT_SYNC TO 'host:10000'",
    "/* a comment */ MATCH (n) // another\nRETURN n;",
];

/// Writes inputs; those that are there already stay.
struct Seeds(BTreeSet<(String, Vec<u8>)>);

impl Seeds {
    fn add(&mut self, target: &str, bytes: impl Into<Vec<u8>>) {
        self.0.insert((target.to_owned(), bytes.into()));
    }

    fn write(self) {
        for (target, bytes) in self.0 {
            let folder = folder(&target);
            fs::create_dir_all(&folder).unwrap();
            let name = format!("seed-{:08x}", crc32fast::hash(&bytes));
            fs::write(folder.join(name), bytes).unwrap();
        }
    }
}

/// The name of a message, and its bytes.
type Traffic = (String, Vec<u8>);

/// One message of each kind and size class.
fn replicate(seeds: &mut Seeds) {
    let mut network = Network::new(Version::default(), &["a", "b", "c"]);
    let seen = Rc::<RefCell<Vec<Traffic>>>::default();
    let record = Rc::clone(&seen);
    network.decide(move |_, _, message| {
        let bytes = message.encode().unwrap();
        record.borrow_mut().push((message.name().to_owned(), bytes));
        Fate::Delivered
    });
    network.must("a", QUERIES[0]);
    network.must("a", "CREATE SNAPSHOT");
    network.attach("a", "b", "STRICT_SYNC");
    for query in &QUERIES[1..16] {
        // Some are refused, which will do.
        let _ = network.query("a", query);
    }
    network.attach("a", "c", "ASYNC");
    network.restart("b");
    for query in [
        "CREATE SNAPSHOT",
        "CREATE (:T {token: 9})",
        "CREATE USER u IDENTIFIED BY 'p'",
    ] {
        let _ = network.query("a", query);
        network.run(std::time::Duration::from_secs(3));
    }
    let mut kinds = BTreeSet::new();
    for (name, bytes) in seen.take() {
        // A reply differs by its first bytes, anything else by its length.
        let head = bytes.get(..3).unwrap_or_default().to_vec();
        let class = bytes.len().next_power_of_two();
        if kinds.insert((name, class, head)) && bytes.len() < 20_000 {
            // Lists in lists, as many as fit.
            let nested = [5, 1].repeat(4);
            if let Some(at) = bytes.windows(nested.len()).position(|part| part == nested) {
                let deep = [&bytes[..at], &[5, 1].repeat(20_000), &bytes[at..]].concat();
                seeds.add("replication", deep);
            }
            seeds.add("replication", bytes);
        }
    }
    for member in ["a", "b", "c"] {
        for (place, target) in [
            ("wal", "log"),
            ("snapshots", "snapshot"),
            ("replication", "state"),
            ("auth", "state"),
        ] {
            let disk = network.disk(member);
            for name in disk.list(place).into_iter().take(2) {
                let read = DiskOperation::Read(format!("{place}/{name}"));
                if let Ok(DiskReply::Content(content)) = disk.perform(read) {
                    seeds.add(target, content);
                }
            }
        }
    }
}

fn message(signature: u8, fields: &[Value]) -> Vec<u8> {
    let mut body = BytesMut::new();
    let mut encoder = Encoder::new(&mut body, Structures::WithElementIds);
    encoder.structure(signature, fields.len().try_into().unwrap());
    fields.iter().for_each(|field| encoder.value(field));
    let length: u16 = body.len().try_into().unwrap();
    [&length.to_be_bytes(), &body[..], &[0, 0]].concat()
}

fn map(entries: &[(&str, Value)]) -> Value {
    let entries = entries
        .iter()
        .map(|(key, value)| ((*key).to_owned(), value.clone()));
    Value::Map(entries.collect::<Map>())
}

/// What drivers say.
fn converse(seeds: &mut Seeds) {
    let who = [
        ("user_agent", "driver/1".into()),
        ("scheme", "basic".into()),
        ("principal", "u".into()),
        ("credentials", "p".into()),
    ];
    for bolt in BoltVersion::ALL {
        let (major, minor) = bolt.numbers();
        let shake = [&[6, 0x60, 0x60, 0xB0, 0x17, 0, 0, minor, major][..], &[0; 12]].concat();
        let pull = message(0x3F, &[map(&[("n", 2.into())])]);
        let rest = message(0x3F, &[map(&[("n", (-1).into()), ("qid", 0.into())])]);
        let run = |query: &str| {
            message(
                0x10,
                &[
                    query.into(),
                    map(&[("parameter", Value::List(vec![1.into(), 2.5.into(), Value::Null]))]),
                    map(&[("db", "memgraph".into()), ("mode", "r".into())]),
                ],
            )
        };
        let hello = match bolt {
            BoltVersion::V1 => message(0x01, &["driver/1".into(), map(&who[1..])]),
            BoltVersion::V5_2 => {
                [message(0x01, &[map(&who[..1])]), message(0x6A, &[map(&who[1..])])].concat()
            }
            _ => message(0x01, &[map(&who)]),
        };
        let old = |query: &str| message(0x10, &[query.into(), map(&[])]);
        let talk: Vec<Vec<u8>> = if bolt == BoltVersion::V1 {
            vec![
                old("RETURN 1"),
                message(0x3F, &[]),
                old(""),
                message(0x0E, &[]),
                message(0x0F, &[]),
            ]
        } else {
            vec![
                run("RETURN 1"),
                pull.clone(),
                rest.clone(),
                message(0x11, &[map(&[("tx_timeout", 100.into())])]),
                run("CREATE ()"),
                message(0x2F, &[map(&[("n", (-1).into())])]),
                message(0x12, &[]),
                run(""),
                rest,
                message(0x0F, &[]),
                message(0x66, &[map(&[]), Value::List(Vec::new()), map(&[])]),
                message(0x0F, &[]),
                message(0x6B, &[]),
                message(0x02, &[]),
            ]
        };
        seeds.add("bolt", [shake, hello, talk.concat()].concat());
    }
}

fn values(seeds: &mut Seeds) {
    let mut network = Network::new(Version::default(), &["a"]);
    network.must("a", QUERIES[0]);
    for query in [
        "MATCH (a)-[r]->(b) RETURN a, r, b",
        "RETURN 1, -17, 1000, -40000, 3000000000, 1.5, 'text', null, true, false",
        "RETURN [1, [2, {a: {b: [3]}}]] AS list",
        "UNWIND range(1, 300) AS i RETURN collect(i), 'a text that needs more than fifteen bytes'",
    ] {
        for row in network.must("a", query) {
            for structures in [Structures::Legacy, Structures::WithElementIds] {
                let mut bytes = BytesMut::new();
                Encoder::new(&mut bytes, structures).value(&Value::List(row.clone()));
                seeds.add("packstream", bytes.to_vec());
            }
        }
    }
}

#[test]
#[ignore = "writes files into the source tree"]
fn write_the_seeds() {
    let mut seeds = Seeds(BTreeSet::new());
    for (at, query) in QUERIES.iter().enumerate() {
        let release = u8::try_from(at % 8).unwrap();
        seeds.add("cypher", [&[release], query.as_bytes()].concat());
    }
    replicate(&mut seeds);
    converse(&mut seeds);
    values(&mut seeds);
    seeds.write();
}
