//! Clients of the database, and the ports at which gateways take them.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use bolt_server::{Map, Value};
use tokio::{sync::mpsc, time::timeout};

use super::{
    Place, Pod, WriteId,
    bolt::{answer, connect},
    command::{Command, Target},
    session::write_statement,
    stream::{Answer, Ended, Incoming, Request, Stream, What},
    world::Memgraphs,
    writes::Outcome,
};

/// Why a client's statement has no result.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ClientError {
    /// The server has refused it.
    #[error("the server refuses: {0}")]
    Failed(String),
    /// The connection is over.
    #[error("the connection is over: {0:?}")]
    Ended(Ended),
    /// No answer came in time.
    #[error("no answer came in time")]
    Deadline,
}

/// A client with at most one connection. It closes it after every error, and connects anew at the next statement
/// when it is told where to.
#[derive(Debug)]
pub struct Client {
    world: Memgraphs,
    place: Place,
    stream: Option<Stream>,
}

impl Client {
    pub(super) fn new(world: Memgraphs, place: Place) -> Self {
        Self {
            world,
            place,
            stream: None,
        }
    }

    /// Whether it has a connection, as far as it knows.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.stream.is_some()
    }

    /// Gives the connection up.
    pub fn disconnect(&mut self) {
        self.stream = None;
    }

    /// Connects, to a gateway or to an instance.
    ///
    /// # Errors
    /// The connection is refused, or not made in time.
    pub async fn connect(&mut self, to: SocketAddr, deadline: Duration) -> Result<(), ClientError> {
        self.stream = None;
        let mut stream = self.world.connect(self.place, to);
        match timeout(deadline, stream.next()).await {
            Ok(Incoming::Ended(ended)) => Err(ClientError::Ended(ended)),
            Ok(_) => {
                self.stream = Some(stream);
                Ok(())
            }
            Err(_) => Err(ClientError::Deadline),
        }
    }

    /// Makes a write in a transaction of its own. The record of it is kept, and the outcome is in it, too.
    ///
    /// A client that is not connected has not sent it, so that it has failed.
    pub async fn write(&mut self, id: WriteId, deadline: Duration) -> Outcome {
        self.record(id);
        let (statement, parameters) = write_statement(id);
        let request = Request {
            what: What::Run(statement, parameters),
            write: Some(id),
            credentials: None,
        };
        let result = self.ask(request, deadline).await;
        self.note(id, &result)
    }

    /// Makes a write in the open transaction. Its outcome is that of [`commit`](Self::commit).
    ///
    /// # Errors
    /// It is not done, and the transaction is lost.
    pub async fn write_in_transaction(&mut self, id: WriteId, deadline: Duration) -> Result<(), ClientError> {
        self.record(id);
        let (statement, parameters) = write_statement(id);
        let request = Request {
            what: What::Run(statement, parameters),
            write: Some(id),
            credentials: None,
        };
        let result = self.ask(request, deadline).await;
        if result.is_err() {
            // What was not committed was not acknowledged, whatever became of it.
            self.end(id, Outcome::Failed("its transaction was lost".to_owned()));
        }
        result.map(drop)
    }

    /// Opens a transaction.
    ///
    /// # Errors
    /// It is not opened.
    pub async fn begin(&mut self, deadline: Duration) -> Result<(), ClientError> {
        self.ask(Request::new(What::Begin), deadline).await.map(drop)
    }

    /// Commits the open transaction with its writes.
    pub async fn commit(&mut self, writes: &[WriteId], deadline: Duration) -> Outcome {
        let request = Request {
            what: What::Commit,
            write: writes.last().copied(),
            credentials: None,
        };
        let result = self.ask(request, deadline).await;
        let outcome = outcome(&result);
        for id in writes {
            self.end(*id, outcome.clone());
        }
        outcome
    }

    /// Reads which writes there are.
    ///
    /// # Errors
    /// There is no answer.
    pub async fn read(&mut self, deadline: Duration) -> Result<Vec<WriteId>, ClientError> {
        let statement = format!("MATCH (n:{}) RETURN n.{}", WriteId::LABEL, WriteId::KEY);
        let rows = self.run(&statement, Map::new(), deadline).await?;
        let values = rows.iter().filter_map(|row| row.first()?.as_integer());
        Ok(values.map(WriteId::from_integer).collect())
    }

    /// Runs any statement.
    ///
    /// # Errors
    /// There is no result.
    pub async fn run(
        &mut self,
        statement: &str,
        parameters: Map,
        deadline: Duration,
    ) -> Result<Vec<Vec<Value>>, ClientError> {
        let request = Request::new(What::Run(statement.to_owned(), parameters));
        self.ask(request, deadline).await
    }

    async fn ask(&mut self, request: Request, deadline: Duration) -> Result<Vec<Vec<Value>>, ClientError> {
        // A client that is dropped in the middle closes its connection.
        let Some(mut stream) = self.stream.take().and_then(Stream::if_open) else {
            return Err(ClientError::Failed("not connected".to_owned()));
        };
        let credentials = self.world.with(|core| core.client_user.clone());
        stream.ask(request.signed_in(credentials));
        match timeout(deadline, answer(&mut stream)).await {
            Ok(Ok(Answer::Done { rows, .. })) => {
                self.stream = Some(stream);
                Ok(rows)
            }
            Ok(Ok(Answer::Failed { failure, .. })) => {
                stream.ask(Request::new(What::Reset));
                if let Ok(Ok(Answer::Done { .. })) = timeout(deadline, answer(&mut stream)).await {
                    self.stream = Some(stream);
                }
                Err(ClientError::Failed(failure.message))
            }
            Ok(Err(ended)) => Err(ClientError::Ended(ended)),
            Err(_) => Err(ClientError::Deadline),
        }
    }

    fn record(&self, id: WriteId) {
        let now = self.world.now();
        self.world.with(|core| core.writes.sent(id, now));
    }

    fn note<T>(&self, id: WriteId, result: &Result<T, ClientError>) -> Outcome {
        let outcome = outcome(result);
        self.end(id, outcome.clone());
        outcome
    }

    fn end(&self, id: WriteId, outcome: Outcome) {
        let now = self.world.now();
        self.world.with(|core| core.writes.ended(id, outcome, now));
    }
}

