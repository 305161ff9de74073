//! Queries and transactions of clients.

use std::{collections::BTreeMap, time::Duration};

use bolt_server::{FailureCode, Prepare, Request, Response, Value, Version};

use crate::clients::{Rows, prepare};
use crate::network::Network;

fn network() -> Network {
    Network::new(Version::default(), &["a"])
}

fn numbers(rows: &Rows) -> Vec<Vec<i64>> {
    rows.iter()
        .map(|row| row.iter().map(|value| value.as_integer().unwrap()).collect())
        .collect()
}

#[test]
fn graph_queries_do_what_they_say() {
    let mut network = network();
    network.must("a", "UNWIND range(1, 5) AS i CREATE (:T {i: i})");
    network.must(
        "a",
        "MATCH (n:T), (m:T) WHERE m.i = n.i + 1 CREATE (n)-[:NEXT {w: n.i}]->(m)",
    );
    let rows = network.must(
        "a",
        "MATCH (n:T)-[r:NEXT]->(m) WHERE n.i > 1 RETURN n.i, r.w, m.i ORDER BY n.i DESC",
    );
    assert_eq!(numbers(&rows), [[4, 4, 5], [3, 3, 4], [2, 2, 3]]);
    let rows = network.must("a", "MATCH (m)<-[:NEXT]-(n {i: 2}) RETURN m.i");
    assert_eq!(numbers(&rows), [[3]]);
    let rows = network.must(
        "a",
        "MATCH (n:T) RETURN count(*), sum(n.i), min(n.i), max(n.i), size(collect(n.i))",
    );
    assert_eq!(numbers(&rows), [[5, 15, 1, 5, 5]]);
    network.must(
        "a",
        "MATCH (n:T) WHERE n.i IN [1, 2] SET n.x = n.i * 10, n:Marked",
    );
    let rows = network.must("a", "MATCH (n:Marked) RETURN n.x AS x ORDER BY x SKIP 1 LIMIT 1");
    assert_eq!(numbers(&rows), [[20]]);
    network.must("a", "MATCH (n:Marked) REMOVE n.x, n:Marked");
    assert!(network.must("a", "MATCH (n:Marked) RETURN n").is_empty());
    network.must(
        "a",
        "MERGE (n:T {i: 5}) ON MATCH SET n.seen = true ON CREATE SET n.seen = false",
    );
    network.must(
        "a",
        "MERGE (n:T {i: 6}) ON MATCH SET n.seen = true ON CREATE SET n.seen = false",
    );
    let rows = network.must(
        "a",
        "MATCH (n:T) WHERE n.seen IS NOT NULL RETURN n.i, n.seen ORDER BY n.i",
    );
    assert_eq!(rows, [[5.into(), true.into()], [6.into(), false.into()]]);
    let failure = network.query("a", "MATCH (n:T {i: 1}) DELETE n").unwrap_err();
    assert_eq!(
        failure.message,
        "Failed to remove node because of its existing connections. Consider using DETACH DELETE."
    );
    network.must("a", "MATCH (n:T {i: 1}) DETACH DELETE n");
    assert_eq!(network.count("a"), 5);
    let rows = network.must("a", "WITH 3 AS x UNWIND [x, x + 1] AS y RETURN y, y % 2 = 0");
    assert_eq!(rows, [[3.into(), false.into()], [4.into(), true.into()]]);
    let rows = network.must("a", "OPTIONAL MATCH (n:None) RETURN n, count(n)");
    assert_eq!(rows, [[Value::Null, 0.into()]]);
}

#[test]
fn nodes_and_relationships_are_returned_whole() {
    let mut network = network();
    let rows = network.must(
        "a",
        "CREATE (n:A:B {s: 'x', l: [1, 2.5, null]})-[r:R {p: true}]->(m) RETURN n, r, m, labels(n)",
    );
    let [
        Value::Node(n),
        Value::Relationship(r),
        Value::Node(m),
        Value::List(labels),
    ] = rows[0].as_slice()
    else {
        panic!("{rows:?}")
    };
    assert_eq!(n.labels, ["A", "B"]);
    assert_eq!(
        n.properties["l"],
        Value::List(vec![1.into(), 2.5.into(), Value::Null])
    );
    assert_eq!((r.start, r.end, r.kind.as_str()), (n.id, m.id, "R"));
    assert_eq!(labels.len(), 2);
}

