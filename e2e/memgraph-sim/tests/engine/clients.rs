//! What clients do with the instances of a [`Network`], and what tests look at.

use std::time::Duration;

use bolt_server::{
    Authentication, Failure, Notification, Prepare, Request, Response, Summary, TransactionOptions, Value,
    Version,
};
use memgraph_sim::config::Config;
use memgraph_sim::engine::{DiskOperation, DiskReply, Event, SessionId};

use crate::network::{Client, Delivery, Network, PATIENCE};

pub type Rows = Vec<Vec<Value>>;

/// What a query was answered with.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// From RUN.
    pub fields: Vec<String>,
    /// From PULL, like the summary.
    pub rows: Rows,
    pub summary: Summary,
}

/// The message whose answer a failure is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Stage {
    Logon,
    Begin,
    Run,
    Pull,
    Commit,
    Rollback,
    Route,
}

/// Small clusters that many tests begin with.
impl Network {
    /// MAIN `a` with one replica, `b`.
    pub fn pair(version: Version, mode: &str) -> Self {
        let mut network = Self::new(version, &["a", "b"]);
        network.attach("a", "b", mode);
        network
    }

    /// The same without a write-ahead log on MAIN.
    pub fn pair_without_a_log(version: Version, mode: &str) -> Self {
        let mut network = Self::new(version, &["b"]);
        let config = Config {
            version,
            wal_enabled: false,
            ..Config::default()
        };
        network.add("a", config);
        network.attach("a", "b", mode);
        network
    }
}

/// What clients do.
impl Network {
    pub fn client(&mut self, member: &str) -> Client {
        assert!(self.is_ready(member), "{member} has not opened its Bolt port");
        self.last_session += 1;
        let session = SessionId(self.last_session);
        self.member(member).sessions.insert(session, None);
        self.schedule(
            Duration::ZERO,
            member,
            Delivery::Event(Event::SessionOpened(session)),
        );
        Client {
            member: member.to_owned(),
            session,
        }
    }

    /// Sends a request without waiting for the answer.
    pub fn send_request(&mut self, client: &Client, request: Request) {
        if let Some(slot) = self.member(&client.member).sessions.get_mut(&client.session) {
            *slot = None;
        }
        let member = client.member.clone();
        self.schedule(
            Duration::ZERO,
            &member,
            Delivery::Event(Event::Request(client.session, request)),
        );
    }

    /// The answer, if it is there.
    pub fn response(&mut self, client: &Client) -> Option<Response> {
        let session = client.session;
        self.member(&client.member).sessions.get_mut(&session)?.take()
    }

    /// Waits for the answer.
    pub fn wait(&mut self, client: &Client) -> Response {
        let limit = self.now + PATIENCE;
        loop {
            if let Some(response) = self.response(client) {
                return response;
            }
            assert!(self.step(limit), "no answer from {}", client.member);
        }
    }

    pub fn request(&mut self, client: &Client, request: Request) -> Response {
        self.send_request(client, request);
        self.wait(client)
    }

    pub fn close(&mut self, client: &Client) {
        let member = client.member.clone();
        self.schedule(
            Duration::ZERO,
            &member,
            Delivery::Event(Event::SessionClosed(client.session)),
        );
        self.run(Duration::ZERO);
        self.member(&member).sessions.remove(&client.session);
    }

    pub fn login(&mut self, member: &str, principal: &str, credentials: &str) -> Response {
        let client = self.client(member);
        let who = Authentication {
            principal: principal.to_owned(),
            credentials: credentials.to_owned(),
        };
        let response = self.request(&client, Request::Authenticate(who));
        self.close(&client);
        response
    }

    /// RUN
    pub fn prepare(&mut self, client: &Client, query: &str) -> Response {
        self.request(client, prepare(query))
    }

    /// RUN and PULL, and all that they are answered with.
    pub fn answer_on(&mut self, client: &Client, query: &str) -> Result<Answer, (Stage, Failure)> {
        let fields = match self.prepare(client, query) {
            Response::Prepared(prepared) => prepared.fields,
            Response::Failed(failure) => return Err((Stage::Run, failure)),
            other => panic!("unexpected answer to RUN: {other:?}"),
        };
        match self.request(client, Request::Execute { take: None }) {
            Response::Executed(executed) => Ok(Answer {
                // Rows without columns are only counted.
                rows: if fields.is_empty() {
                    Rows::new()
                } else {
                    executed.rows
                },
                fields,
                summary: executed.summary.expect("all rows were asked for"),
            }),
            Response::Failed(failure) => Err((Stage::Pull, failure)),
            other => panic!("unexpected answer to PULL: {other:?}"),
        }
    }

    /// RUN and PULL in a session of its own.
    pub fn answer(&mut self, member: &str, query: &str) -> Result<Answer, (Stage, Failure)> {
        let client = self.client(member);
        let result = self.answer_on(&client, query);
        self.close(&client);
        result
    }

    /// What a query that must work is answered with besides rows.
    pub fn notifications(&mut self, member: &str, query: &str) -> Vec<Notification> {
        match self.answer(member, query) {
            Ok(answer) => answer.summary.notifications,
            Err(failure) => panic!("{query} on {member}: {failure:?}"),
        }
    }

    /// Runs a query that must fail, and returns when it did so and how.
    pub fn failure(&mut self, member: &str, query: &str) -> (Stage, Failure) {
        match self.answer(member, query) {
            Ok(answer) => panic!("{query} on {member} gave {answer:?}"),
            Err(failure) => failure,
        }
    }

