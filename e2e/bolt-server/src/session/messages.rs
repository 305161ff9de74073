//! What the client's messages do in each state (Memgraph's `communication/bolt/v1/states`).

use std::time::Duration;

use super::{Outstanding, Session, State, replies};
use crate::{
    Authentication, BoltVersion, Failure, Map, Prepare, Request, TransactionOptions, Value, Version,
    handshake,
    packstream::{DecodeError, Decoder},
    result::OpenResult,
};

mod signature {
    pub(super) const NOOP: u8 = 0x00;
    pub(super) const HELLO: u8 = 0x01;
    pub(super) const GOODBYE: u8 = 0x02;
    pub(super) const ACK_FAILURE: u8 = 0x0E;
    pub(super) const RESET: u8 = 0x0F;
    pub(super) const RUN: u8 = 0x10;
    pub(super) const BEGIN: u8 = 0x11;
    pub(super) const COMMIT: u8 = 0x12;
    pub(super) const ROLLBACK: u8 = 0x13;
    pub(super) const DISCARD: u8 = 0x2F;
    pub(super) const PULL: u8 = 0x3F;
    pub(super) const ROUTE: u8 = 0x66;
    pub(super) const LOGON: u8 = 0x6A;
    pub(super) const LOGOFF: u8 = 0x6B;
}

/// The first byte of a message: a structure, and the number of its fields.
const NO_FIELDS: u8 = 0xB0;
const ONE_FIELD: u8 = 0xB1;
const TWO_FIELDS: u8 = 0xB2;
const THREE_FIELDS: u8 = 0xB3;

/// Why a message has no good end.
enum Rejection {
    /// A violation of the protocol: FAILURE, then close.
    Violation,
    /// Close without a word. Memgraph does so after GOODBYE and where an exception of its own escapes.
    Silent,
    /// The client is not let in: FAILURE, then close.
    Unauthenticated,
    /// An ordinary failure.
    Failure(Failure),
    /// The message cannot be read to its end, but nobody wants to know it anyway.
    Ignored,
}

impl From<DecodeError> for Rejection {
    fn from(error: DecodeError) -> Self {
        match error {
            DecodeError::Malformed => Self::Violation,
            DecodeError::Unsupported(_) => Self::Failure(Failure::client(format!(
                "not supported by the simulator: {error}"
            ))),
        }
    }
}

/// What a message leads to.
type Handled = Result<Option<(Request, Outstanding)>, Rejection>;

impl Session {
    pub(super) fn shake_hands(&mut self, handshake: &[u8; handshake::LENGTH]) {
        self.bolt = handshake::choose(handshake, self.config.version);
        match self.bolt {
            Some(version) => {
                self.output.extend_from_slice(&version.answer());
                self.state = State::Init;
            }
            None => self.close_for_violation(),
        }
    }

    pub(super) fn handle_message(&mut self, message: &[u8]) -> Option<Request> {
        let bolt = self.bolt?;
        let mut decoder = Decoder::new(message, self.structures());
        let handled = self.dispatch(bolt, &mut decoder);
        if handled.is_ok() {
            self.input.put_back(decoder.remaining());
        }
        match handled {
            Ok(None) => None,
            Ok(Some((request, outstanding))) => {
                self.outstanding = Some(outstanding);
                Some(request)
            }
            Err(Rejection::Violation) => {
                self.close_for_violation();
                None
            }
            Err(Rejection::Silent) => {
                self.state = State::Closed;
                None
            }
            Err(Rejection::Unauthenticated) => {
                self.refuse_client();
                None
            }
            Err(Rejection::Failure(failure)) => {
                self.fail(&failure);
                None
            }
            Err(Rejection::Ignored) => {
                self.send_ignored();
                None
            }
        }
    }

    fn dispatch(&mut self, bolt: BoltVersion, decoder: &mut Decoder<'_>) -> Handled {
        let marker = decoder.byte()?;
        let signature = decoder.byte()?;
        match &self.state {
            State::Init => self.in_init(bolt, marker, signature, decoder),
            State::Idle | State::Result(_) => {
                self.messages += 1;
                self.in_ready(bolt, marker, signature, decoder)
            }
            State::Failed => self.in_failed(bolt, marker, signature, decoder),
            State::Handshake | State::Finishing | State::Closed => Ok(None),
        }
    }

