//! One client's session: the states of the protocol.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use crate::{
    BoltVersion, Map, Request, Response, Version,
    framing::{MessageTooLarge, Unframer},
    result::OpenResult,
};

mod messages;
mod replies;

/// What all sessions of a server have in common.
#[derive(Debug, Clone)]
pub struct SessionConfig {
    /// The release whose behaviour is shown.
    pub version: Version,
    /// The `server` entry of the answer to HELLO (`--bolt-server-name-for-init`); none is sent if it is
    /// empty.
    pub server_name: String,
    /// The `run_id` entry of summaries: an id of the server process.
    pub run_id: String,
    /// The longest message taken from a client, in bytes. A longer one closes the connection; Memgraph has
    /// no such limit.
    pub max_message_length: usize,
}

impl SessionConfig {
    /// Memgraph's default for `server_name`.
    pub const DEFAULT_SERVER_NAME: &str = "Neo4j/v5.11.0 compatible graph database server - Memgraph";

    /// The defaults of a release. `run_id` identifies the server process.
    pub fn new(version: Version, run_id: impl Into<String>) -> Self {
        Self {
            version,
            server_name: Self::DEFAULT_SERVER_NAME.to_owned(),
            run_id: run_id.into(),
            max_message_length: 64 << 20,
        }
    }
}

/// The server's end of one connection.
///
/// Feed it with [`receive`](Self::receive); then, until [`next_request`](Self::next_request) gives nothing,
/// carry out each request and hand the answer to [`respond`](Self::respond). Send what
/// [`take_output`](Self::take_output) gives, and close the connection when [`is_closed`](Self::is_closed).
/// Messages that arrive while a request is outstanding wait in order: also RESET, as in Memgraph.
///
/// When the connection ends, whoever owns the session aborts the transaction that it left open.
#[derive(Debug)]
pub struct Session {
    config: Arc<SessionConfig>,
    input: Unframer,
    output: BytesMut,
    bolt: Option<BoltVersion>,
    state: State,
    outstanding: Option<Outstanding>,
    messages: u64,
}

/// Where the protocol stands between two messages.
#[derive(Debug)]
enum State {
    /// Waits for the 20 bytes of the handshake.
    Handshake,
    /// Waits for HELLO, or LOGON in Bolt 5.
    Init,
    /// Waits for a query.
    Idle,
    /// A query was prepared, and its result was not taken completely.
    Result(OpenResult),
    /// All rows were sent, but the database has to end the result before the client is told so.
    Finishing,
    /// A request failed: everything is ignored until RESET.
    Failed,
    /// Nothing more is read.
    Closed,
}

/// The request whose answer is awaited.
#[derive(Debug)]
enum Outstanding {
    Authenticate,
    Prepare,
    /// The result was taken out of the state for the time being.
    Execute {
        result: OpenResult,
        take: Option<u64>,
        discard: bool,
    },
    Finish,
    Begin,
    Commit,
    Rollback,
    Abort,
    LogOff,
}

/// An answer does not belong to the outstanding request. This is a mistake of the caller; the session has
/// closed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the answer {response} does not fit the outstanding request {request}")]
pub struct UnexpectedResponse {
    request: String,
    response: String,
}

impl Session {
    /// A session that waits for the client's handshake.
    pub fn new(config: Arc<SessionConfig>) -> Self {
        Self {
            config,
            input: Unframer::default(),
            output: BytesMut::new(),
            bolt: None,
            state: State::Handshake,
            outstanding: None,
            messages: 0,
        }
    }

    /// Takes bytes that the client sent. They are not looked at before
    /// [`next_request`](Self::next_request) is called.
    pub fn receive(&mut self, bytes: &[u8]) {
        if !self.is_closed() {
            self.input.extend(bytes);
        }
    }

