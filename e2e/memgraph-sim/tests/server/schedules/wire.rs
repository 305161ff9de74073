//! Bolt as a client speaks it: messages to bytes, bytes to replies, and replies without what is random in them.

use bolt_server::{
    BoltVersion, Map, Value,
    packstream::{Decoder, Encoder, Structures},
};
use bytes::BytesMut;

/// A message of a client.
#[derive(Debug, Clone, PartialEq)]
pub enum Message {
    Run {
        query: String,
        extra: Map,
    },
    Pull(i64),
    Discard(i64),
    Begin,
    Commit,
    Rollback,
    Reset,
    LogOff,
    LogOn,
    Route,
    Goodbye,
    /// A structure that no client sends.
    Odd(u8, Vec<Value>),
}

/// Who a client says it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity(pub &'static str, pub &'static str);

impl Identity {
    fn map(self) -> Map {
        entries(&[
            ("scheme", "basic".into()),
            ("principal", self.0.into()),
            ("credentials", self.1.into()),
        ])
    }
}

/// A reply of the server: SUCCESS 0x70, RECORD 0x71, IGNORED 0x7E, FAILURE 0x7F.
#[derive(Debug, Clone, PartialEq)]
pub struct Reply {
    pub signature: u8,
    pub field: Value,
}

impl Reply {
    /// Whether it ends the answer to a message.
    pub fn is_last(&self) -> bool {
        self.signature != 0x71
    }
}

pub fn entries(entries: &[(&str, Value)]) -> Map {
    entries
        .iter()
        .map(|(key, value)| ((*key).to_owned(), value.clone()))
        .collect()
}

fn structures(bolt: BoltVersion) -> Structures {
    if bolt == BoltVersion::V5_2 {
        Structures::WithElementIds
    } else {
        Structures::Legacy
    }
}

/// Magic number and the only proposal.
pub fn handshake(bolt: BoltVersion) -> Vec<u8> {
    let (major, minor) = bolt.numbers();
    [&[0x60, 0x60, 0xB0, 0x17, 0, 0, minor, major][..], &[0; 12]].concat()
}

fn encode(bolt: BoltVersion, signature: u8, fields: &[Value]) -> Vec<u8> {
    let mut body = BytesMut::new();
    let mut encoder = Encoder::new(&mut body, structures(bolt));
    encoder.structure(signature, fields.len().try_into().unwrap());
    fields.iter().for_each(|field| encoder.value(field));
    let length: u16 = body.len().try_into().unwrap();
    [&length.to_be_bytes(), &body[..], &[0, 0]].concat()
}

/// The messages that open a session after the handshake.
pub fn login(bolt: BoltVersion, who: Identity) -> Vec<Vec<u8>> {
    let mut hello = who.map();
    hello.insert("user_agent".to_owned(), "schedule/1".into());
    match bolt {
        BoltVersion::V1 => vec![encode(bolt, 0x01, &["schedule/1".into(), who.map().into()])],
        BoltVersion::V5_2 => vec![
            encode(
                bolt,
                0x01,
                &[entries(&[("user_agent", "schedule/1".into())]).into()],
            ),
            encode(bolt, 0x6A, &[who.map().into()]),
        ],
        _ => vec![encode(bolt, 0x01, &[hello.into()])],
    }
}

impl Message {
    /// The bytes of the message; `fill` completes the text of a query.
    pub fn bytes(&self, bolt: BoltVersion, who: Identity, fill: impl Fn(&str) -> String) -> Vec<u8> {
        let old = bolt == BoltVersion::V1;
        let page = |count: i64| match old {
            true => Vec::new(),
            false => vec![entries(&[("n", count.into())]).into()],
        };
        match self {
            Self::Run { query, extra } => {
                let mut fields = vec![fill(query).into(), Map::new().into()];
                if !old {
                    fields.push(extra.clone().into());
                }
                encode(bolt, 0x10, &fields)
            }
            Self::Pull(count) => encode(bolt, 0x3F, &page(*count)),
            Self::Discard(count) => encode(bolt, 0x2F, &page(*count)),
            Self::Begin => encode(bolt, 0x11, &[Map::new().into()]),
            Self::Commit => encode(bolt, 0x12, &[]),
            Self::Rollback => encode(bolt, 0x13, &[]),
            Self::Reset => encode(bolt, 0x0F, &[]),
            Self::LogOff => encode(bolt, 0x6B, &[]),
            Self::LogOn => encode(bolt, 0x6A, &[who.map().into()]),
            Self::Route => {
                let last = match bolt {
                    BoltVersion::V4_3 => Value::Null,
                    _ => Map::new().into(),
                };
                encode(bolt, 0x66, &[Map::new().into(), Value::List(Vec::new()), last])
            }
            Self::Goodbye => encode(bolt, 0x02, &[]),
            Self::Odd(signature, fields) => encode(bolt, *signature, fields),
        }
    }
}

