//! A server's side of Bolt: from requests to the engine's events, and from its answers back.

use std::time::Duration;

use bolt_server::{Failure, FailureCode, Map, Prepare, Response, TransactionOptions, Value};
use memgraph_sim::engine::{Event, SessionId};

use super::{
    Process, WriteId,
    connection::{Packet, Side},
    core::Core,
    process::Input,
    stream::{Answer, Request, What},
};

/// A client's session, as the server knows it.
#[derive(Debug)]
pub(super) struct ServerSession {
    pub(super) connection: u64,
    stage: Stage,
    /// The write that is being carried out.
    write: Option<WriteId>,
    /// Once somebody has signed in: who; nobody where there were no users then.
    user: Option<Option<String>>,
}

/// What Memgraph says to somebody who does not know the password, before it ends the connection.
pub(super) const REFUSED: &str = "Authentication failure";
/// What it says to somebody who has come in while there were no users, or whose user is gone.
const UNAUTHORIZED: &str =
    "You are not authorized to execute this query! Please contact your database administrator.";

#[derive(Debug)]
enum Stage {
    /// RUN, whose PULL will follow.
    Preparing,
    /// PULL
    Executing(Vec<String>),
    /// Anything else, or nothing.
    Other,
}

impl ServerSession {
    pub(super) fn new(connection: u64) -> Self {
        Self {
            connection,
            stage: Stage::Other,
            write: None,
            user: None,
        }
    }
}

impl Core {
    pub(super) fn client_asked(&mut self, process: Process, session: SessionId, request: Request) {
        self.input(process, Input::Request(session, request));
    }

    pub(super) fn client_gone(&mut self, process: Process, session: SessionId) {
        self.processes[process.index()].sessions.remove(&session);
        self.input(process, Input::Event(Event::SessionClosed(session)));
    }

    /// The process reads a client's request. What Bolt alone can answer is answered.
    pub(super) fn request(&mut self, process: Process, id: SessionId, request: Request) -> Option<Event> {
        let state = &mut self.processes[process.index()];
        let session = state.sessions.get_mut(&id)?;
        let engine = state.engine.as_ref();
        let controlled = engine.is_some_and(|engine| engine.is_access_controlled());
        let nothing = Answer::Done {
            fields: Vec::new(),
            rows: Vec::new(),
        };
        let connection = session.connection;
        if request.what == What::Handshake {
            self.answer(connection, nothing);
            return None;
        }
        let credentials = request.credentials.as_ref();
        let known = |(name, password): &&(String, String)| {
            engine.is_some_and(|engine| engine.authenticates(name, password))
        };
        // HELLO comes before the first statement.
        let refused = match &session.user {
            None if controlled => match credentials.filter(known) {
                Some((name, _)) => {
                    session.user = Some(Some(name.clone()));
                    None
                }
                None => Some(REFUSED),
            },
            None => {
                session.user = Some(None);
                None
            }
            Some(Some(name)) if engine.is_some_and(|engine| engine.has_user(name)) => None,
            Some(_) => controlled.then_some(UNAUTHORIZED),
        };
        if let Some(message) = refused {
            let failure = Failure {
                code: FailureCode::Client,
                message: message.to_owned(),
            };
            self.answer(
                connection,
                Answer::Failed {
                    failure,
                    prepared: false,
                },
            );
            return None;
        }
        session.write = request.write;
        session.stage = match &request.what {
            What::Run(..) => Stage::Preparing,
            _ => Stage::Other,
        };
        if let Some(write) = request.write {
            self.writes.arrived(write, process, self.now);
        }
        let request = match request.what {
            What::Run(query, parameters) => bolt_server::Request::Prepare(Prepare {
                query,
                parameters,
                options: TransactionOptions::default(),
            }),
            What::Begin => bolt_server::Request::Begin(TransactionOptions::default()),
            What::Commit => bolt_server::Request::Commit,
            What::Rollback => bolt_server::Request::Rollback,
            What::Handshake | What::Reset => bolt_server::Request::Abort,
        };
        Some(Event::Request(id, request))
    }

    fn answer(&mut self, connection: u64, answer: Answer) {
        self.transmit(connection, Side::Caller, Packet::Answer(answer), Duration::ZERO);
    }

    /// The engine answers. The result is what it is asked next.
    pub(super) fn respond(&mut self, process: Process, id: SessionId, response: Response) -> Option<Event> {
        let session = self.processes[process.index()].sessions.get_mut(&id)?;
        let connection = session.connection;
        let stage = std::mem::replace(&mut session.stage, Stage::Other);
        let answer = match (stage, response) {
            (Stage::Preparing, Response::Prepared(prepared)) => {
                session.stage = Stage::Executing(prepared.fields);
                let all = bolt_server::Request::Execute { take: None };
                return Some(Event::Request(id, all));
            }
            (stage, Response::Failed(failure)) => Answer::Failed {
                failure,
                prepared: matches!(stage, Stage::Preparing),
            },
            (Stage::Executing(fields), Response::Executed(executed)) => {
                if let Some(write) = session.write {
                    self.writes.placed(write, process, node(&executed.rows));
                }
                Answer::Done {
                    fields,
                    rows: executed.rows,
                }
            }
            _ => Answer::Done {
                fields: Vec::new(),
                rows: Vec::new(),
            },
        };
        let session = self.processes[process.index()].sessions.get_mut(&id)?;
        let write = session.write.take();
        if let (Some(write), Answer::Done { .. }) = (write, &answer) {
            let deed = self.about_to_answer(process, write);
            if deed.delivers() {
                let extra = deed.delay();
                self.transmit(connection, Side::Caller, Packet::Answer(answer), extra);
            }
            if deed.breaks() {
                self.break_connection(connection);
            }
            self.act(deed);
        } else {
            self.answer(connection, answer);
        }
        None
    }
}

/// The id of the node that a write has created, which is all that it returns.
fn node(rows: &[Vec<Value>]) -> Option<u64> {
    let value = rows.first()?.first()?.as_integer()?;
    u64::try_from(value).ok()
}

/// The statement and the parameters of a write.
pub(super) fn write_statement(write: WriteId) -> (String, Map) {
    let parameters = Map::from([("write".to_owned(), Value::Integer(write.as_integer()))]);
    let statement = format!(
        "CREATE (n:{} {{{}: $write}}) RETURN id(n)",
        WriteId::LABEL,
        WriteId::KEY
    );
    (statement, parameters)
}
