//! Everything that Memgraph says when it refuses something, over every release, byte for byte.
//!
//! `errors.yaml` has the texts. Each of its situations is brought about in an engine; and each of the texts
//! can be looked up in Memgraph's own source.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use bolt_server::{Failure, FailureCode, Request, Response, TransactionOptions, Version};
use memgraph_sim::engine::DiskOperation;
use serde::Deserialize;

use crate::bolt::Bolt;
use crate::clients::{Stage, prepare};
use crate::network::{Client, Network};

/// A situation in which a request fails, and how.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Situation {
    name: String,
    /// What happens before, among the instances `a` to `d`.
    #[serde(default, with = "serde_yaml::with::singleton_map_recursive")]
    before: Vec<Step>,
    /// Whom the client talks to.
    #[serde(default = "first_instance")]
    on: String,
    /// Queries that the client runs first, in an explicit transaction.
    transaction: Option<Vec<String>>,
    /// The query that fails, unless another request does. `<newest snapshot>` is the path of one.
    query: Option<String>,
    /// What happens between RUN and PULL of this query, or between the last query of a transaction and its end.
    #[serde(default, with = "serde_yaml::with::singleton_map_recursive")]
    between: Vec<Step>,
    /// The request that fails.
    at: Stage,
    code: Code,
    /// The file of Memgraph that has the text.
    source: String,
    /// From the oldest to the newest release.
    texts: Vec<Text>,
}

fn first_instance() -> String {
    "a".to_owned()
}

/// What a request fails with in a range of releases.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Text {
    /// The first release that says so; the range ends where the next one begins.
    #[serde(default)]
    since: Option<String>,
    /// `None` where the request does not fail.
    text: Option<String>,
    at: Option<Stage>,
    code: Option<Code>,
    source: Option<String>,
    /// Pieces of the source from which the text is built; left out where it stands there as a whole.
    pieces: Option<Vec<String>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Code {
    Client,
    Transient,
    Unauthenticated,
    Violation,
}

impl Code {
    fn as_str(self) -> &'static str {
        match self {
            Self::Client => "Memgraph.ClientError.MemgraphError.MemgraphError",
            Self::Transient => "Memgraph.TransientError.MemgraphError.MemgraphError",
            Self::Unauthenticated => "Memgraph.ClientError.Security.Unauthenticated",
            Self::Violation => "Memgraph.ExecutionException",
        }
    }
}

/// Something that happens.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Step {
    /// A query that works: instance and text.
    Run(String, String),
    /// A query that may work or not, without anybody waiting for it: instance and text.
    Send(String, String),
    /// A transaction of somebody else that stays open: instance and queries.
    Open(String, Vec<String>),
    /// Registers `name` at `a`, in a mode.
    Attach(String, String),
    Kill(String),
    Start(String),
    Restart(String),
    /// Takes all packets of an instance away.
    Cut(String),
    /// Lets somebody else have the replication port.
    TakePort(String),
    /// The next write of this file of an instance fails.
    FailWrite(String, String),
    /// The first one, which is not running, gets the data of the second one.
    TakeData(String, String),
    /// Moves a folder of an instance.
    Move(String, String, String),
    /// Empties all files of a folder of an instance.
    Damage(String, String),
    /// Seconds.
    Wait(f64),
    /// Waits until `a` shows this status of a replica.
    Until(String, String),
    /// Terminates all transactions of others on `a`.
    TerminateOthers,
}

/// A failure as a client sees it.
#[derive(Debug, PartialEq, Eq)]
pub struct Seen {
    at: Stage,
    code: String,
    text: String,
}

impl Seen {
    /// The answer to a request: code and text.
    pub fn new(at: Stage, (code, text): (String, String)) -> Self {
        Self { at, code, text }
    }
}

fn situations() -> Vec<Situation> {
    serde_yaml::from_str(include_str!("errors.yaml")).expect("errors.yaml")
}

impl Situation {
    /// The text of a release; `None` for one that does not know the situation.
    fn text(&self, version: Version) -> Option<&Text> {
        self.texts.iter().rfind(|text| text.since() <= version)
    }

    /// What a client of such a release should see.
    fn expected(&self, text: &Text) -> Option<Seen> {
        Some(Seen {
            at: text.at.unwrap_or(self.at),
            code: text.code.unwrap_or(self.code).as_str().to_owned(),
            text: text.text.clone()?,
        })
    }

