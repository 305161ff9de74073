//! Cypher that test workloads use, expression by expression.

use std::collections::BTreeMap;

use bolt_server::{Failure, Prepare, Request, Response, Temporal, Value, Version};

use crate::clients::Rows;
use crate::network::Network;

fn network() -> Network {
    Network::new(Version::default(), &["a"])
}

/// The only value of a query that gives one.
fn value(network: &mut Network, query: &str) -> Value {
    let rows = network.must("a", query);
    assert_eq!((rows.len(), rows[0].len()), (1, 1), "{query}");
    rows[0][0].clone()
}

fn list<T: Into<Value>>(items: impl IntoIterator<Item = T>) -> Value {
    Value::List(items.into_iter().map(Into::into).collect())
}

#[test]
fn conditions_know_unknown() {
    let mut network = network();
    network.must("a", "UNWIND [1, 2, 3, null] AS v CREATE (:N {v: v})");
    let cases: [(&str, &[i64]); 10] = [
        ("n.v > 1", &[2, 3]),
        ("n.v >= 2 AND n.v <> 3", &[2]),
        ("NOT n.v = 1", &[2, 3]),
        ("n.v = 1 OR n.v = 3", &[1, 3]),
        ("n.v = 1 XOR n.v < 3", &[2]),
        ("n.v IN [1, 3]", &[1, 3]),
        ("NOT n.v IN [1, null]", &[]),
        ("n.v IS NOT NULL", &[1, 2, 3]),
        ("1 < n.v <= 3", &[2, 3]),
        ("(n.v > 1 OR n.v IS NULL) AND n.v IS NOT NULL", &[2, 3]),
    ];
    for (condition, expected) in cases {
        let found = value(
            &mut network,
            &format!("MATCH (n:N) WHERE {condition} WITH n.v AS v ORDER BY v RETURN collect(v)"),
        );
        assert_eq!(found, list(expected.iter().copied()), "{condition}");
    }
    let rows = network.must("a", "MATCH (n:N) WHERE n.v IS NULL RETURN n.v");
    assert_eq!(rows, [[Value::Null]]);
}

#[test]
fn rows_are_sorted_and_cut() {
    let mut network = network();
    network.must("a", "UNWIND [3, 1, 2] AS v CREATE (:N {v: v, even: v % 2 = 0})");
    let rows = network.must(
        "a",
        "MATCH (n:N) RETURN n.v ORDER BY n.even DESC, n.v SKIP 1 LIMIT 2",
    );
    assert_eq!(rows, [[Value::Integer(1)], [Value::Integer(3)]]);
    let rows = network.must(
        "a",
        "MATCH (n:N) RETURN n.even AS even, sum(n.v) AS sum ORDER BY sum",
    );
    assert_eq!(rows, [[true.into(), 2.into()], [false.into(), Value::Integer(4)]]);
    let rows = network.must("a", "UNWIND [2, null, 1] AS x RETURN DISTINCT x ORDER BY x");
    assert_eq!(rows, [[1.into()], [2.into()], [Value::Null]]);
}

#[test]
fn aggregations_leave_nulls_out() {
    let mut network = network();
    let rows = network.must(
        "a",
        "UNWIND [2, null, 4, 2] AS x RETURN count(*), count(x), count(DISTINCT x), sum(x), avg(x), min(x), max(x), \
         collect(x), collect(DISTINCT x)",
    );
    let expected: Vec<Value> = vec![
        4.into(),
        3.into(),
        2.into(),
        8.into(),
        (8.0 / 3.0).into(),
        2.into(),
        4.into(),
        list([2, 4, 2]),
        list([2, 4]),
    ];
    assert_eq!(rows, [expected]);
    let rows = network.must(
        "a",
        "MATCH (n:None) RETURN count(n), sum(n.v), avg(n.v), max(n.v), collect(n)",
    );
    assert_eq!(
        rows,
        [[
            0.into(),
            0.into(),
            Value::Null,
            Value::Null,
            Value::List(Vec::new())
        ]]
    );
}

#[test]
fn functions_over_strings() {
    let mut network = network();
    let cases: [(&str, Value); 14] = [
        ("toUpper('aé')", "Aé".into()),
        ("toLower('AB')", "ab".into()),
        ("trim(' a b ')", "a b".into()),
        ("left('hello', 2) + right('hello', 2)", "helo".into()),
        ("substring('hello', 1, 3)", "ell".into()),
        ("replace('banana', 'an', '-')", "b--a".into()),
        ("reverse('abc')", "cba".into()),
        ("split('a,b', ',')", list(["a", "b"])),
        ("size('aé')", 3.into()),
        ("toString(1.50) + toString(1) + toString(true)", "1.51true".into()),
        ("toInteger('42') + toInteger(1.9)", 43.into()),
        (
            "'abc' STARTS WITH 'ab' AND 'abc' ENDS WITH 'bc' AND 'abc' CONTAINS 'b'",
            true.into(),
        ),
        ("left(null, 1)", Value::Null),
        ("coalesce(null, 'x')", "x".into()),
    ];
    for (expression, expected) in cases {
        assert_eq!(
            value(&mut network, &format!("RETURN {expression}")),
            expected,
            "{expression}"
        );
    }
    assert!(
        network
            .refused("a", "RETURN left('a', -1)")
            .contains("function left")
    );
}

