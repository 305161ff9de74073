//! Bytes that drivers were seen to send, with the answers that they went on with.

use bolt_server::{BoltVersion, Value, Version};

use crate::{
    backend::FixedAnswers,
    client::{Client, Reply, client_error, done, hex},
};

/// A connection to a server that knows one user, after the handshake.
fn connect(server: Version, handshake: &str, bolt: BoltVersion) -> Client {
    let mut client = Client::speaking(bolt, server);
    let mut fresh = Client::connect(server);
    let (major, minor) = bolt.numbers();
    fresh.session.receive(&hex(handshake));
    assert_eq!(fresh.session.next_request(), None);
    assert_eq!(fresh.session.take_output(), [0, 0, minor, major].as_slice());
    client.session = fresh.session;
    client.database = FixedAnswers::new(Some(("user".to_owned(), "secret".to_owned())));
    client
}

fn send(client: &mut Client, digits: &str) -> Vec<Reply> {
    client.send_bytes(&hex(digits))
}

/// One letter per reply: Success, Record, Failure, Ignored.
fn kinds(replies: &[Reply]) -> String {
    replies
        .iter()
        .map(|reply| match reply {
            Reply::Success(_) => 'S',
            Reply::Record(_) => 'R',
            Reply::Failure { .. } => 'F',
            Reply::Ignored => 'I',
        })
        .collect()
}

#[test]
fn neo4j_for_python_6_4() {
    let mut client = connect(
        Version::V3_11,
        "6060b017 000001ff 00080805 00020404 00000003",
        BoltVersion::V5_2,
    );
    // HELLO and LOGON come together.
    let login = send(
        &mut client,
        "0040b101a18a757365725f6167656e74d0306e656f346a2d707974686f6e2f362e342e3120507974686f6e2f332e31312e372d
         66696e616c2d3020286c696e757829 0000
         0032b16aa386736368656d65856261736963897072696e636970616c84757365728b63726564656e7469616c7386736563726574 0000",
    );
    assert_eq!(kinds(&login), "SS");
    assert_eq!(send(&mut client, "0002b00f 0000"), [done()]);
    // RUN "ECHO $x" {x: {a: [1, 2.5, null, true, 1099511627776]}} {}, PULL {n: 1000}
    let replies = send(
        &mut client,
        "0027 b310874543484f202478a18178a181619501c14004000000000000c0c3cb0000010000000000a0 0000
         0008 b13fa1816ec903e8 0000",
    );
    assert_eq!(kinds(&replies), "SRS");
    let items = vec![
        1.into(),
        2.5.into(),
        Value::Null,
        true.into(),
        (1_i64 << 40).into(),
    ];
    let echo = Value::Map([("a".to_owned(), Value::List(items))].into());
    assert_eq!(replies[1], Reply::Record(vec![echo]));
    // RUN "FAIL ON RUN", PULL; then RESET
    let replies = send(
        &mut client,
        "0010b3108b4641494c204f4e2052554ea0a0 0000 0008b13fa1816ec903e8 0000",
    );
    assert_eq!(replies, [client_error("the preparation failed"), Reply::Ignored]);
    assert_eq!(send(&mut client, "0002b00f 0000"), [done()]);
    // GOODBYE
    assert_eq!(send(&mut client, "0002b002 0000"), []);
    assert!(client.session.is_closed());
}

#[test]
fn pymgclient_1_6() {
    let mut client = connect(
        Version::V3_11,
        "6060b017 00000404 00000304 00000104 00000001",
        BoltVersion::V4_3,
    );
    let login = send(
        &mut client,
        "004cb101a48a757365725f6167656e748e6d67636c69656e742f312e372e3086736368656d65856261736963897072696e636970616c
         84757365728b63726564656e7469616c7386736563726574 0000",
    );
    assert_eq!(kinds(&login), "S");
    // It opens transactions by text: RUN "BEGIN", PULL {n: -1}.
    assert_eq!(kinds(&send(&mut client, "000ab31085424547494ea0a0 0000")), "S");
    assert_eq!(kinds(&send(&mut client, "0006b13fa1816eff 0000")), "S");
    // RUN "COUNT TO $n" {n: 3}
    assert_eq!(
        kinds(&send(
            &mut client,
            "0013b3108b434f554e5420544f20246ea1816e03a0 0000"
        )),
        "S"
    );
    assert_eq!(kinds(&send(&mut client, "0006b13fa1816eff 0000")), "RRRS");
    assert_eq!(kinds(&send(&mut client, "000bb31086434f4d4d4954a0a0 0000")), "S");
    assert_eq!(kinds(&send(&mut client, "0006b13fa1816eff 0000")), "S");
    // RUN "FAIL ON PULL"; then RESET
    assert_eq!(
        kinds(&send(&mut client, "0011b3108c4641494c204f4e2050554c4ca0a0 0000")),
        "S"
    );
    assert_eq!(kinds(&send(&mut client, "0006b13fa1816eff 0000")), "F");
    assert_eq!(send(&mut client, "0002b00f 0000"), [done()]);
}

#[test]
fn neo4rs_0_9() {
    let handshake = "6060b017 00000404 00000304 00000104 00000004";
    let mut client = connect(Version::V3_12, handshake, BoltVersion::V4_4);
    let login = send(
        &mut client,
        "0044b101a4897072696e636970616c84757365728a757365725f6167656e74866e656f3472738b63726564656e7469616c73
         8673656372657486736368656d65856261736963 0000",
    );
    assert_eq!(kinds(&login), "S");
    // `Graph::execute` sends RUN "COUNT TO $n" {n: 8} {mode: "w"} and PULL {n: 3, qid: -1} together.
    let replies = send(
        &mut client,
        "001ab3108b434f554e5420544f20246ea1816e08a1846d6f64658177 0000 000bb13fa2816e0383716964ff 0000",
    );
    assert_eq!(kinds(&replies), "SRRRS");
    assert_eq!(
        kinds(&send(&mut client, "000bb13fa2816e0383716964ff 0000")),
        "RRRS"
    );
    assert_eq!(
        kinds(&send(&mut client, "000bb13fa283716964ff816e03 0000")),
        "RRS"
    );
    // `Graph::run` sends RUN "CREATE (:Token)" and DISCARD {n: -1, qid: -1} together.
    let replies = send(
        &mut client,
        "001bb3108f43524541544520283a546f6b656e29a0a1846d6f64658177 0000 000bb12fa2816eff83716964ff 0000",
    );
    assert_eq!(kinds(&replies), "SS");
    assert_eq!(send(&mut client, "0002b00f 0000"), [done()]);
    // BEGIN, then queries by their id, and COMMIT.
    assert_eq!(send(&mut client, "0003b111a0 0000"), [done()]);
    let run = "001ab3108b434f554e5420544f20246ea1816e04a1846d6f64658177 0000";
    assert_eq!(kinds(&send(&mut client, run)), "S");
    assert_eq!(
        kinds(&send(&mut client, "000bb13fa28371696400816e03 0000")),
        "RRRS"
    );
    assert_eq!(kinds(&send(&mut client, "000bb13fa28371696400816e03 0000")), "RS");
    let replies = send(
        &mut client,
        "000fb310834f4e45a0a1846d6f64658177 0000 000bb12fa283716964ff816eff 0000",
    );
    assert_eq!(kinds(&replies), "SS");
    assert_eq!(send(&mut client, "0002b012 0000"), [done()]);
    // Before 3.12 the same offers end in 4.3.
    connect(Version::V3_11, handshake, BoltVersion::V4_3);
}
