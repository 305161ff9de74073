//! Clauses and patterns.

use cypher_subset::{
    Version,
    ast::{
        Clause, Direction, Expression, Hop, Literal, Merge, NodePattern, PatternPart, Projection,
        ProjectionItem, Properties, Query, RelationshipPattern, RemoveItem, SetItem, SortItem, SortOrder,
        Statement,
    },
};

use crate::{parsed, refusal, unsupported};

fn clauses(text: &str) -> Vec<Clause> {
    match parsed(text) {
        Statement::Query(Query { clauses }) => clauses,
        other => panic!("{text}: {other:?}"),
    }
}

fn variable(name: &str) -> Expression {
    Expression::Variable(name.to_owned())
}

fn integer(value: i64) -> Expression {
    Expression::Literal(Literal::Integer(value))
}

fn node(variable: &str, labels: &[&str], properties: Option<Properties>) -> NodePattern {
    NodePattern {
        variable: (!variable.is_empty()).then(|| variable.to_owned()),
        labels: labels.iter().map(|&label| label.to_owned()).collect(),
        properties,
    }
}

fn alone(start: NodePattern) -> Vec<PatternPart> {
    vec![PatternPart {
        path: None,
        start,
        hop: None,
    }]
}

fn item(expression: Expression, name: &str, aliased: bool) -> ProjectionItem {
    ProjectionItem {
        expression,
        name: name.to_owned(),
        aliased,
    }
}

fn returning(items: Vec<ProjectionItem>) -> Projection {
    Projection {
        distinct: false,
        all_variables: false,
        items,
        order_by: vec![],
        skip: None,
        limit: None,
    }
}

#[test]
fn a_test_workload() {
    let tokens = Some(Properties::Map(vec![(
        "id".to_owned(),
        Expression::Parameter("id".to_owned()),
    )]));
    assert_eq!(
        clauses("CREATE (t:Token {id: $id}) RETURN t.id AS id;"),
        [
            Clause::Create {
                patterns: alone(node("t", &["Token"], tokens))
            },
            Clause::Return(returning(vec![item(
                Expression::Property {
                    subject: Box::new(variable("t")),
                    key: "id".to_owned()
                },
                "id",
                true
            )])),
        ]
    );
    assert_eq!(
        clauses("MATCH (n) RETURN count(n)"),
        [
            Clause::Match {
                optional: false,
                patterns: alone(node("n", &[], None)),
                filter: None
            },
            Clause::Return(returning(vec![item(
                Expression::Function {
                    name: "COUNT".to_owned(),
                    distinct: false,
                    arguments: vec![variable("n")]
                },
                "count(n)",
                false
            )])),
        ]
    );
    assert_eq!(
        clauses("UNWIND range(1, 3) AS i CREATE (:A {i: i})"),
        [
            Clause::Unwind {
                list: Expression::Function {
                    name: "RANGE".to_owned(),
                    distinct: false,
                    arguments: vec![integer(1), integer(3)]
                },
                variable: "i".to_owned()
            },
            Clause::Create {
                patterns: alone(node(
                    "",
                    &["A"],
                    Some(Properties::Map(vec![("i".to_owned(), variable("i"))]))
                ))
            },
        ]
    );
    assert_eq!(
        clauses("create (n:X) delete n"),
        [
            Clause::Create {
                patterns: alone(node("n", &["X"], None))
            },
            Clause::Delete {
                detach: false,
                targets: vec![variable("n")]
            },
        ]
    );
}

#[test]
fn patterns() {
    let relationship = |text: &str| match clauses(&format!("MATCH (a){text}(b) RETURN 1")).remove(0) {
        Clause::Match { mut patterns, .. } => patterns.remove(0).hop.unwrap().relationship,
        other => panic!("{other:?}"),
    };
    let bare = |direction| RelationshipPattern {
        variable: None,
        types: vec![],
        direction,
        properties: None,
    };
    for (text, direction) in [
        ("-->", Direction::Right),
        ("<--", Direction::Left),
        ("--", Direction::Either),
        ("<-->", Direction::Either),
        ("-[]->", Direction::Right),
        ("<-[]-", Direction::Left),
        ("-[]-", Direction::Either),
    ] {
        assert_eq!(relationship(text), bare(direction), "{text}");
    }
    assert_eq!(
        relationship("-[r:A|:B|C {w: 1}]->"),
        RelationshipPattern {
            variable: Some("r".to_owned()),
            types: vec!["A".to_owned(), "B".to_owned(), "C".to_owned()],
            direction: Direction::Right,
            properties: Some(Properties::Map(vec![("w".to_owned(), integer(1))])),
        }
    );
    assert_eq!(
        clauses("CREATE (a:A:B $props), (:C)-[:T $rel]->(), ()"),
        [Clause::Create {
            patterns: vec![
                PatternPart {
                    path: None,
                    start: node("a", &["A", "B"], Some(Properties::Parameter("props".to_owned()))),
                    hop: None
                },
                PatternPart {
                    path: None,
                    start: node("", &["C"], None),
                    hop: Some(Hop {
                        relationship: RelationshipPattern {
                            types: vec!["T".to_owned()],
                            properties: Some(Properties::Parameter("rel".to_owned())),
                            ..bare(Direction::Right)
                        },
                        end: NodePattern::default()
                    })
                },
                PatternPart {
                    path: None,
                    start: NodePattern::default(),
                    hop: None
                },
            ]
        }]
    );
}

