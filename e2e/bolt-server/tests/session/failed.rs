//! After a failure: everything is ignored until RESET.

use bolt_server::{BoltVersion, Map, Request, Response, Value, Version};

use crate::client::{Client, Reply, client_error, done, framed, hex, map, violation};

#[test]
fn preparation_fails_run_and_execution_fails_pull() {
    for (bolt, mut client) in Client::ready_in_every_version() {
        assert_eq!(
            client.run("FAIL ON RUN"),
            [client_error("the preparation failed")],
            "{bolt:?}"
        );
        assert_eq!(client.pull(-1), [Reply::Ignored]);
        assert_eq!(client.reset(), [done()]);
        assert!(matches!(
            client.run("FAIL ON PULL").as_slice(),
            [Reply::Success(_)]
        ));
        assert_eq!(client.pull(-1), [client_error("the execution failed")]);
        assert_eq!(client.reset(), [done()]);
        assert!(matches!(client.run("ONE").as_slice(), [Reply::Success(_)]));
    }
}

#[test]
fn every_message_but_reset_is_ignored() {
    let empty = || Value::Map(Map::new());
    let messages: [(u8, Vec<Value>); 10] = [
        (0x10, vec!["Q".into(), empty(), empty()]),
        (0x3F, vec![empty()]),
        (0x2F, vec![empty()]),
        (0x11, vec![empty()]),
        (0x12, vec![]),
        (0x13, vec![]),
        (0x66, vec![empty(), Value::List(vec![]), empty()]),
        // GOODBYE does not close here, and unknown messages do not either.
        (0x02, vec![]),
        (0x6B, vec![]),
        (0x54, vec![1.into()]),
    ];
    for (bolt, mut client) in Client::ready_in_every_version() {
        client.run("FAIL ON RUN");
        for (signature, fields) in &messages {
            assert_eq!(
                client.send(*signature, fields),
                [Reply::Ignored],
                "{bolt:?} {signature:#x}"
            );
        }
        assert_eq!(client.reset(), [done()]);
    }
}

#[test]
fn noop_is_understood_in_4_1_only() {
    for (bolt, mut client) in Client::ready_in_every_version() {
        client.run("FAIL ON RUN");
        let expected = if bolt == BoltVersion::V4_1 {
            vec![]
        } else {
            vec![Reply::Ignored]
        };
        assert_eq!(client.send(0x00, &[]), expected, "{bolt:?}");
    }
}

#[test]
fn ack_failure_recovers_in_bolt_1() {
    for (bolt, mut client) in Client::ready_in_every_version() {
        client.run("FAIL ON RUN");
        let (expected, recovered) = if bolt == BoltVersion::V1 {
            (done(), true)
        } else {
            (Reply::Ignored, false)
        };
        assert_eq!(client.send(0x0E, &[]), [expected], "{bolt:?}");
        assert_eq!(
            matches!(client.run("ONE").as_slice(), [Reply::Success(_)]),
            recovered
        );
    }
}

#[test]
fn reset_aborts_whatever_is_open() {
    for (bolt, mut client) in Client::ready_in_every_version() {
        // Idle
        assert_eq!(client.request(0x0F, &[]), Some(Request::Abort), "{bolt:?}");
        assert_eq!(client.respond(Response::Done), [done()]);
        // A result that was not taken
        client.run("ONE");
        assert_eq!(client.request(0x0F, &[]), Some(Request::Abort));
        assert_eq!(client.respond(Response::Done), [done()]);
        // A failure
        client.run("FAIL ON RUN");
        assert_eq!(client.request(0x0F, &[]), Some(Request::Abort));
        assert_eq!(client.respond(Response::Done), [done()]);
        assert_eq!(client.request(0x0F, &[]), Some(Request::Abort));
    }
}

#[test]
fn ignored_messages_must_still_be_readable() {
    for body in ["b1 3f 81", "a1 3f a0", "b1", "b2 10 81 51", "b1 10 c5"] {
        let mut client = Client::ready(BoltVersion::V4_3, Version::Head);
        client.run("FAIL ON RUN");
        assert_eq!(client.send_bytes(&framed(&hex(body))), [violation()], "{body}");
        assert!(client.session.is_closed());
    }
    // A date is no obstacle.
    let mut client = Client::ready(BoltVersion::V4_3, Version::Head);
    client.run("FAIL ON RUN");
    assert_eq!(
        client.send_bytes(&framed(&hex("b3 10 81 51 a1 81 78 b1 44 01 a0"))),
        [Reply::Ignored]
    );
    assert_eq!(client.reset(), [done()]);
}

#[test]
fn a_failure_inside_of_an_explicit_transaction() {
    let mut client = Client::ready(BoltVersion::V5_2, Version::Head);
    client.send(0x11, &[map([("db", "memgraph".into())]).into()]);
    assert_eq!(
        client.run("FAIL ON RUN"),
        [client_error("the preparation failed")]
    );
    assert_eq!(client.send(0x12, &[]), [Reply::Ignored]);
    assert_eq!(client.send(0x13, &[]), [Reply::Ignored]);
    assert_eq!(client.reset(), [done()]);
    assert_eq!(
        client.send(0x12, &[]),
        [client_error("No current transaction to commit.")]
    );
}
