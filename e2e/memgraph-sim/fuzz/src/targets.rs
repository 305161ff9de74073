//! What is done with any bytes. Nothing here may panic, or take much more memory than the bytes themselves.
//!
//! The ordinary tests of the simulator include this file, too, and run the corpus through it.

use std::sync::Arc;

use bolt_server::{
    Executed, Failure, Prepared, Request, Response, Session, SessionConfig, Summary, Value, Version,
    packstream::{DecodeError, Decoder, Encoder, Structures},
};
use memgraph_sim::{durability::inspect, engine::PeerMessage};

/// A target's name, which is also that of its folder in the corpus.
pub type Target = (&'static str, fn(&[u8]));

/// All targets.
pub const ALL: [Target; 7] = [
    ("bolt", bolt),
    ("packstream", packstream),
    ("replication", replication),
    ("log", log),
    ("snapshot", snapshot),
    ("state", state),
    ("cypher", cypher),
];

/// The release that a byte picks.
fn release(byte: u8) -> Version {
    Version::ALL[usize::from(byte) % Version::ALL.len()]
}

/// A client of a release (the first byte), from the handshake on.
pub fn bolt(bytes: &[u8]) {
    let Some((first, bytes)) = bytes.split_first() else {
        return;
    };
    let mut config = SessionConfig::new(release(*first), "run");
    config.max_message_length = 1 << 20;
    let mut session = Session::new(Arc::new(config));
    // In reads of different sizes.
    for piece in bytes.chunks(1 + usize::from(*first)) {
        session.receive(piece);
        while let Some(request) = session.next_request() {
            if let Err(error) = session.respond(answer(&request)) {
                panic!("{error}");
            }
        }
        session.take_output();
        if session.is_closed() {
            return;
        }
    }
}

/// An answer that fits a request.
fn answer(request: &Request) -> Response {
    match request {
        Request::Authenticate(who) if who.principal == "nobody" => Response::AuthenticationRefused,
        Request::Authenticate(_) => Response::Authenticated,
        Request::Prepare(prepare) if prepare.query.is_empty() => Response::Failed(Failure::client("empty")),
        Request::Prepare(_) => Response::Prepared(Prepared {
            fields: vec!["n".to_owned()],
            query_id: Some(0),
        }),
        Request::Execute { take } => {
            let rows: Vec<_> = (0..5).map(|number| vec![Value::Integer(number)]).collect();
            let all = take.is_none_or(|take| take >= 5);
            Response::Executed(Executed {
                rows,
                summary: all.then(Summary::default),
            })
        }
        Request::Finish => Response::Finished(Summary::default()),
        Request::Commit => Response::Committed {
            notifications: Vec::new(),
        },
        Request::Begin(_) | Request::Rollback | Request::Abort | Request::LogOff => Response::Done,
    }
}

/// Values one after the other. What was read is written and read again in the same way.
pub fn packstream(bytes: &[u8]) {
    for structures in [Structures::Legacy, Structures::WithElementIds] {
        let mut decoder = Decoder::new(bytes, structures);
        while !decoder.remaining().is_empty() {
            let Ok(value) = decoder.value() else { break };
            let mut written = Default::default();
            Encoder::new(&mut written, structures).value(&value);
            let again: Result<Value, DecodeError> = Decoder::new(&written, structures).value();
            // As text, since NaN equals nothing.
            assert_eq!(format!("{again:?}"), format!("{:?}", Ok::<_, DecodeError>(value)));
        }
    }
}

/// A message of another instance.
pub fn replication(bytes: &[u8]) {
    let Ok(message) = PeerMessage::decode(bytes) else {
        return;
    };
    match message.encode() {
        Ok(written) => assert!(PeerMessage::decode(&written).is_ok(), "{message:?}"),
        Err(error) => panic!("{message:?}: {error}"),
    }
}

/// Puts the checksums of records right, which nobody would guess.
fn with_checksums(bytes: &[u8]) -> Vec<u8> {
    let mut fixed = bytes.to_vec();
    let mut at = 0;
    while let Some(head) = fixed.get(at..at + 8) {
        let length = u32::from_le_bytes([head[0], head[1], head[2], head[3]]) as usize;
        let Some(body) = fixed.get(at + 8..).and_then(|rest| rest.get(..length)) else {
            break;
        };
        let checksum = crc32fast::hash(body).to_le_bytes();
        fixed[at + 4..at + 8].copy_from_slice(&checksum);
        at += 8 + length;
    }
    fixed
}

/// A log file. Without whole records it is no log, with a torn tail it is.
pub fn log(bytes: &[u8]) {
    let _ = inspect::log(bytes);
    let _ = inspect::log(&with_checksums(bytes));
}

/// A snapshot.
pub fn snapshot(bytes: &[u8]) {
    let _ = inspect::snapshot(bytes);
    let _ = inspect::snapshot(&with_checksums(bytes));
}

/// A small state file.
pub fn state(bytes: &[u8]) {
    let _ = inspect::state(bytes);
}

/// A query for a release (the first byte).
pub fn cypher(bytes: &[u8]) {
    if let Some((first, text)) = bytes.split_first() {
        let _ = cypher_subset::parse(&String::from_utf8_lossy(text), release(*first));
    }
}