    /// Goes on with the input up to the next message that the database has to answer. `None` if more input
    /// is needed, an answer is outstanding, or the session is closed.
    pub fn next_request(&mut self) -> Option<Request> {
        while self.outstanding.is_none() {
            match &self.state {
                State::Closed => return None,
                State::Handshake => {
                    let handshake = self.input.take_unframed()?;
                    self.shake_hands(&handshake);
                }
                State::Finishing => {
                    self.outstanding = Some(Outstanding::Finish);
                    return Some(Request::Finish);
                }
                State::Init | State::Idle | State::Result(_) | State::Failed => {
                    match self.input.next_message(self.config.max_message_length) {
                        Ok(None) => return None,
                        Ok(Some(message)) => {
                            if let Some(request) = self.handle_message(&message) {
                                return Some(request);
                            }
                        }
                        Err(MessageTooLarge) => self.close_for_violation(),
                    }
                }
            }
        }
        None
    }

    /// Takes the database's answer to the outstanding request. It can lead to another request: call
    /// [`next_request`](Self::next_request) again.
    pub fn respond(&mut self, response: Response) -> Result<(), UnexpectedResponse> {
        let Some(outstanding) = self.outstanding.take() else {
            return self.refuse_response("none", &response);
        };
        match (outstanding, response) {
            // Only a client that was let in can recover by RESET.
            (Outstanding::Authenticate, Response::Failed(failure)) => {
                self.fail(&failure);
                self.state = State::Closed;
            }
            (_, Response::Failed(failure)) => self.fail(&failure),
            (Outstanding::Authenticate, Response::Authenticated) => {
                self.send_success(&self.greeting());
                self.state = State::Idle;
            }
            (Outstanding::Authenticate, Response::AuthenticationRefused) => self.refuse_client(),
            (Outstanding::Prepare, Response::Prepared(prepared)) => {
                self.send_success(&self.header(&prepared));
                self.state = State::Result(OpenResult::new(prepared));
            }
            (
                Outstanding::Execute {
                    mut result,
                    take,
                    discard,
                },
                Response::Executed(executed),
            ) => {
                result.fill(executed);
                self.send_page(result, take, discard);
            }
            (Outstanding::Finish, Response::Finished(summary)) => self.end_result(&summary),
            (Outstanding::Commit, Response::Committed { notifications }) => {
                self.send_success(&self.commit_metadata(&notifications));
                self.state = State::Idle;
            }
            (Outstanding::Begin | Outstanding::Rollback | Outstanding::Abort, Response::Done) => {
                self.send_success(&Map::new());
                self.state = State::Idle;
            }
            (Outstanding::LogOff, Response::Done) => {
                // Older releases forgot to answer (`HandleLogOff` in states/handlers.hpp).
                if self.config.version >= Version::V3_12 {
                    self.send_success(&Map::new());
                }
                self.state = State::Init;
            }
            (outstanding, response) => return self.refuse_response(outstanding.name(), &response),
        }
        Ok(())
    }

    /// Takes what is to be sent to the client.
    pub fn take_output(&mut self) -> Bytes {
        self.output.split().freeze()
    }

    /// Whether the connection is to be closed, once the output is sent.
    pub const fn is_closed(&self) -> bool {
        matches!(self.state, State::Closed)
    }

    /// Whether an answer is outstanding. While it is, reading from the client can wait: its messages would
    /// only queue up.
    pub const fn is_busy(&self) -> bool {
        self.outstanding.is_some()
    }

    /// The chosen protocol version, after the handshake.
    pub const fn bolt_version(&self) -> Option<BoltVersion> {
        self.bolt
    }

    /// How many messages a client that was let in has sent so far, those left out that were ignored after a
    /// failure. Memgraph shows the sum over all sessions as `BoltMessages` (states/executing.hpp).
    pub const fn messages(&self) -> u64 {
        self.messages
    }

    fn refuse_response(&mut self, request: &str, response: &Response) -> Result<(), UnexpectedResponse> {
        self.close_for_violation();
        Err(UnexpectedResponse {
            request: request.to_owned(),
            response: format!("{response:?}"),
        })
    }
}

impl Outstanding {
    const fn name(&self) -> &'static str {
        match self {
            Self::Authenticate => "Authenticate",
            Self::Prepare => "Prepare",
            Self::Execute { .. } => "Execute",
            Self::Finish => "Finish",
            Self::Begin => "Begin",
            Self::Commit => "Commit",
            Self::Rollback => "Rollback",
            Self::Abort => "Abort",
            Self::LogOff => "LogOff",
        }
    }
}