    /// RUN and PULL.
    pub fn run_on(&mut self, client: &Client, query: &str) -> Result<Rows, Failure> {
        self.answer_on(client, query)
            .map(|answer| answer.rows)
            .map_err(|(_, failure)| failure)
    }

    /// Runs a query in a session of its own.
    pub fn query(&mut self, member: &str, query: &str) -> Result<Rows, Failure> {
        let client = self.client(member);
        let result = self.run_on(&client, query);
        self.close(&client);
        result
    }

    /// Runs a query that must work.
    pub fn must(&mut self, member: &str, query: &str) -> Rows {
        self.query(member, query)
            .unwrap_or_else(|failure| panic!("{query} on {member}: {failure:?}"))
    }

    /// Runs a query that must fail, and returns the message.
    pub fn refused(&mut self, member: &str, query: &str) -> String {
        match self.query(member, query) {
            Ok(rows) => panic!("{query} on {member} gave {rows:?}"),
            Err(failure) => failure.message,
        }
    }

    pub fn begin(&mut self, client: &Client) {
        let response = self.request(client, Request::Begin(TransactionOptions::default()));
        assert_eq!(response, Response::Done);
    }
}

/// What tests look at.
impl Network {
    pub fn role(&mut self, member: &str) -> String {
        text(&self.must(member, "SHOW REPLICATION ROLE")[0][0])
    }

    /// How many nodes there are.
    pub fn count(&mut self, member: &str) -> i64 {
        self.must(member, "MATCH (n) RETURN count(n)")[0][0]
            .as_integer()
            .unwrap()
    }

    /// `ts`, `behind` and `status` of a replica as its MAIN shows it; `None` for a ghost.
    pub fn replica(&mut self, main: &str, name: &str) -> Option<(i64, i64, String)> {
        let rows = self.must(main, "SHOW REPLICAS");
        let row = rows
            .iter()
            .find(|row| row[0].as_str() == Some(name))
            .unwrap_or_else(|| panic!("no row {name}"));
        let Value::Map(data) = &row[4] else {
            panic!("{row:?}")
        };
        let Value::Map(data) = data.get("memgraph")? else {
            panic!("{row:?}")
        };
        Some((
            data["ts"].as_integer().unwrap(),
            data["behind"].as_integer().unwrap(),
            text(&data["status"]),
        ))
    }

    pub fn status(&mut self, main: &str, name: &str) -> String {
        self.replica(main, name)
            .map_or("ghost".to_owned(), |(_, _, status)| status)
    }

    /// Lets time pass until a replica has a status.
    pub fn until_status(&mut self, main: &str, name: &str, status: &str) {
        let limit = self.now + PATIENCE;
        while self.status(main, name) != status {
            assert!(self.now < limit, "{name} stays {}", self.status(main, name));
            self.run(Duration::from_millis(100));
        }
    }

    /// The last durable timestamp of an instance, as the name of a snapshot tells it.
    pub fn durable(&mut self, member: &str) -> i64 {
        match self.query(member, "CREATE SNAPSHOT") {
            Ok(_) => {}
            // Then the newest one will do.
            Err(failure) if failure.message.starts_with("Nothing has been written since") => {}
            Err(failure) => panic!("CREATE SNAPSHOT on {member}: {failure:?}"),
        }
        let newest = self.disk(member).list("snapshots").pop().expect("a snapshot");
        let (_, timestamp) = newest.split_once("_timestamp_").expect("Memgraph's form");
        timestamp.parse().expect("a timestamp")
    }

    /// A state file, as JSON.
    fn state(&mut self, member: &str, path: &str) -> serde_json::Value {
        match self.disk(member).perform(DiskOperation::Read(path.to_owned())) {
            Ok(DiskReply::Content(bytes)) => serde_json::from_slice(&bytes).expect("JSON"),
            other => panic!("{path} of {member}: {other:?}"),
        }
    }

    /// The UUID of an instance's database.
    pub fn database_uuid(&mut self, member: &str) -> String {
        self.state(member, "databases/.durability/memgraph.json")
            .to_string()
    }

    /// The persisted UUID of the MAIN that an instance is or obeys.
    pub fn main_uuid(&mut self, member: &str) -> String {
        self.state(member, "replication/state.json")["main_uuid"].to_string()
    }

    /// The UUID that a MAIN has, persisted or not. A registration that fails has it persisted.
    pub fn own_uuid(&mut self, member: &str) -> String {
        self.refused(member, "REGISTER REPLICA nobody ASYNC TO 'nowhere:10000'");
        self.must(member, "DROP REPLICA nobody");
        self.main_uuid(member)
    }

    /// Makes `replica` a replica of `main`.
    pub fn attach(&mut self, main: &str, replica: &str, mode: &str) {
        self.must(replica, "SET REPLICATION ROLE TO REPLICA WITH PORT 10000");
        self.must(
            main,
            &format!("REGISTER REPLICA {replica} {mode} TO '{replica}:10000'"),
        );
        self.until_status(main, replica, "ready");
    }
}

/// RUN of a query without parameters.
pub fn prepare(query: &str) -> Request {
    Request::Prepare(Prepare {
        query: query.to_owned(),
        ..Prepare::default()
    })
}

pub fn text(value: &Value) -> String {
    value
        .as_str()
        .unwrap_or_else(|| panic!("not a text: {value:?}"))
        .to_owned()
}