    /// Brings the situation about.
    fn provoke(&self, version: Version) -> Option<Seen> {
        let mut network = Network::new(version, &["a", "b", "c", "d"]);
        for step in &self.before {
            step.happen(&mut network);
        }
        match self.at {
            Stage::Logon => return Bolt::refused_logon(&mut network, version),
            Stage::Route => return Bolt::refused_route(&mut network, version),
            _ => {}
        }
        let client = network.client(&self.on);
        if let Some(queries) = &self.transaction {
            network.begin(&client);
            for query in queries {
                network.run_on(&client, query).unwrap();
            }
        }
        let (at, response) = self.request(&mut network, &client)?;
        match response {
            Response::Failed(Failure { code, message }) => Some(Seen {
                at,
                code: match code {
                    FailureCode::Client => Code::Client.as_str(),
                    FailureCode::Transient => Code::Transient.as_str(),
                    FailureCode::Database => "Memgraph.DatabaseError.MemgraphError.MemgraphError",
                }
                .to_owned(),
                text: message,
            }),
            _ => None,
        }
    }

    /// The request that should fail, and its answer.
    fn request(&self, network: &mut Network, client: &Client) -> Option<(Stage, Response)> {
        let between = |network: &mut Network| self.between.iter().for_each(|step| step.happen(network));
        if let Some(query) = &self.query {
            let newest = ["elsewhere", "snapshots"]
                .iter()
                .find_map(|folder| Some((folder, network.disk(&client.member).list(folder).pop()?)))
                .map(|(folder, file)| format!("/var/lib/memgraph/{folder}/{file}"));
            let query = query.replace("<newest snapshot>", &newest.unwrap_or_default());
            let prepared = network.request(client, prepare(&query));
            if matches!(prepared, Response::Failed(_)) {
                return Some((Stage::Run, prepared));
            }
            between(network);
            return Some((
                Stage::Pull,
                network.request(client, Request::Execute { take: None }),
            ));
        }
        between(network);
        let request = match self.at {
            Stage::Commit => Request::Commit,
            Stage::Rollback => Request::Rollback,
            Stage::Begin => Request::Begin(TransactionOptions {
                database: Some("neo4j".to_owned()),
                ..TransactionOptions::default()
            }),
            at => panic!("{}: which query is the failure of {at:?}?", self.name),
        };
        Some((self.at, network.request(client, request)))
    }
}

impl Text {
    fn since(&self) -> Version {
        self.since
            .as_ref()
            .map_or(Version::V3_4, |since| since.parse().unwrap())
    }
}

impl Step {
    fn happen(&self, network: &mut Network) {
        match self {
            Self::Run(on, query) => {
                network.must(on, query);
            }
            Self::Send(on, query) => {
                let client = network.client(on);
                network.prepare(&client, query);
                network.send_request(&client, Request::Execute { take: None });
            }
            Self::Open(on, queries) => {
                let client = network.client(on);
                network.begin(&client);
                for query in queries {
                    network.run_on(&client, query).unwrap();
                }
            }
            Self::Attach(name, mode) => network.attach("a", name, mode),
            Self::Kill(name) => network.kill(name),
            Self::Start(name) => {
                network.start(name);
                network.until_ready(name);
            }
            Self::Restart(name) => network.restart(name),
            Self::Cut(name) => network.black_hole(name),
            Self::TakePort(name) => network.block_port(name),
            Self::FailWrite(name, path) => network.disk(name).fail_next_write = Some(path.clone()),
            Self::TakeData(name, from) => {
                let data = network.disk(from).clone();
                for folder in ["snapshots", "wal"] {
                    network.disk(name).take_folder(&data, folder);
                }
            }
            Self::Move(name, from, to) => {
                let moved = DiskOperation::Rename(from.clone(), to.clone());
                network.disk(name).perform(moved).unwrap();
            }
            Self::Damage(name, folder) => {
                for file in network.disk(name).list(folder) {
                    let emptied = DiskOperation::Replace(format!("{folder}/{file}"), Vec::new());
                    network.disk(name).perform(emptied).unwrap();
                }
            }
            Self::Wait(seconds) => network.run(Duration::from_secs_f64(*seconds)),
            Self::Until(name, status) => network.until_status("a", name, status),
            Self::TerminateOthers => {
                let rows = network.must("a", "SHOW TRANSACTIONS");
                for row in &rows {
                    let id = row[1].as_str().unwrap();
                    network.must("a", &format!("TERMINATE TRANSACTIONS '{id}'"));
                }
            }
        }
    }
}

