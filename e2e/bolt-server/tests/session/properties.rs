//! Any bytes, any values.

use std::sync::Arc;

use bolt_server::{
    BoltVersion, Map, Node, Path, Relationship, Session, SessionConfig, Temporal, UnboundRelationship, Value,
    Version,
    packstream::{Decoder, Encoder, Structures},
};
use bytes::BytesMut;
use proptest::{collection, prelude::*};

use crate::{
    backend::FixedAnswers,
    client::{Client, framed, hex, message},
};

fn properties() -> impl Strategy<Value = Map> {
    collection::btree_map(".{0,3}", any::<i64>().prop_map(Value::from), 0..3)
}

fn node() -> impl Strategy<Value = Node> {
    (any::<i64>(), collection::vec(".{0,3}", 0..3), properties()).prop_map(|(id, labels, properties)| Node {
        id,
        labels,
        properties,
    })
}

fn relationship() -> impl Strategy<Value = Relationship> {
    (any::<[i64; 3]>(), ".{0,3}", properties()).prop_map(|([id, start, end], kind, properties)| {
        Relationship {
            id,
            start,
            end,
            kind,
            properties,
        }
    })
}

fn path() -> impl Strategy<Value = Path> {
    let unbound = relationship().prop_map(
        |Relationship {
             id, kind, properties, ..
         }| UnboundRelationship { id, kind, properties },
    );
    (
        collection::vec(node(), 0..3),
        collection::vec(unbound, 0..3),
        any::<Vec<i64>>(),
    )
        .prop_map(|(nodes, relationships, indices)| Path {
            nodes,
            relationships,
            indices,
        })
}

fn temporal() -> impl Strategy<Value = Temporal> {
    let field = || any::<i32>().prop_map(i64::from);
    prop_oneof![
        field().prop_map(|days| Temporal::Date { days }),
        any::<i64>().prop_map(|nanoseconds| Temporal::LocalTime { nanoseconds }),
        (field(), field())
            .prop_map(|(seconds, nanoseconds)| Temporal::LocalDateTime { seconds, nanoseconds }),
        (field(), field(), field()).prop_map(|(seconds, nanoseconds, offset)| Temporal::DateTime {
            seconds,
            nanoseconds,
            offset,
        }),
        (field(), field()).prop_map(|(seconds, nanoseconds)| Temporal::InUtc { seconds, nanoseconds }),
        any::<[i64; 4]>().prop_map(|[months, days, seconds, nanoseconds]| Temporal::Duration {
            months,
            days,
            seconds,
            nanoseconds,
        }),
    ]
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (-200_i64..200).prop_map(Value::from),
        (-70_000_i64..70_000).prop_map(Value::from),
        any::<f64>()
            .prop_filter("NaN equals nothing", |number| !number.is_nan())
            .prop_map(Value::from),
        ".{0,20}".prop_map(Value::from),
        "a{250,300}".prop_map(Value::from),
        node().prop_map(Value::Node),
        relationship().prop_map(Value::Relationship),
        path().prop_map(Value::Path),
        temporal().prop_map(Value::Temporal),
    ];
    leaf.prop_recursive(4, 64, 20, |inner| {
        prop_oneof![
            collection::vec(inner.clone(), 0..20).prop_map(Value::List),
            collection::btree_map(".{0,3}", inner, 0..20).prop_map(Value::Map),
        ]
    })
}

fn structures() -> impl Strategy<Value = Structures> {
    prop_oneof![Just(Structures::Legacy), Just(Structures::WithElementIds)]
}

fn encode(value: &Value, structures: Structures) -> BytesMut {
    let mut bytes = BytesMut::new();
    Encoder::new(&mut bytes, structures).value(value);
    bytes
}

/// Bytes of messages that make some sense: random ones seldom get past the first two bytes.
fn messages() -> impl Strategy<Value = Vec<u8>> {
    let signatures = [
        0x00, 0x01, 0x02, 0x0E, 0x0F, 0x10, 0x11, 0x12, 0x13, 0x2F, 0x3F, 0x66, 0x6A, 0x6B, 0x54,
    ];
    let field = prop_oneof![
        2 => Just(Value::Map(Map::new())),
        1 => (-3_i64..5).prop_map(|n| Map::from([("n".to_owned(), n.into())]).into()),
        1 => (-3_i64..5).prop_map(|n| Map::from([("qid".to_owned(), n.into())]).into()),
        1 => prop::sample::select(vec!["COUNT TO $n", "BEGIN", "FAIL ON PULL", "FAIL ON COMMIT"]).prop_map(Value::from),
        1 => value(),
    ];
    (
        prop::sample::select(signatures.to_vec()),
        collection::vec(field, 0..4),
        structures(),
    )
        .prop_map(|(signature, fields, structures)| message(structures, signature, &fields))
}

proptest! {
    #[test]
    fn values_survive_the_wire(value in value(), structures in structures()) {
        let bytes = encode(&value, structures);
        let mut decoder = Decoder::new(&bytes, structures);
        prop_assert_eq!(decoder.value(), Ok(value));
        prop_assert!(decoder.remaining().is_empty());
    }

    #[test]
    fn a_cut_value_is_malformed(value in value(), structures in structures(), cut in any::<prop::sample::Index>()) {
        let bytes = encode(&value, structures);
        let cut = cut.index(bytes.len());
        prop_assert!(Decoder::new(&bytes[..cut], structures).value().is_err());
    }

    #[test]
    fn any_bytes_decode_to_something_or_an_error(
        bytes in collection::vec(prop_oneof![any::<u8>(), 0x80_u8..0xE0], 0..200),
        structures in structures(),
    ) {
        let mut decoder = Decoder::new(&bytes, structures);
        while !decoder.remaining().is_empty() {
            if decoder.value().is_err() {
                break;
            }
        }
    }

    #[test]
    fn any_bytes_after_any_handshake_never_panic(bytes in any::<Vec<u8>>(), proposal in any::<[u8; 4]>()) {
        let mut session = Session::new(Arc::new(SessionConfig::new(Version::Head, "run")));
        session.receive(&hex("6060b017"));
        session.receive(&[[0, 0, 4, 4], proposal, [0; 4], [0; 4]].concat());
        session.receive(&bytes);
        FixedAnswers::default().serve(&mut session).unwrap();
        session.receive(&framed(&bytes));
        FixedAnswers::default().serve(&mut session).unwrap();
    }

    /// However the bytes are cut into reads, the same comes out.
    #[test]
    fn messages_in_any_order_and_any_cut(
        bolt in prop::sample::select(BoltVersion::ALL.to_vec()),
        messages in collection::vec(messages(), 0..12),
        cut in 1_usize..50,
    ) {
        let bytes = messages.concat();
        let mut whole = Client::ready(bolt, Version::Head);
        let mut cuts = Client::ready(bolt, Version::Head);
        let at_once = whole.send_bytes(&bytes);
        let mut piecewise = Vec::new();
        for piece in bytes.chunks(cut) {
            piecewise.extend(cuts.send_bytes(piece));
        }
        // Compared as text, since NaN equals nothing.
        prop_assert_eq!(format!("{at_once:?}"), format!("{piecewise:?}"));
        prop_assert_eq!(whole.session.is_closed(), cuts.session.is_closed());
    }
}