#[test]
fn parameters_are_used() {
    let mut network = network();
    let client = network.client("a");
    let parameters = BTreeMap::from([
        (
            "props".to_owned(),
            Value::Map(BTreeMap::from([("id".to_owned(), Value::Integer(7))])),
        ),
        ("ids".to_owned(), Value::List(vec![7.into(), 8.into()])),
    ]);
    for query in ["CREATE (:T $props)", "MATCH (n:T) WHERE n.id IN $ids RETURN n.id"] {
        let request = Prepare {
            query: query.into(),
            parameters: parameters.clone(),
            ..Prepare::default()
        };
        assert!(matches!(
            network.request(&client, Request::Prepare(request)),
            Response::Prepared(_)
        ));
        let Response::Executed(executed) = network.request(&client, Request::Execute { take: None }) else {
            panic!()
        };
        if query.starts_with("MATCH") {
            assert_eq!(executed.rows, [[Value::Integer(7)]]);
        }
    }
}

#[test]
fn indexes_give_the_same_answers_as_scans() {
    let mut network = network();
    network.must("a", "UNWIND range(1, 100) AS i CREATE (:T {i: i % 10})");
    let query = "MATCH (n:T {i: 3}) RETURN count(n)";
    let before = network.must("a", query);
    network.must("a", "CREATE INDEX ON :T(i)");
    assert_eq!(network.must("a", query), before);
    network.must("a", "MATCH (n:T {i: 3}) WITH n LIMIT 4 SET n.i = 4");
    assert_eq!(numbers(&network.must("a", query)), [[6]]);
    network.must("a", "MATCH (n:T {i: 4}) DELETE n");
    assert_eq!(
        numbers(&network.must("a", "MATCH (n:T {i: 4}) RETURN count(n)")),
        [[0]]
    );
}

#[test]
fn the_second_writer_of_a_node_has_to_retry() {
    let mut network = network();
    network.must("a", "CREATE (:T {i: 0})");
    let (first, second) = (network.client("a"), network.client("a"));
    network.begin(&first);
    network.begin(&second);
    network.run_on(&first, "MATCH (n:T) SET n.i = 1").unwrap();
    let failure = network.run_on(&second, "MATCH (n:T) SET n.i = 2").unwrap_err();
    assert_eq!(failure.code, FailureCode::Transient);
    assert!(
        failure
            .message
            .starts_with("Cannot resolve conflicting transactions."),
        "{failure:?}"
    );
    assert_eq!(network.request(&second, Request::Abort), Response::Done);
    assert!(matches!(
        network.request(&first, Request::Commit),
        Response::Committed { .. }
    ));
    assert_eq!(numbers(&network.must("a", "MATCH (n:T) RETURN n.i")), [[1]]);
}

#[test]
fn a_transaction_sees_a_snapshot_and_its_own_writes() {
    let mut network = network();
    let reader = network.client("a");
    network.begin(&reader);
    network.must("a", "CREATE (:T)");
    let count = "MATCH (n:T) RETURN count(n)";
    assert_eq!(numbers(&network.run_on(&reader, count).unwrap()), [[0]]);
    network.run_on(&reader, "CREATE (:T)").unwrap();
    assert_eq!(numbers(&network.run_on(&reader, count).unwrap()), [[1]]);
    assert_eq!(network.request(&reader, Request::Rollback), Response::Done);
    assert_eq!(network.count("a"), 1);
}

#[test]
fn text_queries_open_and_close_transactions_too() {
    let mut network = network();
    let client = network.client("a");
    for query in [
        "BEGIN",
        "CREATE (:T)",
        "ROLLBACK",
        "BEGIN",
        "CREATE (:T)",
        "COMMIT",
    ] {
        network.run_on(&client, query).unwrap();
    }
    assert_eq!(network.count("a"), 1);
}

#[test]
fn large_results_stay_open_until_they_are_taken() {
    let mut network = network();
    let client = network.client("a");
    network.prepare(&client, "UNWIND range(1, 10) AS i CREATE (:T {i: i}) RETURN i");
    let Response::Executed(executed) = network.request(&client, Request::Execute { take: Some(3) }) else {
        panic!()
    };
    assert_eq!(executed.rows.len(), 10);
    assert_eq!(executed.summary, None);
    assert_eq!(network.count("a"), 0, "not committed yet");
    let Response::Finished(summary) = network.request(&client, Request::Finish) else {
        panic!()
    };
    assert_eq!(summary.execution.unwrap().changes.nodes_created, 10);
    assert_eq!(network.count("a"), 10);
}

