//! Handshake, HELLO, LOGON, LOGOFF.

use bolt_server::{Authentication, BoltVersion, Failure, Map, Request, Response, Value, Version};

use crate::client::{Client, Reply, done, hex, map, violation};

fn greeting() -> Reply {
    Reply::Success(map([
        ("connection_id", "bolt-1".into()),
        (
            "server",
            "Neo4j/v5.11.0 compatible graph database server - Memgraph".into(),
        ),
    ]))
}

fn unauthenticated() -> Reply {
    Reply::Failure {
        code: "Memgraph.ClientError.Security.Unauthenticated".to_owned(),
        message: "Authentication failure".to_owned(),
    }
}

/// HELLO with these entries besides the user agent.
fn hello<const N: usize>(entries: [(&str, Value); N]) -> Vec<Value> {
    let mut extra = map(entries);
    extra.insert("user_agent".to_owned(), "test".into());
    vec![extra.into()]
}

#[test]
fn the_handshake_waits_for_twenty_bytes() {
    let handshake = hex("6060b017 000001ff 00080805 00020404 00000003");
    let mut client = Client::connect(Version::V3_12);
    for byte in &handshake[..19] {
        client.session.receive(&[*byte]);
        assert_eq!(client.session.next_request(), None);
        assert!(client.session.take_output().is_empty());
    }
    client.session.receive(&handshake[19..]);
    assert_eq!(client.session.next_request(), None);
    assert_eq!(client.session.take_output(), [0, 0, 2, 5].as_slice());
    assert_eq!(client.session.bolt_version(), Some(BoltVersion::V5_2));
}

