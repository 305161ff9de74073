//! What must hold however the cluster is treated: random writes, crashes, cuts and lost messages, over the releases.
//!
//! A failing run names its seed; put it into the list of the test, so that it is run for ever.

mod copies;
mod divergence;
mod power_loss;
mod promises;
mod watch;

use bolt_server::Version;
use memgraph_sim::{
    config::Config,
    durability::inspect,
    engine::{DiskOperation, DiskReply},
};
use rand::{Rng, rngs::StdRng, seq::IndexedRandom};

use crate::network::Network;

/// How many seeds each property is tried with, per release. `SEEDS=500` tries more.
fn seeds(usual: u64) -> std::ops::Range<u64> {
    let wanted = std::env::var("SEEDS").ok().and_then(|text| text.parse().ok());
    0..wanted.unwrap_or(usual)
}

/// Instances whose log files are small, so that there are many.
fn cluster(version: Version, names: &[&str]) -> Network {
    let mut network = Network::new(version, &[]);
    for name in names {
        network.add(
            name,
            Config {
                version,
                wal_file_kib: 1,
                snapshot_interval: None,
                ..Config::default()
            },
        );
    }
    network
}

/// The modes of a release.
fn modes(version: Version) -> &'static [&'static str] {
    match version {
        Version::V3_4 => &["ASYNC", "SYNC"],
        _ => &["ASYNC", "SYNC", "STRICT_SYNC"],
    }
}

/// A random change. Enums are changed only if asked for: an aborted transaction leaves them changed (see the
/// README), so that MAIN shows what is in no log.
fn write(random: &mut StdRng, token: i64, enums: bool) -> String {
    let known = random.random_range(0..=token);
    match random.random_range(0..14) {
        0..4 => format!("CREATE (:T {{token: {token}}})"),
        4 => format!("UNWIND range(1, 4) AS i CREATE (:T {{token: {token}, i: i, text: 'some text'}})"),
        5 => format!("MATCH (n:T) WHERE n.token <= {known} SET n.seen = {token}, n:Seen"),
        6 => format!("MATCH (n:T) WHERE n.token = {known} DETACH DELETE n"),
        7 => format!(
            "MATCH (n:T), (m:T) WHERE n.token = {known} AND m.token = {token} - 1 CREATE (n)-[:R {{w: {token}}}]->(m)"
        ),
        8 => "MATCH ()-[r:R]->() DELETE r".to_owned(),
        9 => "MATCH (n:Seen) REMOVE n.seen, n:Seen".to_owned(),
        10 => (*[
            "CREATE INDEX ON :T(token)",
            "DROP INDEX ON :T(token)",
            "CREATE INDEX ON :Seen",
        ]
        .choose(random)
        .unwrap())
        .to_owned(),
        11 => (*[
            "CREATE CONSTRAINT ON (n:M) ASSERT n.k IS UNIQUE",
            "DROP CONSTRAINT ON (n:M) ASSERT n.k IS UNIQUE",
            "CREATE CONSTRAINT ON (n:M) ASSERT EXISTS (n.k)",
        ]
        .choose(random)
        .unwrap())
        .to_owned(),
        12 if enums => format!("CREATE ENUM E{token} VALUES {{ One, Two }}"),
        _ => format!("MERGE (n:M {{k: {}}}) SET n.token = {token}", known % 4),
    }
}

/// Everything that an instance shows of its data and schema, but the sizes of indexes: those are estimates.
fn content(network: &mut Network, member: &str) -> Vec<String> {
    let mut lines = Vec::new();
    for query in [
        "DUMP DATABASE",
        "SHOW INDEX INFO",
        "SHOW CONSTRAINT INFO",
        "SHOW ENUMS",
    ] {
        for mut row in network.must(member, query) {
            if query == "SHOW INDEX INFO" {
                row.pop();
            }
            lines.push(format!("{row:?}"));
        }
    }
    lines.sort();
    lines
}

/// What the disk of an instance tells about its transactions.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct OnDisk {
    logs: Vec<inspect::LogSummary>,
    snapshots: Vec<inspect::SnapshotSummary>,
}

impl OnDisk {
    fn read(network: &mut Network, member: &str) -> Self {
        let disk = network.disk(member);
        let mut files = |folder: &str| -> Vec<Vec<u8>> {
            let names = disk.list(folder);
            let read = |name: &String| match disk.perform(DiskOperation::Read(format!("{folder}/{name}"))) {
                Ok(DiskReply::Content(content)) => content,
                other => panic!("{folder}/{name}: {other:?}"),
            };
            names.iter().map(read).collect()
        };
        Self {
            logs: files("wal")
                .iter()
                .filter_map(|file| inspect::log(file).ok())
                .collect(),
            snapshots: files("snapshots")
                .iter()
                .map(|file| inspect::snapshot(file).unwrap())
                .collect(),
        }
    }

    /// The last durable timestamp.
    fn durable(&self) -> u64 {
        let logged = self.logs.iter().flat_map(|log| &log.committed).copied();
        logged
            .chain(self.snapshots.iter().map(|snapshot| snapshot.durable))
            .max()
            .unwrap_or(0)
    }

    /// Whether a transaction waits for its decision, or waited for one in vain.
    fn is_undecided(&self) -> bool {
        let newest = self.logs.iter().max_by_key(|log| log.sequence);
        newest.is_some_and(|log| log.undecided.is_some())
    }

    /// Whether a transaction is there, or waits for its decision.
    fn has(&self, timestamp: u64) -> bool {
        timestamp <= self.durable() || self.logs.iter().any(|log| log.undecided == Some(timestamp))
    }
}
