//! RUN, PULL, DISCARD.

use bolt_server::{
    BoltVersion, Executed, ExecutionSummary, Map, Node, Notification, Path, Prepared, QueryKind,
    Relationship, Request, Response, Summary, Temporal, UnboundRelationship, Value, Version,
};

use crate::client::{Client, RUN_ID, Reply, client_error, done, map};

pub fn fields(names: &[&str]) -> Reply {
    Reply::Success(map([(
        "fields",
        Value::List(names.iter().map(|&name| name.into()).collect()),
    )]))
}

fn more() -> Reply {
    Reply::Success(map([("has_more", true.into()), ("run_id", RUN_ID.into())]))
}

fn records(values: std::ops::RangeInclusive<i64>) -> Vec<Reply> {
    values.map(|value| Reply::Record(vec![value.into()])).collect()
}

fn count_to(client: &mut Client, n: i64) {
    assert_eq!(
        client.run_with("COUNT TO $n", map([("n", n.into())])),
        [fields(&["x"])]
    );
}

/// Whether the replies end with the summary of an ended result.
pub fn has_ended(replies: &[Reply]) -> bool {
    matches!(replies.last(), Some(Reply::Success(metadata)) if metadata.get("has_more") == Some(&false.into()))
}

#[test]
fn a_query_in_every_version() {
    for (bolt, mut client) in Client::ready_in_every_version() {
        count_to(&mut client, 3);
        let replies = client.pull(-1);
        assert_eq!(replies[..3], records(1..=3), "{bolt:?}");
        assert!(has_ended(&replies), "{bolt:?}");
        // The next query follows without anything in between.
        assert_eq!(client.run("ONE"), [fields(&["x"])]);
    }
}

#[test]
fn the_summary_of_a_graph_query() {
    let mut client = Client::ready(BoltVersion::V5_2, Version::V3_12);
    assert_eq!(client.run("CREATE (:Token)"), [fields(&[])]);
    let stats = [
        ("nodes-created", 1),
        ("nodes-deleted", 0),
        ("relationships-created", 0),
        ("relationships-deleted", 0),
        ("labels-added", 1),
        ("labels-removed", 0),
        ("properties-set", 0),
    ];
    let expected = map([
        ("has_more", false.into()),
        ("type", "w".into()),
        ("db", "memgraph".into()),
        ("parsing_time", 0.001.into()),
        ("planning_time", 0.002.into()),
        ("cost_estimate", 1.0.into()),
        ("plan_execution_time", 0.003.into()),
        ("number_of_hops", 0.into()),
        ("stats", map(stats.map(|(key, count)| (key, count.into()))).into()),
        ("run_id", RUN_ID.into()),
    ]);
    assert_eq!(client.pull(1000), [Reply::Success(expected)]);
}

#[test]
fn the_summary_of_an_administrative_query() {
    let mut client = Client::ready(BoltVersion::V4_4, Version::V3_12);
    client.request(
        0x10,
        &["REGISTER ..".into(), Map::new().into(), Map::new().into()],
    );
    assert_eq!(
        client.respond(Response::Prepared(Prepared::default())),
        [fields(&[])]
    );
    client.request(0x3F, &[Map::new().into()]);
    let summary = Summary {
        kind: Some(QueryKind::ReadWrite),
        database: Some("memgraph".to_owned()),
        cost_estimate: Some(0.0),
        notifications: vec![
            Notification::info("RegisterReplica", "Replica r1 is registered."),
            Notification::warning("ReplicaPortWarning", "Be careful .."),
        ],
        ..Summary::default()
    };
    let notification = |severity: &str, code: &str, title: &str| {
        Value::Map(map([
            ("severity", severity.into()),
            ("code", code.into()),
            ("title", title.into()),
            ("description", "".into()),
        ]))
    };
    let expected = map([
        ("has_more", false.into()),
        ("type", "rw".into()),
        ("db", "memgraph".into()),
        ("cost_estimate", 0.0.into()),
        ("run_id", RUN_ID.into()),
        (
            "notifications",
            Value::List(vec![
                notification("INFO", "RegisterReplica", "Replica r1 is registered."),
                notification("WARNING", "ReplicaPortWarning", "Be careful .."),
            ]),
        ),
    ]);
    let executed = Executed {
        rows: vec![],
        summary: Some(summary),
    };
    assert_eq!(
        client.respond(Response::Executed(executed)),
        [Reply::Success(expected)]
    );
}