    fn in_init(
        &mut self,
        bolt: BoltVersion,
        marker: u8,
        signature: u8,
        decoder: &mut Decoder<'_>,
    ) -> Handled {
        match signature {
            signature::NOOP if bolt >= BoltVersion::V4_1 => Ok(None),
            signature::HELLO if bolt == BoltVersion::V1 => {
                decoder.string()?;
                authenticate(&decoder.map()?)
            }
            // Up to 4.4 the number of fields is not checked, because a driver sent a wrong one.
            signature::HELLO if bolt < BoltVersion::V5_2 || marker == ONE_FIELD => {
                let extra = decoder.map()?;
                if extra.get("user_agent").and_then(Value::as_str).is_none() {
                    return Err(Rejection::Violation);
                }
                if bolt < BoltVersion::V5_2 {
                    return authenticate(&extra);
                }
                self.send_success(&self.greeting());
                Ok(None)
            }
            signature::LOGON if bolt == BoltVersion::V5_2 && marker == ONE_FIELD => {
                authenticate(&decoder.map()?)
            }
            _ => Err(Rejection::Violation),
        }
    }

    /// The states Idle and Result: one machine, in which some messages fit only one of them.
    fn in_ready(
        &mut self,
        bolt: BoltVersion,
        marker: u8,
        signature: u8,
        decoder: &mut Decoder<'_>,
    ) -> Handled {
        use BoltVersion::{V1, V4_0, V4_1, V4_3, V5_2};
        match signature {
            signature::RUN => self.run(bolt, marker, decoder),
            signature::PULL => self.pull(bolt, marker, decoder, false),
            signature::DISCARD => self.pull(bolt, marker, decoder, true),
            signature::RESET => reset(marker),
            signature::BEGIN if bolt >= V4_0 => self.begin(marker, decoder),
            signature::COMMIT if bolt >= V4_0 => self.end(marker, Request::Commit, Outstanding::Commit),
            signature::ROLLBACK if bolt >= V4_0 => self.end(marker, Request::Rollback, Outstanding::Rollback),
            signature::GOODBYE if bolt > V1 => Err(Rejection::Silent),
            signature::NOOP if bolt >= V4_1 => Ok(None),
            signature::ROUTE if bolt >= V4_3 => self.route(bolt, marker, decoder),
            signature::LOGOFF if bolt >= V5_2 => Ok(Some((Request::LogOff, Outstanding::LogOff))),
            _ => Err(Rejection::Violation),
        }
    }

    fn in_failed(
        &mut self,
        bolt: BoltVersion,
        marker: u8,
        signature: u8,
        decoder: &mut Decoder<'_>,
    ) -> Handled {
        match signature {
            signature::NOOP if bolt == BoltVersion::V4_1 => return Ok(None),
            signature::ACK_FAILURE if bolt == BoltVersion::V1 => {
                self.send_success(&Map::new());
                self.state = State::Idle;
                return Ok(None);
            }
            signature::RESET => return reset(marker),
            _ => {}
        }
        if marker & 0xF0 != NO_FIELDS {
            return Err(Rejection::Violation);
        }
        for _ in 0..marker & 0x0F {
            match decoder.value() {
                Ok(_) => {}
                Err(DecodeError::Unsupported(_)) => return Err(Rejection::Ignored),
                Err(DecodeError::Malformed) => return Err(Rejection::Violation),
            }
        }
        self.send_ignored();
        Ok(None)
    }

    fn run(&mut self, bolt: BoltVersion, marker: u8, decoder: &mut Decoder<'_>) -> Handled {
        let fields = if bolt == BoltVersion::V1 {
            TWO_FIELDS
        } else {
            THREE_FIELDS
        };
        if marker != fields {
            return Err(Rejection::Violation);
        }
        let query = decoder.string()?;
        let parameters = decoder.map()?;
        let extra = if bolt == BoltVersion::V1 {
            Map::new()
        } else {
            decoder.map()?
        };
        self.expect_idle()?;
        let options = transaction_options(extra)?;
        Ok(Some((
            Request::Prepare(Prepare {
                query,
                parameters,
                options,
            }),
            Outstanding::Prepare,
        )))
    }

    fn pull(&mut self, bolt: BoltVersion, marker: u8, decoder: &mut Decoder<'_>, discard: bool) -> Handled {
        let fields = if bolt == BoltVersion::V1 {
            NO_FIELDS
        } else {
            ONE_FIELD
        };
        if marker != fields || !matches!(self.state, State::Result(_)) {
            return Err(Rejection::Violation);
        }
        let (take, query_id) = if bolt == BoltVersion::V1 {
            (None, None)
        } else {
            // Memgraph goes on without the map and trips over that.
            let extra = decoder.map().map_err(|_| Rejection::Silent)?;
            (page_size(&extra)?, integer(&extra, "qid"))
        };
        let State::Result(mut result) = std::mem::replace(&mut self.state, State::Idle) else {
            return Err(Rejection::Violation);
        };
        result.check_query_id(query_id)?;
        if result.is_executed() {
            self.send_page(result, take, discard);
            return Ok(None);
        }
        Ok(Some((
            Request::Execute { take },
            Outstanding::Execute {
                result,
                take,
                discard,
            },
        )))
    }