#[test]
fn every_refusal_is_worded_as_by_memgraph() {
    let mut wrong = Vec::new();
    for situation in situations() {
        for version in Version::ALL {
            let Some(text) = situation.text(version) else {
                continue;
            };
            let (expected, seen) = (situation.expected(text), situation.provoke(version));
            if expected != seen {
                wrong.push(format!(
                    "{} with {version}:\n  Memgraph {expected:?}\n       got {seen:?}",
                    situation.name
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn the_table_of_texts_is_in_order() {
    let situations = situations();
    let names: BTreeSet<_> = situations.iter().map(|situation| &situation.name).collect();
    assert_eq!(names.len(), situations.len(), "a name stands there twice");
    for situation in &situations {
        let since: Vec<_> = situation.texts.iter().map(Text::since).collect();
        assert!(since.is_sorted_by(|a, b| a < b), "{}", situation.name);
    }
}

/// The literals of the functions and files in `src/` that make what a client is told.
fn own_literals() -> Vec<String> {
    use crate::literals::{all, within_calls};
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut literals = Vec::new();
    let mut folders = vec![folder.join("src"), folder.join("../cypher/src")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let source = std::fs::read_to_string(&path).unwrap();
            // What follows are unit tests.
            let source = source.split("#[cfg(test)]").next().unwrap_or_default();
            let whole = ["src/messages.rs", "exec/errors.rs", "cypher/src/classify.rs"];
            if whole.iter().any(|whole| path.ends_with(whole)) {
                // What the simulator cannot do it says in its own words.
                let own = within_calls(source, &["unsupported("]);
                literals.extend(all(source).into_iter().filter(|literal| !own.contains(literal)));
            } else {
                literals.extend(within_calls(
                    source,
                    &[
                        "Failure::client(",
                        "Failure::transient(",
                        "refused(",
                        "Refused(",
                        "string_or(",
                        "string_or_null(",
                        "integer_or(",
                    ],
                ));
            }
        }
    }
    literals
}

/// Texts that no situation of the table brings about.
const ELSEWHERE: [&str; 2] = [
    // Another thread of the replica interrupts the snapshot.
    "Failed to create snapshot. The current snapshot needs to be aborted.",
    // This takes `--storage-allow-recovery-failure`.
    "Database is in the broken state because the recovery process failed. Please recover your database using the \
     RECOVER SNAPSHOT query. If you have a backup of the whole data directory, please replace the current data \
     directory with the backup one and restart the process.",
];

#[test]
fn no_text_is_missing_in_the_table() {
    let situations = situations();
    let texts: Vec<_> = situations
        .iter()
        .flat_map(|situation| &situation.texts)
        .filter_map(|text| text.text.as_deref())
        .chain(ELSEWHERE)
        .collect();
    let missing: BTreeSet<String> = own_literals()
        .iter()
        .filter(|literal| !literal.starts_with("not supported by the simulator"))
        .flat_map(|literal| crate::literals::pieces(literal))
        .filter(|piece| piece.trim().contains(' '))
        .filter(|piece| !texts.iter().any(|text| text.contains(piece.as_str())))
        .collect();
    assert!(missing.is_empty(), "{missing:#?}");
}

/// The commit or tag of Memgraph's repository that a release is taken from.
fn revision(version: Version) -> String {
    match version {
        Version::Head => "df0f63683b6fb5e543ef4ec31b0affffde7c1109".to_owned(),
        version => format!("v{version}"),
    }
}

/// Files of Memgraph's repository.
struct Files {
    repository: String,
    literals: BTreeMap<String, Vec<String>>,
}

impl Files {
    /// The string literals of a file at a release.
    fn literals(&mut self, version: Version, path: &str) -> Vec<String> {
        let object = format!("{}:{path}", revision(version));
        let repository = &self.repository;
        let read = || {
            let output = std::process::Command::new("git")
                .args(["--git-dir", repository, "show", &object])
                .output()
                .expect("git");
            assert!(output.status.success(), "git show {object}");
            crate::literals::all(&String::from_utf8_lossy(&output.stdout))
        };
        self.literals.entry(object.clone()).or_insert_with(read).clone()
    }
}

/// `MEMGRAPH_SOURCE` names the git directory of a clone of Memgraph.
#[test]
#[ignore = "needs a clone of Memgraph: MEMGRAPH_SOURCE=<git directory>"]
fn every_text_is_in_the_source_of_its_releases() {
    let mut files = Files {
        repository: std::env::var("MEMGRAPH_SOURCE").expect("MEMGRAPH_SOURCE names a git directory"),
        literals: BTreeMap::new(),
    };
    let mut missing = Vec::new();
    for situation in situations() {
        for version in Version::ALL {
            let Some(text) = situation.text(version) else {
                continue;
            };
            let Some(whole) = &text.text else { continue };
            let sources = text.source.as_ref().unwrap_or(&situation.source);
            let literals: Vec<_> = sources
                .split(' ')
                .flat_map(|path| files.literals(version, path))
                .collect();
            for piece in text.pieces.as_deref().unwrap_or(std::slice::from_ref(whole)) {
                if !literals.iter().any(|literal| literal.contains(piece.as_str())) {
                    missing.push(format!("{} in {version}: {piece:?}", situation.name));
                }
            }
            // Nothing but what is filled in may come from elsewhere.
            if let Some(pieces) = &text.pieces {
                assert!(
                    crate::literals::covers(pieces, whole),
                    "{}: {whole:?} is not made of {pieces:?}",
                    situation.name
                );
            }
        }
    }
    assert!(missing.is_empty(), "{missing:#?}");
}
