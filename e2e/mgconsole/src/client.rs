//! A Bolt session, as mgclient holds it.

use std::{
    io::{self, Read, Write},
    net::{TcpStream, ToSocketAddrs as _},
    time::Duration,
};

use bolt_server::{
    Map, Value,
    packstream::{DecodeError, Decoder, Encoder, Structures},
};
use bytes::BytesMut;
use socket2::{SockRef, TcpKeepalive};

use crate::{flags::Flags, tls};

/// How Bolt begins, and the versions that mgclient proposes.
const HANDSHAKE: [u8; 20] = [
    0x60, 0x60, 0xB0, 0x17, 0, 0, 4, 4, 0, 0, 3, 4, 0, 0, 1, 4, 0, 0, 0, 0,
];
/// As mgclient has it.
const KEEPALIVE_AFTER: Duration = Duration::from_secs(20);
/// The largest part of a message.
const CHUNK: usize = 0xFFFF;
/// The largest message that is taken.
const LONGEST: usize = 1 << 30;

mod tag {
    pub(super) const HELLO: u8 = 0x01;
    pub(super) const RESET: u8 = 0x0F;
    pub(super) const RUN: u8 = 0x10;
    pub(super) const PULL: u8 = 0x3F;
    pub(super) const SUCCESS: u8 = 0x70;
    pub(super) const RECORD: u8 = 0x71;
    pub(super) const FAILURE: u8 = 0x7F;
}

/// What a statement returns.
#[derive(Debug, Default)]
pub(crate) struct Answer {
    pub(crate) header: Vec<String>,
    pub(crate) rows: Vec<Vec<Value>>,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The server says why.
    #[error("{0}")]
    Query(String),
    /// Nothing can be asked any more.
    #[error("{0}")]
    Connection(String),
}

/// A message of the server.
enum Message {
    Success(Map),
    Record(Vec<Value>),
    Failure(String),
}

impl From<DecodeError> for Failure {
    fn from(error: DecodeError) -> Self {
        Self::Connection(error.to_string())
    }
}

/// Bytes in both directions.
pub(crate) trait Stream: Read + Write {}

impl<T: Read + Write> Stream for T {}

/// A connection on which statements can be executed.
pub(crate) struct Session {
    stream: Box<dyn Stream>,
}

impl Session {
    /// Connects and logs in.
    pub(crate) fn connect(flags: &Flags) -> Result<Self, Failure> {
        let tcp = open(&flags.host, flags.port).map_err(Failure::Connection)?;
        let stream: Box<dyn Stream> = if flags.tls {
            let tls = tls::connect(tcp, &flags.host);
            Box::new(tls.map_err(|_| Failure::Connection("failed to initialize secure connection".into()))?)
        } else {
            Box::new(tcp)
        };
        let mut session = Self { stream };
        session.shake_hands()?;
        session.log_in(flags)?;
        Ok(session)
    }

    fn shake_hands(&mut self) -> Result<(), Failure> {
        let failed = |what: &str| Failure::Connection(what.to_owned());
        self.stream
            .write_all(&HANDSHAKE)
            .and_then(|()| self.stream.flush())
            .map_err(|_| failed("failed to send handshake data"))?;
        let mut version = [0; 4];
        self.stream
            .read_exact(&mut version)
            .map_err(|_| failed("failed to receive handshake response"))?;
        match version {
            [0, 0, 1 | 3 | 4, 4] => Ok(()),
            other => Err(Failure::Connection(format!(
                "unsupported protocol version: {}",
                u32::from_be_bytes(other)
            ))),
        }
    }

    fn log_in(&mut self, flags: &Flags) -> Result<(), Failure> {
        let agent = concat!("mg/", env!("CARGO_PKG_VERSION"));
        let mut extra = Map::from([("user_agent".to_owned(), agent.into())]);
        if flags.username.is_empty() {
            extra.insert("scheme".into(), "none".into());
        } else {
            extra.insert("scheme".into(), "basic".into());
            extra.insert("principal".into(), flags.username.as_str().into());
            extra.insert("credentials".into(), flags.password.as_str().into());
        }
        self.send(tag::HELLO, &[extra.into()])?;
        self.success().map(drop)
    }

    /// Executes a statement and fetches all of its rows.
    pub(crate) fn execute(&mut self, statement: &str) -> Result<Answer, Failure> {
        let answer = self.run(statement);
        if let Err(Failure::Query(_)) = answer {
            self.send(tag::RESET, &[])?;
            self.success()?;
        }
        answer
    }