    fn begin(&mut self, marker: u8, decoder: &mut Decoder<'_>) -> Handled {
        if marker != ONE_FIELD {
            return Err(Rejection::Violation);
        }
        let extra = decoder.map()?;
        self.expect_idle()?;
        Ok(Some((
            Request::Begin(transaction_options(extra)?),
            Outstanding::Begin,
        )))
    }

    /// COMMIT and ROLLBACK.
    fn end(&mut self, marker: u8, request: Request, outstanding: Outstanding) -> Handled {
        if marker != NO_FIELDS {
            return Err(Rejection::Violation);
        }
        self.expect_idle()?;
        Ok(Some((request, outstanding)))
    }

    /// Instances outside of a high availability cluster have no routing table.
    fn route(&mut self, bolt: BoltVersion, marker: u8, decoder: &mut Decoder<'_>) -> Handled {
        if marker != THREE_FIELDS {
            return Err(Rejection::Violation);
        }
        decoder.map()?;
        decoder.list()?;
        // The third field names a database, in a form that changed with 4.4. Whatever it is, Memgraph goes on.
        let _ = if bolt == BoltVersion::V4_3 {
            decoder.string().err()
        } else {
            decoder.map().err()
        };
        let failure = if self.config.version >= Version::Head {
            Failure::client(replies::NO_ROUTING_TABLE)
        } else {
            Failure::transient(replies::NO_ROUTING_TABLE)
        };
        Err(Rejection::Failure(failure))
    }

    fn expect_idle(&self) -> Result<(), Rejection> {
        match self.state {
            State::Idle => Ok(()),
            _ => Err(Rejection::Violation),
        }
    }
}

impl OpenResult {
    /// Only the last result can be open, so a `qid` is either its id or wrong.
    fn check_query_id(&mut self, asked: Option<i64>) -> Result<(), Rejection> {
        let asked = asked.filter(|id| *id != -1);
        match (asked, self.query_id()) {
            (None, _) => Ok(()),
            (Some(asked), Some(open)) if asked == open => Ok(()),
            (Some(asked), Some(open)) if asked > open || asked < 0 => {
                Err(invalid_argument("qid", "Query with specified ID does not exist!"))
            }
            // An ended query, or a `qid` outside of an explicit transaction: there Memgraph itself crashes.
            _ => Err(Rejection::Violation),
        }
    }
}

fn reset(marker: u8) -> Handled {
    match marker {
        NO_FIELDS => Ok(Some((Request::Abort, Outstanding::Abort))),
        _ => Err(Rejection::Violation),
    }
}

fn authenticate(extra: &Map) -> Handled {
    let text = |key| extra.get(key).and_then(Value::as_str);
    if !matches!(text("scheme"), None | Some("none" | "basic")) {
        return Err(Rejection::Unauthenticated);
    }
    let authentication = Authentication {
        principal: text("principal").unwrap_or_default().to_owned(),
        credentials: text("credentials").unwrap_or_default().to_owned(),
    };
    Ok(Some((
        Request::Authenticate(authentication),
        Outstanding::Authenticate,
    )))
}

fn transaction_options(mut extra: Map) -> Result<TransactionOptions, Rejection> {
    let mut name = |key| match extra.remove(key) {
        None => Ok(None),
        Some(Value::String(name)) => Ok(Some(name)),
        Some(_) => Err(Rejection::Failure(Failure::client("Malformed config input."))),
    };
    let impersonated_user = name("imp_user")?;
    let database = name("db")?;
    let metadata = match extra.remove("tx_metadata") {
        Some(Value::Map(metadata)) => metadata,
        _ => Map::new(),
    };
    let timeout = integer(&extra, "tx_timeout").and_then(|milliseconds| u64::try_from(milliseconds).ok());
    Ok(TransactionOptions {
        database,
        read_only: extra.get("mode").and_then(Value::as_str) == Some("r"),
        timeout: timeout
            .filter(|milliseconds| *milliseconds > 0)
            .map(Duration::from_millis),
        metadata,
        impersonated_user,
    })
}

/// `n` of PULL and DISCARD; -1 and a missing one mean all.
fn page_size(extra: &Map) -> Result<Option<u64>, Rejection> {
    match integer(extra, "n") {
        None | Some(-1) => Ok(None),
        Some(n) => u64::try_from(n)
            .map(Some)
            .map_err(|_| invalid_argument("n", "Cannot fetch negative number of results!")),
    }
}

fn integer(extra: &Map, key: &str) -> Option<i64> {
    extra.get(key).and_then(Value::as_integer)
}

fn invalid_argument(name: &str, problem: &str) -> Rejection {
    Rejection::Failure(Failure::client(format!(
        "Invalid arguments sent: {name} - {problem}"
    )))
}