#[test]
fn without_a_common_version_there_is_a_failure_message_and_the_end() {
    for handshake in [
        "6060b017 00000405 00000205 00000000 00000000",
        "6060b017 00000405 00000000 00000000 00000000",
    ] {
        let mut client = Client::connect(Version::V3_12);
        let offered_5_2 = handshake.contains("00000205");
        client.session.receive(&hex(handshake));
        client.session.next_request();
        if offered_5_2 {
            assert_eq!(client.session.take_output(), [0, 0, 2, 5].as_slice());
        } else {
            assert_eq!(client.replies(), [violation()]);
            assert!(client.session.is_closed());
        }
    }
    let mut client = Client::connect(Version::V3_12);
    assert_eq!(
        client.send_bytes(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"),
        [violation()]
    );
    assert!(client.session.is_closed());
}

#[test]
fn credentials_come_with_hello_up_to_4_4() {
    let login = Authentication {
        principal: "neo".to_owned(),
        credentials: "trinity".to_owned(),
    };
    let auth = [
        ("scheme", "basic".into()),
        ("principal", "neo".into()),
        ("credentials", "trinity".into()),
    ];
    for bolt in BoltVersion::ALL {
        let mut client = Client::speaking(bolt, Version::Head);
        let request = match bolt {
            BoltVersion::V1 => client.request(0x01, &["agent".into(), map(auth.clone()).into()]),
            BoltVersion::V5_2 => {
                assert_eq!(client.send(0x01, &hello([])), [greeting()]);
                client.request(0x6A, &[map(auth.clone()).into()])
            }
            _ => client.request(0x01, &hello(auth.clone())),
        };
        assert_eq!(request, Some(Request::Authenticate(login.clone())), "{bolt:?}");
        assert!(client.session.is_busy());
        assert_eq!(client.respond(Response::Authenticated), [greeting()]);
        assert!(matches!(client.run("ONE").as_slice(), [Reply::Success(_)]));
    }
}

#[test]
fn missing_credentials_are_empty() {
    let cases = [
        (hello([]), "", ""),
        (hello([("scheme", "none".into())]), "", ""),
        (
            hello([
                ("scheme", 7.into()),
                ("principal", Value::Null),
                ("credentials", true.into()),
            ]),
            "",
            "",
        ),
        (
            hello([("scheme", "basic".into()), ("principal", "neo".into())]),
            "neo",
            "",
        ),
    ];
    for (fields, principal, credentials) in cases {
        let mut client = Client::speaking(BoltVersion::V4_3, Version::Head);
        let login = Authentication {
            principal: principal.to_owned(),
            credentials: credentials.to_owned(),
        };
        assert_eq!(client.request(0x01, &fields), Some(Request::Authenticate(login)));
    }
}

#[test]
fn a_refused_client_is_told_and_cut() {
    let mut client = Client::speaking(BoltVersion::V5_2, Version::Head);
    client.send(0x01, &hello([]));
    client.request(0x6A, &[Map::new().into()]);
    assert_eq!(
        client.respond(Response::AuthenticationRefused),
        [unauthenticated()]
    );
    assert!(client.session.is_closed());

    // The database is not even asked about other schemes.
    let mut client = Client::speaking(BoltVersion::V4_1, Version::Head);
    assert_eq!(
        client.request(0x01, &hello([("scheme", "kerberos".into())])),
        None
    );
    assert_eq!(client.replies(), [unauthenticated()]);
    assert!(client.session.is_closed());
}

#[test]
fn a_login_that_fails_otherwise_cannot_be_recovered_by_reset() {
    let mut client = Client::speaking(BoltVersion::V4_4, Version::Head);
    client.request(0x01, &hello([]));
    let replies = client.respond(Response::Failed(Failure::transient("no database")));
    assert!(matches!(replies.as_slice(), [Reply::Failure { .. }]));
    assert!(client.session.is_closed());
}

#[test]
fn the_user_agent_is_required_since_4_0() {
    for bolt in BoltVersion::ALL
        .into_iter()
        .filter(|bolt| *bolt != BoltVersion::V1)
    {
        for extra in [Map::new(), map([("user_agent", 7.into())])] {
            let mut client = Client::speaking(bolt, Version::Head);
            assert_eq!(client.send(0x01, &[extra.into()]), [violation()], "{bolt:?}");
            assert!(client.session.is_closed());
        }
    }
}

#[test]
fn an_empty_server_name_is_left_out() {
    let mut config = bolt_server::SessionConfig::new(Version::Head, "run");
    config.server_name.clear();
    let mut client = Client::connect(Version::Head);
    client.session = bolt_server::Session::new(config.into());
    client
        .session
        .receive(&hex("6060b017 00000104 00000000 00000000 00000000"));
    client.session.next_request();
    client.session.take_output();
    assert_eq!(
        client.send(0x01, &hello([])),
        [Reply::Success(map([("connection_id", "bolt-1".into())]))]
    );
}

#[test]
fn nothing_but_a_login_is_taken_before_the_login() {
    for bolt in BoltVersion::ALL {
        // RUN, PULL, RESET, GOODBYE, BEGIN, ROUTE, LOGOFF
        for signature in [0x10, 0x3F, 0x0F, 0x02, 0x11, 0x66, 0x6B] {
            let mut client = Client::speaking(bolt, Version::Head);
            assert_eq!(
                client.send(signature, &[]),
                [violation()],
                "{bolt:?} {signature:#x}"
            );
            assert!(client.session.is_closed());
        }
    }
}

#[test]
fn before_logon_bolt_5_stays_where_it_was() {
    let mut client = Client::speaking(BoltVersion::V5_2, Version::Head);
    assert_eq!(client.send(0x01, &hello([])), [greeting()]);
    assert_eq!(client.send(0x01, &hello([])), [greeting()]);
    assert_eq!(client.run("ONE"), [violation()]);
}

#[test]
fn noop_is_no_login_but_allowed_since_4_1() {
    for bolt in BoltVersion::ALL {
        let mut client = Client::speaking(bolt, Version::Head);
        let expected = if bolt >= BoltVersion::V4_1 {
            vec![]
        } else {
            vec![violation()]
        };
        assert_eq!(client.send(0x00, &[]), expected, "{bolt:?}");
    }
}

#[test]
fn logon_and_logoff_exist_in_bolt_5_only() {
    for bolt in BoltVersion::ALL
        .into_iter()
        .filter(|bolt| *bolt < BoltVersion::V5_2)
    {
        let mut client = Client::speaking(bolt, Version::Head);
        assert_eq!(client.send(0x6A, &[Map::new().into()]), [violation()], "{bolt:?}");
        let mut client = Client::ready(bolt, Version::Head);
        assert_eq!(client.send(0x6B, &[]), [violation()], "{bolt:?}");
    }
}

#[test]
fn logoff_is_answered_since_3_12_and_leads_back_to_logon() {
    for server in Version::ALL {
        let mut client = Client::ready(BoltVersion::V5_2, server);
        assert_eq!(client.request(0x6B, &[]), Some(Request::LogOff));
        let expected = if server >= Version::V3_12 {
            vec![done()]
        } else {
            vec![]
        };
        assert_eq!(client.respond(Response::Done), expected, "{server}");
        assert_eq!(client.send(0x6A, &[Map::new().into()]), [greeting()]);
        assert!(matches!(client.run("ONE").as_slice(), [Reply::Success(_)]));
    }
}