/// Takes whole replies from the front of `bytes`. None needs more than one chunk here.
pub fn take_replies(bolt: BoltVersion, bytes: &mut Vec<u8>) -> Vec<Reply> {
    let mut replies = Vec::new();
    while let Some(header) = bytes.first_chunk::<2>() {
        let length = usize::from(u16::from_be_bytes(*header));
        if bytes.len() < 2 + length + 2 {
            break;
        }
        let message: Vec<u8> = bytes.drain(..2 + length + 2).collect();
        let body = &message[2..2 + length];
        assert_eq!(message[2 + length..], [0, 0], "a reply in several chunks");
        let field = if body[0] == 0xB1 {
            Decoder::new(&body[2..], structures(bolt)).value().unwrap()
        } else {
            Value::Null
        };
        replies.push(Reply {
            signature: body[1],
            field,
        });
    }
    replies
}

/// Replaces what differs between two runs without a meaning: names of places (`places`: text and what to put
/// there), UUIDs, dates, durations and sizes of memory.
pub fn mask(value: &mut Value, places: &[(String, String)]) {
    match value {
        Value::String(text) => {
            for (place, name) in places {
                *text = text.replace(place.as_str(), name);
            }
            *text = mask_text(text);
        }
        Value::List(items) => {
            if let [Value::String(name), figure] = items.as_mut_slice()
                && is_measured(name)
            {
                *figure = "@measured@".into();
            }
            if let [Value::String(flag), _, current, _] = items.as_mut_slice()
                && is_place(flag)
            {
                *current = "@place@".into();
            }
            items.iter_mut().for_each(|item| mask(item, places));
        }
        Value::Map(map) => {
            for (key, value) in map {
                match key.as_str() {
                    "parsing_time" | "planning_time" | "plan_execution_time" | "cost_estimate"
                        if matches!(value, Value::Float(_)) =>
                    {
                        *value = "@seconds@".into();
                    }
                    _ => mask(value, places),
                }
            }
        }
        _ => {}
    }
}

/// Rows of SHOW STORAGE INFO that tell about the machine.
fn is_measured(name: &str) -> bool {
    name.contains("memory") || matches!(name, "disk_usage" | "vm_max_map_count" | "allocation_limit")
}

/// Flags whose values must differ between instances on one machine.
fn is_place(flag: &str) -> bool {
    flag.ends_with("_port") || flag.ends_with("_address") || matches!(flag, "data_directory" | "log_file")
}

/// Masks UUIDs, times as SHOW SNAPSHOTS prints them, and long numbers (dates in file names, ids of transactions).
fn mask_text(text: &str) -> String {
    const UUID: &str = "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx";
    const TIME: &str = "dddd-dd-dd dd:dd:dd";
    let fits = |text: &str, pattern: &str| {
        text.len() >= pattern.len()
            && text.bytes().zip(pattern.bytes()).all(|(byte, like)| match like {
                b'x' => byte.is_ascii_hexdigit(),
                b'd' => byte.is_ascii_digit(),
                other => byte == other,
            })
    };
    let mut masked = String::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (mask, length) = if fits(rest, UUID) {
            ("@uuid@", UUID.len())
        } else if fits(rest, TIME) {
            ("@time@", TIME.len())
        } else if digits >= 19 {
            ("@number@", digits)
        } else {
            masked.push(first);
            rest = &rest[first.len_utf8()..];
            continue;
        };
        masked.push_str(mask);
        rest = &rest[length..];
    }
    masked
}

#[test]
fn only_what_is_random_is_masked() {
    let of = |text: &str| mask_text(text);
    assert_eq!(
        of("/d/20250720082640000123_timestamp_7"),
        "/d/@number@_timestamp_7"
    );
    assert_eq!(of("2025-07-20 08:26:40"), "@time@");
    assert_eq!(of("a 123e4567-e89b-12d3-a456-426614174000 é"), "a @uuid@ é");
    assert_eq!(of("Error: 5"), "Error: 5");
}
