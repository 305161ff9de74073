//! What is said on connections of clients, operators and gateways, and their ends of them.

use bolt_server::{Failure, Map, Value};
use tokio::sync::mpsc;

use super::{WriteId, command::Command};

/// What a Bolt client asks for. Each connection has at most one request outstanding.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    /// What is asked for.
    pub what: What,
    /// The write that it belongs to, for the record.
    pub write: Option<WriteId>,
    /// The name and the password that the client has signed in with, if it has any.
    pub credentials: Option<(String, String)>,
}

impl Request {
    /// A request that belongs to no write.
    pub fn new(what: What) -> Self {
        Self {
            what,
            write: None,
            credentials: None,
        }
    }

    /// A request of a client that signs in so.
    #[must_use]
    pub fn signed_in(self, credentials: Option<(String, String)>) -> Self {
        Self { credentials, ..self }
    }
}

/// See [`Request`].
#[derive(Debug, Clone, PartialEq)]
pub enum What {
    /// Agree on a version of Bolt, and nothing else.
    Handshake,
    /// RUN and PULL of everything. Outside of a transaction it commits.
    Run(String, Map),
    /// BEGIN
    Begin,
    /// COMMIT
    Commit,
    /// ROLLBACK
    Rollback,
    /// RESET: whatever is open is given up.
    Reset,
}

/// The answer to a [`Request`].
#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    /// Success, with the rows of RUN and the names of their columns.
    Done {
        /// Names of the columns.
        fields: Vec<String>,
        /// Rows, with a value for each column.
        rows: Vec<Vec<Value>>,
    },
    /// Failure.
    Failed {
        /// What the server says.
        failure: Failure,
        /// It was RUN that failed, and not PULL, which executes and commits.
        prepared: bool,
    },
}

/// What arrives at a program's end of a connection.
#[derive(Debug)]
pub enum Incoming {
    /// The connection was made.
    Connected,
    /// The peer asks for something.
    Request(Request),
    /// The peer answers.
    Answer(Answer),
    /// The connection is over.
    Ended(Ended),
}

/// Why a connection is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// The attempt to connect was refused.
    Refused,
    /// It was reset.
    Reset,
    /// The peer has closed it.
    Closed,
}

/// A program's end of a connection. Dropping it closes the connection; what was sent before still arrives.
#[derive(Debug)]
pub struct Stream {
    pub(super) key: u64,
    pub(super) commands: mpsc::UnboundedSender<Command>,
    pub(super) incoming: mpsc::UnboundedReceiver<Incoming>,
    pub(super) linger: bool,
}

impl Stream {
    /// Sends a request.
    pub fn ask(&self, request: Request) {
        // The command is lost only when the world has ended.
        let _ = self.commands.send(Command::Ask(self.key, request));
    }

    /// Sends an answer.
    pub fn answer(&self, answer: Answer) {
        let _ = self.commands.send(Command::Answer(self.key, answer));
    }

    /// What arrives next. After [`Incoming::Ended`] nothing does.
    pub async fn next(&mut self) -> Incoming {
        let next = self.incoming.recv().await;
        next.unwrap_or(Incoming::Ended(Ended::Closed))
    }

    /// Waits until the connection is made; `false` when it cannot be.
    pub async fn connected(&mut self) -> bool {
        matches!(self.next().await, Incoming::Connected)
    }

    /// The stream, unless its connection is over and nobody has looked at it since.
    pub(super) fn if_open(mut self) -> Option<Self> {
        match self.incoming.try_recv() {
            Ok(Incoming::Ended(_)) | Err(mpsc::error::TryRecvError::Disconnected) => None,
            Ok(_) | Err(mpsc::error::TryRecvError::Empty) => Some(self),
        }
    }

    /// From now on, dropping it throws away what could not be sent yet, and resets the connection (`SO_LINGER` with
    /// zero seconds).
    pub fn reset_on_drop(&mut self) {
        self.linger = false;
    }

    /// From now on, dropping it ends the connection in order.
    pub fn close_on_drop(&mut self) {
        self.linger = true;
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        let _ = self.commands.send(Command::Close {
            key: self.key,
            reset: !self.linger,
        });
    }
}
