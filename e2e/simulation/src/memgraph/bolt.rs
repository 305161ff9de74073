//! Bolt for the operator: the seam of production code, over the simulated network. Errors and habits are those of
//! `Neo4rsBolt` and the driver behind it.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bolt_server::{FailureCode, Map, Value};
use memgraph_operator::memgraph::{Bolt, BoltError, Credentials, Row, Session};
use tokio::{
    sync::mpsc,
    time::{sleep, timeout},
};

use super::{
    Place,
    command::{Command, Target},
    session::REFUSED,
    stream::{Answer, Ended, Incoming, Request, Stream, What},
};

/// How long the driver waits before it tries a statement again that failed with a transient error; then twice as
/// long (`backoff` in its `pool.rs`).
const FIRST_RETRY: Duration = Duration::from_millis(1);
/// The longest such pause.
const LONGEST_RETRY: Duration = Duration::from_secs(10);

/// The operator's Bolt client at one place.
#[derive(Clone, Debug)]
pub struct SimulatedBolt {
    place: Place,
    keys: Arc<AtomicU64>,
    commands: mpsc::UnboundedSender<Command>,
}

impl SimulatedBolt {
    pub(super) fn new(place: Place, keys: Arc<AtomicU64>, commands: mpsc::UnboundedSender<Command>) -> Self {
        Self {
            place,
            keys,
            commands,
        }
    }

    fn connect(&self, to: Target, first: Option<Request>) -> Stream {
        connect(&self.keys, &self.commands, self.place, to, first)
    }
}

/// Begins to connect.
pub(super) fn connect(
    keys: &AtomicU64,
    commands: &mpsc::UnboundedSender<Command>,
    from: Place,
    to: Target,
    first: Option<Request>,
) -> Stream {
    let key = keys.fetch_add(1, Ordering::Relaxed);
    let (sink, incoming) = mpsc::unbounded_channel();
    let command = Command::Connect {
        key,
        from,
        pod: None,
        to,
        first,
        sink,
    };
    // If the world has ended, the stream ends at once.
    let _ = commands.send(command);
    Stream {
        key,
        commands: commands.clone(),
        incoming,
        linger: true,
    }
}

/// A session, connected at its first statement.
#[derive(Debug)]
pub struct SimulatedSession {
    client: SimulatedBolt,
    at: SocketAddr,
    credentials: Option<(String, String)>,
    stream: Option<Stream>,
}

impl Bolt for SimulatedBolt {
    type Session = SimulatedSession;
    type Knock = Stream;

    fn session_as(&self, at: SocketAddr, credentials: Option<&Credentials>) -> SimulatedSession {
        let text = |own: &Credentials| (own.username().to_owned(), own.password().to_owned());
        SimulatedSession {
            client: self.clone(),
            at,
            credentials: credentials.map(text),
            stream: None,
        }
    }

    async fn handshake(&self, at: SocketAddr, deadline: Duration) -> Result<(), BoltError> {
        let mut stream = self.connect(Target::Address(at), Some(Request::new(What::Handshake)));
        match timeout(deadline, answer(&mut stream)).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(ended)) => Err(from_end(at, ended)),
            Err(_) => Err(BoltError::Deadline { at, deadline }),
        }
    }

    async fn knock(&self, at: SocketAddr, deadline: Duration) -> Option<Stream> {
        let mut stream = self.connect(Target::Address(at), None);
        let connected = timeout(deadline, stream.connected()).await;
        matches!(connected, Ok(true)).then_some(stream)
    }

    async fn reaches(&self, address: &str, deadline: Duration) -> bool {
        let mut stream = self.connect(Target::Name(address.to_owned()), None);
        matches!(timeout(deadline, stream.next()).await, Ok(Incoming::Connected))
    }
}

impl Session for SimulatedSession {
    async fn run(&mut self, statement: &str, deadline: Duration) -> Result<Vec<Row>, BoltError> {
        let at = self.at;
        match timeout(deadline, self.retry(statement)).await {
            Ok(result) => result,
            Err(_) => Err(BoltError::Deadline { at, deadline }),
        }
    }