#[test]
fn paths_have_names() {
    let named = clauses("MATCH p = (a)-->(b), (c) RETURN p");
    let Clause::Match { patterns, .. } = &named[0] else {
        panic!("{named:?}");
    };
    let names: Vec<_> = patterns.iter().map(|part| part.path.as_deref()).collect();
    assert_eq!(names, [Some("p"), None]);
}

#[test]
fn match_where_and_optional_match() {
    let parsed = clauses("MATCH (n) WHERE n:A OPTIONAL MATCH (n)-->(m) RETURN *");
    assert!(matches!(
        &parsed[0],
        Clause::Match {
            optional: false,
            filter: Some(Expression::HasLabels { .. }),
            ..
        }
    ));
    assert!(matches!(
        &parsed[1],
        Clause::Match {
            optional: true,
            filter: None,
            ..
        }
    ));
    assert_eq!(
        parsed[2],
        Clause::Return(Projection {
            all_variables: true,
            ..returning(vec![])
        })
    );
}

#[test]
fn set_and_remove() {
    let property = |key: &str, value| SetItem::Property {
        subject: variable("n"),
        key: key.to_owned(),
        value,
    };
    assert_eq!(
        clauses("MATCH (n) SET n.a = 1, n = {b: 2}, n += $p, n:L:M REMOVE n.a, n:L"),
        [
            Clause::Match {
                optional: false,
                patterns: alone(node("n", &[], None)),
                filter: None
            },
            Clause::Set(vec![
                property("a", integer(1)),
                SetItem::Replace {
                    variable: "n".to_owned(),
                    value: Expression::Map(vec![("b".to_owned(), integer(2))])
                },
                SetItem::Update {
                    variable: "n".to_owned(),
                    value: Expression::Parameter("p".to_owned())
                },
                SetItem::Labels {
                    variable: "n".to_owned(),
                    labels: vec!["L".to_owned(), "M".to_owned()]
                },
            ]),
            Clause::Remove(vec![
                RemoveItem::Property {
                    subject: variable("n"),
                    key: "a".to_owned()
                },
                RemoveItem::Labels {
                    variable: "n".to_owned(),
                    labels: vec!["L".to_owned()]
                },
            ]),
        ]
    );
    // A clause that starts like an administrative statement.
    assert!(matches!(
        &clauses("MATCH (replication) SET replication.role = 1")[1],
        Clause::Set(_)
    ));
}

#[test]
fn merge_with_actions() {
    let set = |key: &str| SetItem::Property {
        subject: variable("n"),
        key: key.to_owned(),
        value: integer(1),
    };
    assert_eq!(
        clauses("MERGE (n:A) ON CREATE SET n.a = 1 ON MATCH SET n.b = 1, n.c = 1 ON CREATE SET n.d = 1"),
        [Clause::Merge(Merge {
            pattern: PatternPart {
                path: None,
                start: node("n", &["A"], None),
                hop: None
            },
            on_create: vec![set("a"), set("d")],
            on_match: vec![set("b"), set("c")],
        })]
    );
}

#[test]
fn deletions() {
    assert_eq!(
        clauses("MATCH (n)-[r]-() DETACH DELETE r, n")[1],
        Clause::Delete {
            detach: true,
            targets: vec![variable("r"), variable("n")]
        }
    );
}

#[test]
fn projections() {
    assert_eq!(
        clauses("MATCH (n) RETURN DISTINCT n.x AS x, n ORDER BY x DESC, n.y ASC SKIP 2 LIMIT $limit")[1],
        Clause::Return(Projection {
            distinct: true,
            all_variables: false,
            items: vec![
                item(
                    Expression::Property {
                        subject: Box::new(variable("n")),
                        key: "x".to_owned()
                    },
                    "x",
                    true
                ),
                item(variable("n"), "n", false),
            ],
            order_by: vec![
                SortItem {
                    expression: variable("x"),
                    order: SortOrder::Descending
                },
                SortItem {
                    expression: Expression::Property {
                        subject: Box::new(variable("n")),
                        key: "y".to_owned()
                    },
                    order: SortOrder::Ascending
                },
            ],
            skip: Some(integer(2)),
            limit: Some(Expression::Parameter("limit".to_owned())),
        })
    );
    assert_eq!(
        clauses("MATCH (n) WITH *, 1 AS one WHERE one = 1 RETURN one")[1],
        Clause::With {
            projection: Projection {
                all_variables: true,
                ..returning(vec![item(integer(1), "one", true)])
            },
            filter: Some(Expression::Binary {
                operator: cypher_subset::ast::BinaryOperator::Equal,
                left: Box::new(variable("one")),
                right: Box::new(integer(1)),
            }),
        }
    );
}