#[test]
fn nothing_is_said_about_changes_where_nothing_changed() {
    let mut client = Client::ready(BoltVersion::V5_2, Version::V3_12);
    client.run("ONE");
    match client.pull(-1).last() {
        Some(Reply::Success(metadata)) => {
            assert!(!metadata.contains_key("stats") && !metadata.contains_key("notifications"));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn pages() {
    for (bolt, mut client) in Client::ready_in_every_version() {
        if bolt == BoltVersion::V1 {
            continue;
        }
        count_to(&mut client, 5);
        let mut first = records(1..=2);
        first.push(more());
        assert_eq!(client.pull(2), first, "{bolt:?}");
        let mut second = records(3..=4);
        second.push(more());
        assert_eq!(client.pull(2), second);
        let last = client.pull(2);
        assert_eq!(last[..1], records(5..=5));
        assert!(last.len() == 2 && has_ended(&last));
    }
}

#[test]
fn a_full_last_page_knows_that_it_is_the_last() {
    let mut client = Client::ready(BoltVersion::V5_2, Version::Head);
    count_to(&mut client, 4);
    client.pull(2);
    assert!(has_ended(&client.pull(2)));
}

#[test]
fn an_auto_committed_query_ends_with_its_last_row() {
    let mut client = Client::ready(BoltVersion::V5_2, Version::Head);
    client.request(0x10, &["Q".into(), Map::new().into(), Map::new().into()]);
    client.respond(Response::Prepared(Prepared {
        fields: vec!["x".to_owned()],
        query_id: None,
    }));
    let page = |n: i64| [Value::Map(map([("n", n.into())]))];
    assert_eq!(
        client.request(0x3F, &page(1)),
        Some(Request::Execute { take: Some(1) })
    );
    let rows = (1..=3).map(|n| vec![Value::Integer(n)]).collect();
    client.respond(Response::Executed(Executed { rows, summary: None }));
    // The second page needs nothing from the database; the last one ends the transaction.
    assert_eq!(client.request(0x3F, &page(1)), None);
    assert_eq!(client.replies(), [Reply::Record(vec![2.into()]), more()]);
    assert_eq!(client.request(0x3F, &page(1)), Some(Request::Finish));
    assert_eq!(client.replies(), [Reply::Record(vec![3.into()])]);
    let replies = client.respond(Response::Finished(Summary::default()));
    assert_eq!(
        replies,
        [Reply::Success(map([
            ("has_more", false.into()),
            ("run_id", RUN_ID.into())
        ]))]
    );
}

#[test]
fn a_failed_commit_follows_the_rows() {
    let mut client = Client::ready(BoltVersion::V5_2, Version::Head);
    client.run("FAIL ON COMMIT");
    assert_eq!(
        client.pull(-1),
        [Reply::Record(vec![1.into()]), client_error("the commit failed")]
    );
}

#[test]
fn discard_executes_but_sends_nothing() {
    for (bolt, mut client) in Client::ready_in_every_version() {
        count_to(&mut client, 3);
        let replies = client.discard(-1);
        assert!(replies.len() == 1 && has_ended(&replies), "{bolt:?}");
    }
    let mut client = Client::ready(BoltVersion::V4_3, Version::Head);
    count_to(&mut client, 3);
    assert_eq!(client.discard(2), [more()]);
    assert_eq!(client.pull(-1)[..1], records(3..=3));
}

#[test]
fn a_negative_page_size_is_an_ordinary_failure() {
    let mut client = Client::ready(BoltVersion::V4_4, Version::Head);
    client.run("ONE");
    assert_eq!(
        client.pull(-2),
        [client_error(
            "Invalid arguments sent: n - Cannot fetch negative number of results!"
        )]
    );
    assert_eq!(client.reset(), [done()]);
}

#[test]
fn graph_objects_have_element_ids_in_bolt_5() {
    let node = |id| Node {
        id,
        labels: vec!["Person".to_owned()],
        properties: map([("age", 7.into())]),
    };
    let properties = map([("since", 1999.into())]);
    let kind = "KNOWS".to_owned();
    let expected = Reply::Record(vec![
        Value::Node(node(1)),
        Value::Relationship(Relationship {
            id: 3,
            start: 1,
            end: 2,
            kind: kind.clone(),
            properties: properties.clone(),
        }),
        Value::Path(Path {
            nodes: vec![node(2), node(1)],
            relationships: vec![UnboundRelationship {
                id: 3,
                kind,
                properties,
            }],
            indices: vec![-1, 1],
        }),
    ]);
    for (bolt, mut client) in Client::ready_in_every_version() {
        client.run("GRAPH");
        assert_eq!(client.pull(-1)[0], expected, "{bolt:?}");
    }
}

#[test]
fn moments_are_local_before_bolt_5() {
    // RUN "Q" {x: a date-time of 1970-01-01T02:00:01 at +02:00} {}
    let legacy = "b3 10 81 51 a1 81 78 b3 46 c9 1c 21 05 c9 1c 20 a0";
    let utc = "b3 10 81 51 a1 81 78 b3 49 01 05 c9 1c 20 a0";
    let moment = Value::Temporal(Temporal::DateTime {
        seconds: 1,
        nanoseconds: 5,
        offset: 7200,
    });
    for (bolt, body) in [
        (BoltVersion::V4_3, legacy),
        (BoltVersion::V4_3, utc),
        (BoltVersion::V5_2, utc),
    ] {
        let mut client = Client::ready(bolt, Version::Head);
        client
            .session
            .receive(&crate::client::framed(&crate::client::hex(body)));
        let Some(Request::Prepare(prepare)) = client.session.next_request() else {
            panic!("{bolt:?}");
        };
        assert_eq!(prepare.parameters["x"], moment, "{bolt:?}");
    }
    // In Bolt 5 nobody says it that way any more.
    let mut client = Client::ready(BoltVersion::V5_2, Version::Head);
    client.send_bytes(&crate::client::framed(&crate::client::hex(legacy)));
    assert!(client.session.is_closed());
}

#[test]
fn points_are_refused_by_name() {
    let mut client = Client::ready(BoltVersion::V4_4, Version::Head);
    // RUN "Q" {x: Point2D(7203, 0.0, 0.0)} {}
    let body = crate::client::hex(
        "b3 10 81 51 a1 81 78 b3 58 c9 1c 23 c1 00 00 00 00 00 00 00 00 c1 00 00 00 00 00 00 00 00 a0",
    );
    let refusal = client_error("not supported by the simulator: points in Bolt messages");
    assert_eq!(client.send_bytes(&crate::client::framed(&body)), [refusal]);
    // Nothing of the message is left behind.
    assert_eq!(client.reset(), [done()]);
    assert_eq!(client.run("ONE"), [fields(&["x"])]);
}

#[test]
fn an_answer_that_does_not_fit_closes_the_session() {
    let mut client = Client::ready(BoltVersion::V5_2, Version::Head);
    assert!(client.session.respond(Response::Done).is_err());
    assert!(client.session.is_closed());

    let mut client = Client::ready(BoltVersion::V5_2, Version::Head);
    client.request(0x12, &[]);
    let error = client.session.respond(Response::Authenticated).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the answer Authenticated does not fit the outstanding request Commit"
    );
}

#[test]
fn execution_details_are_sent_for_graph_queries_only() {
    let mut client = Client::ready(BoltVersion::V5_2, Version::Head);
    client.request(0x10, &["Q".into(), Map::new().into(), Map::new().into()]);
    client.respond(Response::Prepared(Prepared::default()));
    client.request(0x3F, &[Map::new().into()]);
    let execution = ExecutionSummary {
        seconds: 0.5,
        hops: 3,
        ..ExecutionSummary::default()
    };
    let summary = Summary {
        execution: Some(execution),
        ..Summary::default()
    };
    let executed = Executed {
        rows: vec![vec![]; 3],
        summary: Some(summary),
    };
    let expected = map([
        ("has_more", false.into()),
        ("plan_execution_time", 0.5.into()),
        ("number_of_hops", 3.into()),
        ("run_id", RUN_ID.into()),
    ]);
    assert_eq!(
        client.respond(Response::Executed(executed)),
        [Reply::Success(expected)]
    );
}