    async fn watch(&mut self, deadline: Duration) -> Result<(), BoltError> {
        let at = self.at;
        let handshake = Some(Request::new(What::Handshake));
        let mut stream = self.client.connect(Target::Address(at), handshake);
        match timeout(deadline, answer(&mut stream)).await {
            Ok(Ok(_)) => {}
            Ok(Err(ended)) => return Err(from_end(at, ended)),
            Err(_) => return Err(BoltError::Deadline { at, deadline }),
        }
        let _end = answer(&mut stream).await;
        Ok(())
    }
}

impl SimulatedSession {
    /// Runs a statement; as the driver does, again after a transient error of RUN, for as long as the caller waits.
    async fn retry(&mut self, statement: &str) -> Result<Vec<Row>, BoltError> {
        let mut pause = FIRST_RETRY;
        loop {
            // Only a connection whose last answer was read to its end is used again.
            let kept = self.stream.take().and_then(Stream::if_open);
            let mut stream = match kept {
                Some(stream) => {
                    stream.ask(run(statement).signed_in(self.credentials.clone()));
                    stream
                }
                None => {
                    let first = Some(run(statement).signed_in(self.credentials.clone()));
                    self.client.connect(Target::Address(self.at), first)
                }
            };
            match answer(&mut stream).await {
                Ok(Answer::Done { fields, rows }) => {
                    self.stream = Some(stream);
                    return Ok(rows.into_iter().map(|row| named(&fields, row)).collect());
                }
                Ok(Answer::Failed { failure, prepared }) => {
                    if prepared && failure.code == FailureCode::Transient {
                        stream.ask(Request::new(What::Reset));
                        if answer(&mut stream).await.is_ok() {
                            self.stream = Some(stream);
                        }
                        sleep(pause).await;
                        pause = (pause * 2).min(LONGEST_RETRY);
                        continue;
                    }
                    if failure.message == REFUSED {
                        return Err(BoltError::Unauthenticated { at: self.at });
                    }
                    return Err(BoltError::Failure {
                        code: code(failure.code).to_owned(),
                        message: failure.message,
                    });
                }
                Err(ended) => return Err(from_end(self.at, ended)),
            }
        }
    }
}

fn run(statement: &str) -> Request {
    Request::new(What::Run(statement.to_owned(), Map::new()))
}

/// The next answer.
pub(super) async fn answer(stream: &mut Stream) -> Result<Answer, Ended> {
    loop {
        match stream.next().await {
            Incoming::Connected | Incoming::Request(_) => {}
            Incoming::Answer(answer) => return Ok(answer),
            Incoming::Ended(ended) => return Err(ended),
        }
    }
}

fn from_end(at: SocketAddr, ended: Ended) -> BoltError {
    match ended {
        Ended::Refused | Ended::Reset => BoltError::Refused { at },
        Ended::Closed => BoltError::Broken {
            at,
            detail: "unexpected end of file".to_owned(),
        },
    }
}

/// Memgraph's error codes.
const fn code(code: FailureCode) -> &'static str {
    match code {
        FailureCode::Client => "Memgraph.ClientError.MemgraphError.MemgraphError",
        FailureCode::Transient => "Memgraph.TransientError.MemgraphError.MemgraphError",
        FailureCode::Database => "Memgraph.DatabaseError.MemgraphError.MemgraphError",
    }
}

fn named(fields: &[String], row: Vec<Value>) -> Row {
    fields.iter().cloned().zip(row.into_iter().map(json)).collect()
}

/// A value as the driver hands it to serde.
fn json(value: Value) -> serde_json::Value {
    match value {
        Value::Boolean(value) => value.into(),
        Value::Integer(value) => value.into(),
        Value::Float(value) => value.into(),
        Value::String(value) => value.into(),
        Value::List(values) => values.into_iter().map(json).collect(),
        Value::Map(map) => map.into_iter().map(|(key, value)| (key, json(value))).collect(),
        Value::Node(node) => json(Value::Map(node.properties)),
        Value::Relationship(relationship) => json(Value::Map(relationship.properties)),
        // The operator asks for none of these.
        Value::Null | Value::Path(_) | Value::Temporal(_) => serde_json::Value::Null,
    }
}