#[test]
fn columns_are_named_as_written() {
    let names = |text: &str| match clauses(text).pop() {
        Some(Clause::Return(projection)) => projection
            .items
            .into_iter()
            .map(|item| item.name)
            .collect::<Vec<_>>(),
        other => panic!("{other:?}"),
    };
    assert_eq!(
        names("RETURN  1+ 1 ,'a' , Count( * )  AS c, {a : 1}"),
        ["1+ 1", "'a'", "c", "{a : 1}"]
    );
    assert_eq!(
        names("RETURN 1 /* one */ + 2 // two\n LIMIT 1"),
        ["1 /* one */ + 2"]
    );
    assert_eq!(names("RETURN distinct"), ["distinct"]);
    assert_eq!(names("RETURN DISTINCT 1"), ["1"]);
    assert_eq!(names("WITH 1 AS `a b` WITH `a b` RETURN `a b`"), ["`a b`"]);
    let with = clauses("WITH 1 AS `a b` WITH `a b` RETURN 1").remove(1);
    assert!(matches!(with, Clause::With { projection, .. } if projection.items[0].name == "a b"));
}

#[test]
fn clauses_in_an_order_that_memgraph_refuses() {
    for (text, message) in [
        (
            "MATCH (n)",
            "Query should either create or update something, or return results!",
        ),
        (
            "UNWIND [1] AS x",
            "Query should either create or update something, or return results!",
        ),
        ("RETURN 1 RETURN 2", "There can only be one RETURN in a clause."),
        (
            "RETURN 1 AS x WITH x RETURN x",
            "RETURN can't be put before WITH.",
        ),
        ("RETURN 1 CREATE (n)", "Update clause can't be used after RETURN."),
        (
            "CREATE (n) MATCH (m) RETURN m",
            "MATCH can't be put after RETURN clause or after an update.",
        ),
        (
            "CREATE (n) UNWIND [1] AS x RETURN x",
            "UNWIND can't be put after RETURN clause or after an update.",
        ),
        (
            "OPTIONAL MATCH (n) MATCH (m) RETURN m",
            "MATCH can't be put after OPTIONAL MATCH.",
        ),
        (
            "WITH 1 + 1 RETURN 1",
            "Only variables can be non-aliased in WITH.",
        ),
    ] {
        assert_eq!(refusal(text, Version::V3_12), message, "{text}");
    }
    clauses("CREATE (n) WITH n MATCH (m) RETURN m");
    clauses("OPTIONAL MATCH (n) WITH n MATCH (m) RETURN m");
    clauses("MATCH (n) SET n.x = 1 DELETE n RETURN 1");
}

#[test]
fn unsupported_clauses_and_patterns() {
    for (text, construct) in [
        ("RETURN 1 UNION RETURN 2", "UNION"),
        ("MATCH (n) CALL { RETURN 1 AS x } RETURN x", "CALL"),
        ("CALL mg.procedures() YIELD *", "CALL"),
        ("MATCH (n) FOREACH (x IN [1] | CREATE (n))", "FOREACH"),
        ("LOAD CSV FROM 'x' WITH HEADER AS row RETURN row", "LOAD CSV"),
        ("EXPLAIN MATCH (n) RETURN n", "EXPLAIN"),
        ("PROFILE MATCH (n) RETURN n", "PROFILE"),
        ("USING PERIODIC COMMIT 1 MATCH (n) DELETE n", "USING"),
        ("RETURN 1 QUERY MEMORY LIMIT 1 KB", "QUERY MEMORY"),
        (
            "MATCH (a)-->(b)-->(c) RETURN c",
            "patterns of more than one relationship",
        ),
        (
            "MATCH (a)-[*1..2]->(b) RETURN b",
            "relationships of variable length",
        ),
        ("MATCH (n:A|B) RETURN n", "label expressions"),
        (
            "MATCH (n:$label) RETURN n",
            "labels and types given as parameters",
        ),
        ("MATCH (n:m.x) RETURN n", "labels and types given as properties"),
        ("MATCH ((a)-->(b)) RETURN a", "patterns in parentheses"),
        (
            "MATCH (a)−−(b) RETURN a",
            "arrows drawn with other characters than <, - and >",
        ),
        ("MATCH (n) SET n.x += {a: 1}", "SET property += value"),
    ] {
        assert_eq!(unsupported(text), construct, "{text}");
    }
}
