//! A client that writes messages as bytes and reads the replies.

use std::sync::Arc;

use bolt_server::{
    BoltVersion, Map, Request, Response, Session, SessionConfig, Value, Version,
    packstream::{Decoder, Encoder, Structures},
};
use bytes::{BufMut, BytesMut};

use crate::backend::FixedAnswers;

pub const RUN_ID: &str = "run";

/// What the server says.
#[derive(Debug, Clone, PartialEq)]
pub enum Reply {
    Success(Map),
    Record(Vec<Value>),
    Ignored,
    Failure { code: String, message: String },
}

/// FAILURE, after which the connection closes.
pub fn violation() -> Reply {
    Reply::Failure {
        code: "Memgraph.ExecutionException".to_owned(),
        message: "Something went wrong while executing the query! Check the server logs for more details."
            .to_owned(),
    }
}

pub fn client_error(message: &str) -> Reply {
    Reply::Failure {
        code: "Memgraph.ClientError.MemgraphError.MemgraphError".to_owned(),
        message: message.to_owned(),
    }
}

/// SUCCESS without metadata.
pub fn done() -> Reply {
    Reply::Success(Map::new())
}

pub fn map<const N: usize>(entries: [(&str, Value); N]) -> Map {
    entries
        .into_iter()
        .map(|(key, value)| (key.to_owned(), value))
        .collect()
}

/// A message: its signature and fields, framed.
pub fn message(structures: Structures, signature: u8, fields: &[Value]) -> Vec<u8> {
    let mut body = BytesMut::new();
    let mut encoder = Encoder::new(&mut body, structures);
    encoder.structure(signature, fields.len().try_into().unwrap());
    fields.iter().for_each(|field| encoder.value(field));
    framed(&body)
}

pub fn framed(body: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for chunk in body.chunks(0xFFFF) {
        bytes.put_u16(chunk.len().try_into().unwrap());
        bytes.put_slice(chunk);
    }
    bytes.put_u16(0);
    bytes
}

