//! BEGIN, COMMIT, ROLLBACK, ROUTE, options, pipelining.

use std::time::Duration;

use bolt_server::{
    BoltVersion, Failure, Map, Notification, Prepare, Request, Response, TransactionOptions, Value, Version,
};

use crate::{
    client::{Client, RUN_ID, Reply, client_error, done, map, violation},
    queries::{fields, has_ended},
};

#[test]
fn parameters_and_options_reach_the_database() {
    let mut client = Client::ready(BoltVersion::V4_4, Version::Head);
    let parameters = map([("x", Value::List(vec![1.into(), Value::Null, "ü".into()]))]);
    let metadata = map([("app", "test".into())]);
    let extra = map([
        ("db", "memgraph".into()),
        ("mode", "r".into()),
        ("tx_timeout", 1500.into()),
        ("tx_metadata", metadata.clone().into()),
        ("imp_user", "neo".into()),
        ("bookmarks", Value::List(vec![])),
    ]);
    let options = TransactionOptions {
        database: Some("memgraph".to_owned()),
        read_only: true,
        timeout: Some(Duration::from_millis(1500)),
        metadata,
        impersonated_user: Some("neo".to_owned()),
    };
    let prepare = Prepare {
        query: "Q".to_owned(),
        parameters: parameters.clone(),
        options: options.clone(),
    };
    let request = client.request(0x10, &["Q".into(), parameters.into(), extra.clone().into()]);
    assert_eq!(request, Some(Request::Prepare(prepare)));
    client.respond(Response::Failed(Failure::client("no")));
    client.reset();
    assert_eq!(
        client.request(0x11, &[extra.into()]),
        Some(Request::Begin(options))
    );
}

#[test]
fn a_malformed_option_is_an_ordinary_failure() {
    for key in ["db", "imp_user"] {
        let mut client = Client::ready(BoltVersion::V4_4, Version::Head);
        let extra = map([(key, 7.into())]);
        assert_eq!(
            client.send(0x11, &[extra.into()]),
            [client_error("Malformed config input.")]
        );
        assert_eq!(client.reset(), [done()]);
    }
}

#[test]
fn an_explicit_transaction() {
    for (bolt, mut client) in Client::ready_in_every_version() {
        if bolt == BoltVersion::V1 {
            continue;
        }
        assert_eq!(client.send(0x11, &[Map::new().into()]), [done()], "{bolt:?}");
        for query_id in 0..3 {
            let expected = map([
                ("fields", Value::List(vec!["x".into()])),
                ("qid", query_id.into()),
            ]);
            assert_eq!(client.run("ONE"), [Reply::Success(expected)]);
            let pull = map([("n", 1000.into()), ("qid", query_id.into())]);
            assert!(has_ended(&client.send(0x3F, &[pull.into()])));
        }
        assert_eq!(client.send(0x12, &[]), [done()]);
        assert_eq!(client.send(0x11, &[Map::new().into()]), [done()]);
        assert_eq!(client.send(0x13, &[]), [done()]);
    }
}

#[test]
fn bolt_1_opens_transactions_by_text() {
    let mut client = Client::ready(BoltVersion::V1, Version::Head);
    assert_eq!(client.run("BEGIN"), [fields(&[])]);
    assert_eq!(
        client.pull(-1),
        [Reply::Success(map([
            ("has_more", false.into()),
            ("run_id", RUN_ID.into())
        ]))]
    );
    // The id of the query is not told in Bolt 1.
    assert_eq!(client.run("ONE"), [fields(&["x"])]);
}

#[test]
fn a_commit_that_a_replica_missed_is_told() {
    let mut client = Client::ready(BoltVersion::V5_2, Version::Head);
    client.send(0x11, &[Map::new().into()]);
    client.request(0x12, &[]);
    let notifications = vec![Notification::warning(
        "SyncReplicationFailure",
        "Failed to replicate ..",
    )];
    match client.respond(Response::Committed { notifications }).as_slice() {
        [Reply::Success(metadata)] => assert!(metadata.keys().eq(["notifications", "run_id"])),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_query_id_must_be_the_one_of_the_open_result() {
    let asked = |id: i64| {
        let mut client = Client::ready(BoltVersion::V4_4, Version::Head);
        client.send(0x11, &[Map::new().into()]);
        for _ in 0..2 {
            client.run("ONE");
            client.pull(-1);
        }
        client.run("ONE");
        client.send(0x3F, &[map([("n", 1.into()), ("qid", id.into())]).into()])
    };
    let unknown = client_error("Invalid arguments sent: qid - Query with specified ID does not exist!");
    assert!(has_ended(&asked(-1)));
    assert!(has_ended(&asked(2)));
    assert_eq!(asked(3), std::slice::from_ref(&unknown));
    assert_eq!(asked(-2), [unknown]);
    assert_eq!(asked(1), [violation()]);
}

#[test]
fn there_is_no_routing_table() {
    let message = "You cannot fetch routing table from an instance which is not part of a cluster.";
    for (bolt, third) in [
        (BoltVersion::V4_3, Value::Null),
        (BoltVersion::V4_3, "memgraph".into()),
        (BoltVersion::V4_4, Map::new().into()),
        (BoltVersion::V5_2, map([("db", Value::Null)]).into()),
    ] {
        for (server, kind) in [(Version::V3_12, "Transient"), (Version::Head, "Client")] {
            let mut client = Client::ready(bolt, server);
            let replies = client.send(0x66, &[Map::new().into(), Value::List(vec![]), third.clone()]);
            let code = format!("Memgraph.{kind}Error.MemgraphError.MemgraphError");
            assert_eq!(
                replies,
                [Reply::Failure {
                    code,
                    message: message.to_owned()
                }],
                "{bolt:?} {server}"
            );
            assert_eq!(client.reset(), [done()]);
        }
    }
}

#[test]
fn pipelined_messages_wait_for_the_answer_before_them() {
    let mut client = Client::ready(BoltVersion::V5_2, Version::Head);
    let structures = bolt_server::packstream::Structures::WithElementIds;
    let run = |query: &str| {
        crate::client::message(
            structures,
            0x10,
            &[query.into(), Map::new().into(), Map::new().into()],
        )
    };
    let pull = crate::client::message(structures, 0x3F, &[map([("n", (-1).into())]).into()]);
    let reset = crate::client::message(structures, 0x0F, &[]);
    client.session.receive(
        &[
            run("FAIL ON RUN"),
            pull.clone(),
            run("ONE"),
            reset,
            run("ONE"),
            pull,
        ]
        .concat(),
    );

    let prepare = client.session.next_request();
    assert!(matches!(prepare, Some(Request::Prepare(_))));
    assert_eq!(client.session.next_request(), None, "one request at a time");
    assert_eq!(client.respond(Response::Failed(Failure::transient("x"))).len(), 1);
    // PULL and RUN are ignored on the way to RESET, which aborts.
    assert_eq!(client.session.next_request(), Some(Request::Abort));
    assert_eq!(client.replies(), [Reply::Ignored, Reply::Ignored]);
    assert_eq!(client.respond(Response::Done), [done()]);
    client.database.serve(&mut client.session).unwrap();
    let replies = client.replies();
    assert_eq!(replies[..2], [fields(&["x"]), Reply::Record(vec![1.into()])]);
    assert!(has_ended(&replies));
}
