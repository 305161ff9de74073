//! What closes the connection.

use bolt_server::{BoltVersion, Map, Value, Version};

use crate::client::{Client, framed, hex, map, violation};

fn empty() -> Value {
    Map::new().into()
}

fn run_fields(bolt: BoltVersion) -> Vec<Value> {
    let mut fields = vec!["ONE".into(), empty()];
    if bolt > BoltVersion::V1 {
        fields.push(empty());
    }
    fields
}

#[test]
fn messages_in_the_wrong_state() {
    for (bolt, mut client) in Client::ready_in_every_version() {
        // PULL in Idle
        assert_eq!(client.pull(-1), [violation()], "{bolt:?}");
        assert!(client.session.is_closed());
    }
    for (bolt, mut client) in Client::ready_in_every_version() {
        assert_eq!(client.discard(-1), [violation()], "{bolt:?}");
    }
    for (bolt, mut client) in Client::ready_in_every_version() {
        // RUN while a result is open
        client.run("ONE");
        assert_eq!(client.run("ONE"), [violation()], "{bolt:?}");
    }
    for (signature, fields) in [(0x11, vec![empty()]), (0x12, vec![]), (0x13, vec![])] {
        let mut client = Client::ready(BoltVersion::V5_2, Version::Head);
        client.run("ONE");
        assert_eq!(client.send(signature, &fields), [violation()], "{signature:#x}");
    }
    // HELLO and LOGON after the login
    for signature in [0x01, 0x6A] {
        let mut client = Client::ready(BoltVersion::V5_2, Version::Head);
        assert_eq!(
            client.send(signature, &[map([("user_agent", "x".into())]).into()]),
            [violation()]
        );
    }
}

#[test]
fn messages_that_a_version_does_not_have() {
    let unknown: [(u8, BoltVersion); 6] = [
        (0x11, BoltVersion::V4_0),
        (0x12, BoltVersion::V4_0),
        (0x13, BoltVersion::V4_0),
        (0x00, BoltVersion::V4_1),
        (0x66, BoltVersion::V4_3),
        (0x6B, BoltVersion::V5_2),
    ];
    for (signature, since) in unknown {
        for (bolt, mut client) in Client::ready_in_every_version().filter(|(bolt, _)| *bolt < since) {
            assert_eq!(
                client.send(signature, &[]),
                [violation()],
                "{bolt:?} {signature:#x}"
            );
        }
    }
    // TELEMETRY, ACK_FAILURE outside of a failure, and a signature of nobody
    for signature in [0x54, 0x0E, 0x99] {
        for (bolt, mut client) in Client::ready_in_every_version() {
            assert_eq!(
                client.send(signature, &[]),
                [violation()],
                "{bolt:?} {signature:#x}"
            );
        }
    }
}

#[test]
fn goodbye_closes_without_a_word() {
    for (bolt, mut client) in Client::ready_in_every_version() {
        let expected = if bolt == BoltVersion::V1 {
            vec![violation()]
        } else {
            vec![]
        };
        assert_eq!(client.send(0x02, &[]), expected, "{bolt:?}");
        assert!(client.session.is_closed());
    }
}

#[test]
fn messages_with_a_wrong_number_of_fields() {
    for (bolt, mut client) in Client::ready_in_every_version() {
        let mut fields = run_fields(bolt);
        fields.push(empty());
        assert_eq!(client.send(0x10, &fields), [violation()], "{bolt:?}");
    }
    for (bolt, mut client) in Client::ready_in_every_version() {
        client.run("ONE");
        let fields = if bolt == BoltVersion::V1 {
            vec![empty()]
        } else {
            vec![]
        };
        assert_eq!(client.send(0x3F, &fields), [violation()], "{bolt:?}");
    }
    for (signature, fields) in [
        (0x0F, vec![empty()]),
        (0x11, vec![]),
        (0x12, vec![empty()]),
        (0x13, vec![empty()]),
        (0x66, vec![empty()]),
    ] {
        let mut client = Client::ready(BoltVersion::V5_2, Version::Head);
        assert_eq!(client.send(signature, &fields), [violation()], "{signature:#x}");
    }
}

#[test]
fn fields_of_a_wrong_type() {
    let cases: [(u8, Vec<Value>); 5] = [
        (0x10, vec![1.into(), empty(), empty()]),
        (0x10, vec!["ONE".into(), Value::List(vec![]), empty()]),
        (0x10, vec!["ONE".into(), empty(), Value::Null]),
        (0x11, vec!["x".into()]),
        (0x66, vec![empty(), empty(), empty()]),
    ];
    for (signature, fields) in cases {
        let mut client = Client::ready(BoltVersion::V5_2, Version::Head);
        assert_eq!(
            client.send(signature, &fields),
            [violation()],
            "{signature:#x} {fields:?}"
        );
    }
    // Here Memgraph trips over an exception of its own, which nobody reports to the client.
    let mut client = Client::ready(BoltVersion::V5_2, Version::Head);
    client.run("ONE");
    assert_eq!(client.send(0x3F, &["x".into()]), []);
    assert!(client.session.is_closed());
}

#[test]
fn broken_messages() {
    let long_list = format!("b3 10 d6 ffffffff {}", "00".repeat(100));
    let deep_list = format!("b3 10 {} 90", "91".repeat(100_000));
    for body in [
        "",
        "b0",
        "b3 10",
        "b3 10 84 41",
        "b3 10 c5",
        "b3 10 cc 00",
        "b3 10 d3 00",
        "b3 10 b3 99 01",
        "b3 10 81 51 a2 81 78 01 81 78 02 a0",
        "b3 10 81 51 a1 01 02 a0",
        &long_list,
        &deep_list,
    ] {
        let mut client = Client::ready(BoltVersion::V5_2, Version::Head);
        assert_eq!(
            client.send_bytes(&framed(&hex(body))),
            [violation()],
            "{:.40}",
            body
        );
        assert!(client.session.is_closed());
    }
}

#[test]
fn a_lone_end_marker_is_an_empty_message() {
    for (bolt, mut client) in Client::ready_in_every_version() {
        assert_eq!(client.send_bytes(&[0, 0]), [violation()], "{bolt:?}");
    }
}

#[test]
fn bytes_that_a_message_leaves_unread_break_the_next_one() {
    let mut client = Client::ready(BoltVersion::V5_2, Version::Head);
    // RESET that claims no fields but has one.
    assert_eq!(client.send_bytes(&framed(&hex("b0 0f 01"))).len(), 1);
    assert_eq!(client.reset(), [violation()]);
}

#[test]
fn a_message_above_the_limit() {
    let mut config = bolt_server::SessionConfig::new(Version::Head, "run");
    config.max_message_length = 1000;
    let mut client = Client::connect(Version::Head);
    client.session = bolt_server::Session::new(config.into());
    client
        .session
        .receive(&hex("6060b017 00000104 00000000 00000000 00000000"));
    client.session.next_request();
    client.session.take_output();
    // Its head is enough.
    assert_eq!(client.send_bytes(&hex("0400 b1 01")), [violation()]);
}

#[test]
fn nothing_is_read_after_the_end() {
    let mut client = Client::ready(BoltVersion::V5_2, Version::Head);
    client.pull(-1);
    assert_eq!(client.reset(), []);
    assert_eq!(client.session.next_request(), None);
}