/// The bytes of hexadecimal digits; spaces do not count.
pub fn hex(digits: &str) -> Vec<u8> {
    let digits: Vec<u8> = digits
        .chars()
        .filter(|c| !c.is_whitespace())
        .map(|c| c.to_digit(16).unwrap().try_into().unwrap())
        .collect();
    assert!(digits.len().is_multiple_of(2), "a byte has two digits");
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

pub struct Client {
    pub session: Session,
    pub database: FixedAnswers,
    structures: Structures,
}

impl Client {
    /// A connection before the handshake.
    pub fn connect(server: Version) -> Self {
        Self {
            session: Session::new(Arc::new(SessionConfig::new(server, RUN_ID))),
            database: FixedAnswers::default(),
            structures: Structures::Legacy,
        }
    }

    /// A connection after the handshake.
    pub fn speaking(bolt: BoltVersion, server: Version) -> Self {
        let mut client = Self::connect(server);
        let (major, minor) = bolt.numbers();
        let mut handshake = hex("6060b017");
        handshake.extend([0, 0, minor, major].into_iter().chain([0; 12]));
        client.session.receive(&handshake);
        assert_eq!(client.session.next_request(), None);
        assert_eq!(client.session.take_output(), [0, 0, minor, major].as_slice());
        if bolt == BoltVersion::V5_2 {
            client.structures = Structures::WithElementIds;
        }
        client
    }

    /// A connection that waits for queries.
    pub fn ready(bolt: BoltVersion, server: Version) -> Self {
        let mut client = Self::speaking(bolt, server);
        let user_agent = map([("user_agent", "test".into())]);
        let replies = match bolt {
            BoltVersion::V1 => client.send(0x01, &["test".into(), Map::new().into()]),
            BoltVersion::V5_2 => {
                client.send(0x01, &[user_agent.into()]);
                client.send(0x6A, &[Map::new().into()])
            }
            _ => client.send(0x01, &[user_agent.into()]),
        };
        assert!(matches!(replies.as_slice(), [Reply::Success(_)]), "{replies:?}");
        client
    }

    /// Each protocol version with the oldest server that speaks it.
    pub fn ready_in_every_version() -> impl Iterator<Item = (BoltVersion, Self)> {
        BoltVersion::ALL.into_iter().map(|bolt| {
            let server = if bolt == BoltVersion::V4_4 {
                Version::V3_12
            } else {
                Version::V3_4
            };
            (bolt, Self::ready(bolt, server))
        })
    }

    /// Sends a message and reads all replies to it.
    pub fn send(&mut self, signature: u8, fields: &[Value]) -> Vec<Reply> {
        let bytes = message(self.structures, signature, fields);
        self.send_bytes(&bytes)
    }

    pub fn send_bytes(&mut self, bytes: &[u8]) -> Vec<Reply> {
        self.session.receive(bytes);
        self.database.serve(&mut self.session).unwrap();
        self.replies()
    }

    /// Sends a message, of which the database is to answer one request.
    pub fn request(&mut self, signature: u8, fields: &[Value]) -> Option<Request> {
        let bytes = message(self.structures, signature, fields);
        self.session.receive(&bytes);
        self.session.next_request()
    }

    pub fn respond(&mut self, response: Response) -> Vec<Reply> {
        self.session.respond(response).unwrap();
        self.replies()
    }

    /// RUN without parameters.
    pub fn run(&mut self, query: &str) -> Vec<Reply> {
        self.run_with(query, Map::new())
    }

    pub fn run_with(&mut self, query: &str, parameters: Map) -> Vec<Reply> {
        let mut fields: Vec<Value> = vec![query.into(), parameters.into()];
        if self.session.bolt_version() > Some(BoltVersion::V1) {
            fields.push(Map::new().into());
        }
        self.send(0x10, &fields)
    }

    /// PULL of `n` rows; of all for -1, and in Bolt 1.
    pub fn pull(&mut self, n: i64) -> Vec<Reply> {
        self.take(0x3F, n)
    }

    /// DISCARD, like [`Client::pull`].
    pub fn discard(&mut self, n: i64) -> Vec<Reply> {
        self.take(0x2F, n)
    }

    fn take(&mut self, signature: u8, n: i64) -> Vec<Reply> {
        if self.session.bolt_version() == Some(BoltVersion::V1) {
            self.send(signature, &[])
        } else {
            self.send(signature, &[map([("n", n.into())]).into()])
        }
    }

    pub fn reset(&mut self) -> Vec<Reply> {
        self.send(0x0F, &[])
    }

    /// Reads what the server has sent since the last look.
    pub fn replies(&mut self) -> Vec<Reply> {
        let output = self.session.take_output();
        let mut rest: &[u8] = &output;
        let mut replies = Vec::new();
        while !rest.is_empty() {
            let mut body = Vec::new();
            loop {
                let (length, after) = rest.split_first_chunk::<2>().unwrap();
                let length = usize::from(u16::from_be_bytes(*length));
                body.extend_from_slice(&after[..length]);
                rest = &after[length..];
                if length == 0 {
                    break;
                }
            }
            replies.push(self.reply(&body));
        }
        replies
    }

    fn reply(&self, body: &[u8]) -> Reply {
        let mut decoder = Decoder::new(body, self.structures);
        let head = (decoder.byte().unwrap(), decoder.byte().unwrap());
        let reply = match head {
            (0xB1, 0x70) => Reply::Success(decoder.map().unwrap()),
            (0xB1, 0x71) => Reply::Record(decoder.list().unwrap()),
            (0xB0, 0x7E) => Reply::Ignored,
            (0xB1, 0x7F) => {
                let mut metadata = decoder.map().unwrap();
                let mut text = |key| match metadata.remove(key) {
                    Some(Value::String(text)) => text,
                    other => panic!("{key} is {other:?}"),
                };
                Reply::Failure {
                    code: text("code"),
                    message: text("message"),
                }
            }
            _ => panic!("no reply has the head {head:02x?}"),
        };
        assert!(decoder.remaining().is_empty());
        reply
    }
}