#[test]
fn a_client_that_goes_away_takes_its_transaction_with_it() {
    let mut network = network();
    let client = network.client("a");
    network.begin(&client);
    network.run_on(&client, "CREATE (:T)").unwrap();
    assert_eq!(network.must("a", "SHOW TRANSACTIONS").len(), 2);
    network.close(&client);
    assert_eq!(network.must("a", "SHOW TRANSACTIONS").len(), 1);
    assert_eq!(network.count("a"), 0);
    // Nothing holds the storage any more.
    network.must("a", "CREATE ENUM E VALUES { x }");
}

#[test]
fn unique_access_is_not_waited_for_longer_than_a_second() {
    let mut network = network();
    let client = network.client("a");
    network.begin(&client);
    let started = network.now;
    let failure = network.query("a", "CREATE ENUM E VALUES { x }").unwrap_err();
    assert_eq!(failure.code, FailureCode::Transient);
    assert!(
        failure
            .message
            .starts_with("Cannot get unique access to the storage."),
        "{failure:?}"
    );
    assert_eq!((network.now - started).as_secs(), 1);
    // A pending unique access gates new readers.
    let waiting = network.client("a");
    network.send_request(&waiting, prepare("CREATE ENUM E VALUES { x }"));
    network.run(Duration::from_millis(500));
    let reader = network.client("a");
    network.send_request(&reader, prepare("MATCH (n) RETURN n"));
    network.run(Duration::from_millis(100));
    assert_eq!(network.response(&reader), None);
    assert!(matches!(network.wait(&waiting), Response::Failed(_)));
    assert!(matches!(network.wait(&reader), Response::Prepared(_)));
}

#[test]
fn a_terminated_transaction_fails() {
    let mut network = network();
    let client = network.client("a");
    network.begin(&client);
    let rows = network.must("a", "SHOW TRANSACTIONS");
    let id = rows[0][1].as_str().unwrap().to_owned();
    let rows = network.must("a", &format!("TERMINATE TRANSACTIONS '{id}'"));
    assert_eq!(rows, [[Value::from(id), Value::Boolean(true)]]);
    let Response::Failed(failure) = network.request(&client, Request::Commit) else {
        panic!()
    };
    assert_eq!(failure.message, "Transaction was asked to abort by another user.");
}

#[test]
fn users_protect_the_instance_once_there_are_any() {
    let mut network = network();
    assert_eq!(network.login("a", "x", "y"), Response::Authenticated);
    network.must("a", "CREATE USER bob IDENTIFIED BY 'secret'");
    assert_eq!(network.login("a", "bob", "secret"), Response::Authenticated);
    assert_eq!(
        network.login("a", "bob", "wrong"),
        Response::AuthenticationRefused
    );
    assert_eq!(network.login("a", "", ""), Response::AuthenticationRefused);
    network.restart("a");
    assert_eq!(
        network.login("a", "bob", "wrong"),
        Response::AuthenticationRefused
    );
    network.must("a", "SET PASSWORD FOR bob TO 'other'");
    assert_eq!(network.login("a", "bob", "other"), Response::Authenticated);
    network.must("a", "DROP USER bob");
    assert_eq!(network.login("a", "x", "y"), Response::Authenticated);
}

#[test]
fn information_has_the_form_of_the_release() {
    for version in Version::ALL {
        let mut network = Network::new(version, &["a"]);
        assert_eq!(
            network.must("a", "SHOW VERSION"),
            [[Value::from(version.number())]]
        );
        let storage = network.must("a", "SHOW STORAGE INFO");
        let has = |name: &str| storage.iter().any(|row| row[0].as_str() == Some(name));
        assert_eq!(has("vertex_count"), version < Version::V3_11);
        assert!(has("vm_max_map_count"));
        let refused = network.refused("a", "SHOW DATABASES");
        if version >= Version::V3_11 {
            assert_eq!(
                refused,
                "Access to multi-tenancy requires an enterprise, ai_platform, or oem license."
            );
        }
    }
}

#[test]
fn unsupported_queries_say_so() {
    let mut network = network();
    for query in ["CALL mg.procedures() YIELD name RETURN name", "RETURN rand()"] {
        let text = network.refused("a", query);
        assert!(
            text.starts_with("not supported by the simulator: "),
            "{query}: {text}"
        );
    }
}