    fn run(&mut self, statement: &str) -> Result<Answer, Failure> {
        let (parameters, extra) = (Map::new(), Map::new());
        self.send(tag::RUN, &[statement.into(), parameters.into(), extra.into()])?;
        let header = match self.success()?.remove("fields") {
            Some(Value::List(names)) => names
                .into_iter()
                .map(|name| match name {
                    Value::String(name) => Ok(name),
                    _ => Err(unexpected("invalid response metadata")),
                })
                .collect::<Result<_, _>>()?,
            _ => return Err(unexpected("invalid response metadata")),
        };
        self.send(
            tag::PULL,
            &[Map::from([("n".to_owned(), Value::from(-1))]).into()],
        )?;
        let mut answer = Answer {
            header,
            rows: Vec::new(),
        };
        loop {
            match self.receive()? {
                Message::Record(row) => answer.rows.push(row),
                Message::Success(_) => return Ok(answer),
                Message::Failure(reason) => return Err(Failure::Query(reason)),
            }
        }
    }

    fn success(&mut self) -> Result<Map, Failure> {
        match self.receive()? {
            Message::Success(details) => Ok(details),
            Message::Failure(reason) => Err(Failure::Query(reason)),
            Message::Record(_) => Err(unexpected("unexpected message type")),
        }
    }

    fn send(&mut self, tag: u8, fields: &[Value]) -> Result<(), Failure> {
        let mut message = BytesMut::new();
        let mut encoder = Encoder::new(&mut message, Structures::Legacy);
        encoder.structure(tag, u8::try_from(fields.len()).unwrap_or(u8::MAX));
        fields.iter().for_each(|field| encoder.value(field));
        let mut output = Vec::with_capacity(message.len() + 4);
        for chunk in message.chunks(CHUNK) {
            output.extend(u16::try_from(chunk.len()).unwrap_or(u16::MAX).to_be_bytes());
            output.extend(chunk);
        }
        output.extend([0, 0]);
        self.stream
            .write_all(&output)
            .and_then(|()| self.stream.flush())
            .map_err(|_| unexpected("failed to send chunk data"))
    }

    fn receive(&mut self) -> Result<Message, Failure> {
        let message = self.message()?;
        let mut decoder = Decoder::new(&message, Structures::Legacy);
        // The number of fields follows from the kind.
        decoder.byte()?;
        match decoder.byte()? {
            tag::SUCCESS => Ok(Message::Success(decoder.map()?)),
            tag::RECORD => Ok(Message::Record(decoder.list()?)),
            tag::FAILURE => {
                let details = decoder.map()?;
                let reason = details.get("message").and_then(Value::as_str);
                Ok(Message::Failure(
                    reason.unwrap_or("unknown error occurred").to_owned(),
                ))
            }
            _ => Err(unexpected("unexpected message type")),
        }
    }

    fn message(&mut self) -> Result<Vec<u8>, Failure> {
        let mut message = Vec::new();
        loop {
            let mut size = [0; 2];
            self.stream
                .read_exact(&mut size)
                .map_err(|_| unexpected("failed to receive chunk size"))?;
            let size = usize::from(u16::from_be_bytes(size));
            if size == 0 && !message.is_empty() {
                return Ok(message);
            }
            let begin = message.len();
            if begin + size > LONGEST {
                return Err(unexpected("failed to enlarge incoming message buffer"));
            }
            message.resize(begin + size, 0);
            self.stream
                .read_exact(&mut message[begin..])
                .map_err(|_| unexpected("failed to receive chunk data"))?;
        }
    }
}

fn unexpected(what: &str) -> Failure {
    Failure::Connection(what.to_owned())
}

fn open(host: &str, port: u16) -> Result<TcpStream, String> {
    let addresses = (host, port).to_socket_addrs().map_err(|error| {
        let text = error.to_string();
        let reason = text.strip_prefix("failed to lookup address information: ");
        format!("getaddrinfo failed: {}", reason.unwrap_or(&text))
    })?;
    let mut last = None;
    for address in addresses {
        match TcpStream::connect(address) {
            Ok(stream) => {
                let keepalive = TcpKeepalive::new().with_time(KEEPALIVE_AFTER);
                stream
                    .set_nodelay(true)
                    .and_then(|()| SockRef::from(&stream).set_tcp_keepalive(&keepalive))
                    .map_err(|error| format!("couldn't set socket option: {}", reason(&error)))?;
                return Ok(stream);
            }
            Err(error) => last = Some(error),
        }
    }
    let reason = last.map_or_else(|| "no address".to_owned(), |error| reason(&error));
    Err(format!("couldn't connect to host: {reason}"))
}

/// What C's `strerror` says.
fn reason(error: &io::Error) -> String {
    let text = error.to_string();
    match text.rsplit_once(" (os error ") {
        Some((reason, _)) => reason.to_owned(),
        None => text,
    }
}