fn outcome<T>(result: &Result<T, ClientError>) -> Outcome {
    match result {
        Ok(_) => Outcome::Acknowledged,
        Err(ClientError::Failed(reason)) => Outcome::Failed(reason.clone()),
        Err(ClientError::Ended(_) | ClientError::Deadline) => Outcome::Unknown,
    }
}

/// A port that takes connections.
#[derive(Debug)]
pub struct Listener {
    commands: mpsc::UnboundedSender<Command>,
    pod: Pod,
    port: u16,
    accepted: mpsc::UnboundedReceiver<Stream>,
}

impl Listener {
    pub(super) fn new(
        commands: mpsc::UnboundedSender<Command>,
        pod: Pod,
        port: u16,
        accepted: mpsc::UnboundedReceiver<Stream>,
    ) -> Self {
        Self {
            commands,
            pod,
            port,
            accepted,
        }
    }

    /// The next connection; `None` when the port was closed by others.
    pub async fn accept(&mut self) -> Option<Stream> {
        self.accepted.recv().await
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let _ = self.commands.send(Command::Forget(self.pod, self.port));
    }
}

impl Memgraphs {
    /// Begins to connect from a place to an address; the stream tells when the connection is there.
    #[must_use]
    pub fn connect(&self, from: Place, to: SocketAddr) -> Stream {
        let keys = self.with(|core| Arc::clone(&core.keys));
        connect(&keys, &self.commands, from, Target::Address(to), None)
    }
}