#[test]
fn paths_are_values() {
    let mut network = network();
    let created = value(&mut network, "CREATE p = (:A {i: 1})-[:R {w: 2}]->(:B) RETURN p");
    let Value::Path(created) = created else {
        panic!("{created:?}")
    };
    assert_eq!(
        (created.nodes.len(), created.indices.as_slice()),
        (2, [1, 1].as_slice())
    );
    let backwards = value(&mut network, "MATCH p = (:B)<-[]-(:A) RETURN p");
    let Value::Path(backwards) = backwards else {
        panic!("{backwards:?}")
    };
    assert_eq!(backwards.indices, [-1, 1]);
    assert_eq!(
        backwards.nodes,
        [created.nodes[1].clone(), created.nodes[0].clone()]
    );
    assert_eq!(backwards.relationships, created.relationships);
    let rows = network.must(
        "a",
        "MATCH p = (n) RETURN length(p), size(nodes(p)), size(relationships(p))",
    );
    assert_eq!(
        rows,
        [
            [Value::Integer(0), 1.into(), 0.into()],
            [0.into(), 1.into(), 0.into()]
        ]
    );
    network.must("a", "CREATE (n:Loop) CREATE (n)-[:R]->(n)");
    let around = value(&mut network, "MATCH p = (:Loop)-->() RETURN p");
    let Value::Path(around) = around else {
        panic!("{around:?}")
    };
    assert_eq!(
        (around.nodes.len(), around.indices.as_slice()),
        (1, [1, 0].as_slice())
    );
    let merged = value(
        &mut network,
        "MERGE p = (:A {i: 1})-[:R {w: 2}]->(:B) RETURN nodes(p)[0].i",
    );
    assert_eq!(merged, 1.into());
    assert_eq!(
        network.refused("a", "MATCH p = (a) MATCH p = (b) RETURN p"),
        "Redeclaring variable: p."
    );
    assert!(
        network
            .refused("a", "MATCH p = (n) SET n.p = p")
            .contains("'path' cannot be used")
    );
}

#[test]
fn temporal_values_are_kept_and_compared() {
    let mut network = network();
    let client = network.client("a");
    let date = Value::Temporal(Temporal::Date { days: 19_782 });
    let mut with_date = |query: &str| -> Result<Rows, Failure> {
        let prepare = Prepare {
            query: query.into(),
            parameters: BTreeMap::from([("d".to_owned(), date.clone())]),
            ..Prepare::default()
        };
        match network.request(&client, Request::Prepare(prepare)) {
            Response::Failed(failure) => return Err(failure),
            Response::Prepared(_) => {}
            other => panic!("{other:?}"),
        }
        match network.request(&client, Request::Execute { take: None }) {
            Response::Executed(executed) => Ok(executed.rows),
            Response::Failed(failure) => Err(failure),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(
        with_date("CREATE (n:T {d: $d}) RETURN n.d").unwrap(),
        [[date.clone()]]
    );
    assert_eq!(
        with_date("MATCH (n:T {d: $d}) RETURN toString(n.d)").unwrap(),
        [["2024-02-29".into()]]
    );
    let compared = with_date("RETURN $d = date('2024-02-29'), $d < date('2024-03-01'), $d < $d").unwrap();
    assert_eq!(compared, [[Value::Boolean(true), true.into(), false.into()]]);
    let rows = network.must("a", "DUMP DATABASE");
    assert!(
        format!("{rows:?}").contains(r#"`d`: DATE(\"2024-02-29\")"#),
        "{rows:?}"
    );
}

#[test]
fn what_is_not_there_is_refused_by_name() {
    let mut network = network();
    for (query, refused) in [
        ("RETURN date()", "function date"),
        ("RETURN point({x: 1, y: 2})", "function point"),
        ("RETURN rand()", "function rand"),
        ("MATCH (a)-[*]->(b) RETURN b", "relationships of variable length"),
        (
            "MATCH (a)-->(b)-->(c) RETURN c",
            "patterns of more than one relationship",
        ),
        ("EXPLAIN RETURN 1", "EXPLAIN"),
        ("RETURN [x IN [1] | x]", "comprehensions"),
    ] {
        let message = network.refused("a", query);
        assert!(
            message.starts_with("not supported by the simulator: "),
            "{query}: {message}"
        );
        assert!(message.contains(refused), "{query}: {message}");
    }
}
