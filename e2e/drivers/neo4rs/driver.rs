//! neo4rs against Memgraph. The checks are those of e2e/drivers/README.md.
//!
//! It has no managed transactions and no summaries; instead it retries queries outside of transactions by itself.

mod writing;

use std::cell::Cell;
use std::time::{Duration, Instant};

use chrono::{DateTime, NaiveDate, NaiveDateTime, NaiveTime};
use futures::{TryStreamExt, future::try_join_all};
use neo4rs::{
    BoltType, ConfigBuilder, Error, Graph, Neo4jErrorKind, Node, Path, Query, Relation, Row, query,
};

const CLIENT_ERROR: &str = "Memgraph.ClientError.MemgraphError.MemgraphError";

type Result<T = ()> = std::result::Result<T, Error>;

fn environment(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set"))
}

fn server() -> String {
    format!("bolt://{}:{}", environment("BOLT_HOST"), environment("BOLT_PORT"))
}

fn with_users() -> String {
    format!(
        "bolt://{}:{}",
        environment("BOLT_HOST"),
        environment("BOLT_USERS_PORT")
    )
}

fn local(port: &str) -> String {
    format!("bolt://127.0.0.1:{}", environment(port))
}

fn connect(uri: String) -> Result<Graph> {
    log_in(uri, "", "", 200)
}

fn log_in(uri: String, user: &str, password: &str, fetch_size: usize) -> Result<Graph> {
    let config = ConfigBuilder::default()
        .uri(uri)
        .user(user)
        .password(password)
        .fetch_size(fetch_size)
        .connection_timeout(Duration::from_secs(10))
        .build()?;
    Graph::connect(config)
}

async fn rows(graph: &Graph, query: impl Into<Query>) -> Result<Vec<Row>> {
    graph.execute(query).await?.into_stream().try_collect().await
}

/// The only value of a query's only row; its column is called `value`.
async fn value<T: for<'a> serde::Deserialize<'a>>(graph: &Graph, query: impl Into<Query>) -> Result<T> {
    let rows = rows(graph, query).await?;
    assert_eq!(rows.len(), 1);
    Ok(rows[0].get("value")?)
}

/// A connection, and a label that no node has.
async fn prepare(check: &str) -> Result<(Graph, String)> {
    let graph = connect(server())?;
    let label = format!("{check}Rs");
    graph
        .run(query(&format!("MATCH (n:{label}) DETACH DELETE n")))
        .await?;
    Ok((graph, label))
}

fn neo4j_error(result: Result<impl Sized>) -> neo4rs::Neo4jError {
    match result.err() {
        Some(Error::Neo4j(error)) => error,
        other => panic!("no error of the server: {other:?}"),
    }
}

/// Runs the query where nothing is retried.
async fn without_retry(graph: &Graph, text: &str) -> Result {
    let mut transaction = graph.start_txn().await?;
    transaction.run(query(text)).await?;
    transaction.commit().await
}

#[tokio::test]
#[ignore = "needs a server: make sim-drivers"]
async fn connects() -> Result {
    assert_eq!(
        value::<i64>(&connect(server())?, query("RETURN 1 AS value")).await?,
        1
    );
    Ok(())
}

#[tokio::test]
#[ignore = "needs a server: make sim-drivers"]
async fn auth_without_users() -> Result {
    for (user, password) in [("", ""), ("anyone", "anything")] {
        log_in(server(), user, password, 200)?
            .run(query("RETURN 1"))
            .await?;
    }
    Ok(())
}

#[tokio::test]
#[ignore = "needs a server: make sim-drivers"]
async fn auth_with_users() -> Result {
    let user = environment("BOLT_USER");
    log_in(with_users(), &user, &environment("BOLT_PASSWORD"), 200)?
        .run(query("RETURN 1"))
        .await?;
    for (user, password) in [("", ""), (user.as_str(), "wrong")] {
        let refused = log_in(with_users(), user, password, 200)?
            .run(query("RETURN 1"))
            .await;
        assert!(
            matches!(&refused, Err(Error::AuthenticationError(text)) if text.contains("Authentication failure")),
            "{refused:?}"
        );
    }
    Ok(())
}

#[tokio::test]
#[ignore = "needs a server: make sim-drivers"]
async fn auto_commit() -> Result {
    let (graph, label) = prepare("AutoCommit").await?;
    let create = query(&format!("CREATE (n:{label} {{v: $v}}) RETURN n.v AS value")).param("v", 7);
    assert_eq!(value::<i64>(&graph, create).await?, 7);
    let read = query(&format!("MATCH (n:{label}) RETURN n.v AS value"));
    assert_eq!(value::<i64>(&graph, read).await?, 7);
    Ok(())
}

#[tokio::test]
#[ignore = "needs a server: make sim-drivers"]
async fn explicit_transaction() -> Result {
    let (graph, label) = prepare("ExplicitTransaction").await?;
    let create = query(&format!("CREATE (:{label})"));
    let count = query(&format!("MATCH (n:{label}) RETURN count(n) AS value"));
    let mut transaction = graph.start_txn().await?;
    transaction.run(create.clone()).await?;
    let mut inside = transaction.execute(count.clone()).await?;
    let row = inside.single(transaction.handle()).await?;
    assert_eq!(row.get::<i64>("value")?, 1);
    assert_eq!(value::<i64>(&graph, count.clone()).await?, 0);
    transaction.commit().await?;
    assert_eq!(value::<i64>(&graph, count.clone()).await?, 1);
    let mut transaction = graph.start_txn().await?;
    transaction.run(create.clone()).await?;
    transaction.rollback().await?;
    // A transaction that is only left behind is rolled back when its connection is used again, or closed.
    let leaving = connect(server())?;
    leaving.start_txn().await?.run(create).await?;
    leaving.run(query("RETURN 1")).await?;
    assert_eq!(value::<i64>(&graph, count).await?, 1);
    Ok(())
}

#[tokio::test]
#[ignore = "needs a server: make sim-drivers"]
async fn long_transaction() -> Result {
    let (graph, label) = prepare("LongTransaction").await?;
    let seconds = std::env::var("BOLT_LONG_SECONDS").map_or(1.0, |text| text.parse().unwrap());
    let count = query(&format!("MATCH (n:{label}) RETURN count(n) AS value"));
    let mut transaction = graph.start_txn().await?;
    for _ in 0..4 {
        transaction.run(query(&format!("CREATE (:{label})"))).await?;
        tokio::time::sleep(Duration::from_secs_f64(seconds / 4.0)).await;
    }
    let mut inside = transaction.execute(count.clone()).await?;
    let row = inside.single(transaction.handle()).await?;
    assert_eq!(row.get::<i64>("value")?, 4);
    transaction.commit().await?;
    assert_eq!(value::<i64>(&graph, count).await?, 4);
    Ok(())
}

#[tokio::test]
#[ignore = "needs a server: make sim-drivers"]
async fn retries_transient_errors() -> Result {
    let (graph, label) = prepare("RetriesTransientErrors").await?;
    graph.run(query(&format!("CREATE (:{label} {{v: 0}})"))).await?;
    let mut conflict = graph.start_txn().await?;
    conflict
        .run(query(&format!("MATCH (n:{label}) SET n.v = 10")))
        .await?;
    let increment = query(&format!("MATCH (n:{label}) SET n.v = n.v + 1"));
    let begin = Instant::now();
    // The query is retried until the other transaction has ended.
    let (incremented, rolled_back) = tokio::join!(graph.run(increment), async {
        // Enough for the first attempt to fail meanwhile.
        for _ in 0..200 {
            conflict.run(query("RETURN 1")).await?;
        }
        conflict.rollback().await
    });
    rolled_back?;
    incremented?;
    println!(
        "note: a transient error was retried for {:.2} s",
        begin.elapsed().as_secs_f64()
    );
    let read = query(&format!("MATCH (n:{label}) RETURN n.v AS value"));
    assert_eq!(value::<i64>(&graph, read).await?, 1);
    Ok(())
}

#[tokio::test]
#[ignore = "needs a server: make sim-drivers"]
async fn paging() -> Result {
    let graph = log_in(server(), "", "", 10)?;
    for count in [95, 20] {
        let numbers = query("UNWIND range(1, $count) AS n RETURN n").param("count", count);
        let found: Vec<i64> = graph
            .execute(numbers)
            .await?
            .column_into_stream::<i64>("n")
            .try_collect()
            .await?;
        assert_eq!(found, (1..=count).collect::<Vec<_>>());
    }
    // What is left of a result is discarded.
    let mut half = graph.execute(query("UNWIND range(1, 95) AS n RETURN n")).await?;
    assert!(half.next().await?.is_some());
    drop(half);
    let mut transaction = graph.start_txn().await?;
    for _ in 0..2 {
        let mut result = transaction
            .execute(query("UNWIND range(1, 25) AS n RETURN n"))
            .await?;
        let mut count = 0;
        while result.next(transaction.handle()).await?.is_some() {
            count += 1;
        }
        assert_eq!(count, 25);
    }
    transaction.commit().await
}

#[tokio::test]
#[ignore = "needs a server: make sim-drivers"]
async fn values() -> Result {
    let (graph, label) = prepare("Values").await?;
    let nested: BoltType = [
        ("list", BoltType::from(vec![1_i64, 2])),
        ("none", Option::<i64>::None.into()),
    ]
    .into_iter()
    .collect::<std::collections::HashMap<_, _>>()
    .into();
    let mixed: Vec<BoltType> = vec![
        1_i64.into(),
        "two".into(),
        3.0.into(),
        Option::<i64>::None.into(),
        vec![true].into(),
    ];
    let values: Vec<BoltType> = vec![
        Option::<i64>::None.into(),
        true.into(),
        false.into(),
        0_i64.into(),
        (-17_i64).into(),
        127_i64.into(),
        (-129_i64).into(),
        (1_i64 << 31).into(),
        i64::MAX.into(),
        i64::MIN.into(),
        0.0.into(),
        (-1.5).into(),
        1e300.into(),
        f64::INFINITY.into(),
        "".into(),
        "žluťoučký 🐎 'quoted' \"and\" \\".into(),
        Vec::<i64>::new().into(),
        mixed.into(),
        nested,
    ];
    for sent in values {
        let returned = query("RETURN $value AS value").param("value", sent.clone());
        assert_eq!(value::<BoltType>(&graph, returned).await?, sent);
        let stored = query(&format!("CREATE (n:{label} {{v: $value}}) RETURN n.v AS value"));
        assert_eq!(
            value::<BoltType>(&graph, stored.param("value", sent.clone())).await?,
            sent
        );
    }
    Ok(())
}

#[tokio::test]
#[ignore = "needs a server: make sim-drivers"]
async fn bytes_are_refused() -> Result {
    // Memgraph has no bytes: it takes them for a broken message and closes the connection.
    let graph = connect(server())?;
    let refused = graph
        .run(query("RETURN $value").param("value", vec![0_u8, 255]))
        .await;
    println!("note: bytes lead to {refused:?}");
    assert!(refused.is_err());
    assert_eq!(value::<i64>(&graph, query("RETURN 1 AS value")).await?, 1);
    Ok(())
}

#[tokio::test]
#[ignore = "needs a server: make sim-drivers"]
async fn graph_values() -> Result {
    let (graph, label) = prepare("GraphValues").await?;
    let create = format!(
        "CREATE (a:{label}:Second {{name: 'a'}})-[r:KNOWS {{since: 1999}}]->(b:{label} {{name: 'b'}})
         RETURN a, r, b, id(a) AS id"
    );
    let rows = rows(&graph, query(&create)).await?;
    let (a, b): (Node, Node) = (rows[0].get("a")?, rows[0].get("b")?);
    let r: Relation = rows[0].get("r")?;
    assert_eq!(a.labels(), [label.as_str(), "Second"]);
    assert_eq!(
        (a.get::<String>("name")?.as_str(), a.id()),
        ("a", rows[0].get::<i64>("id")?)
    );
    assert_eq!((r.typ(), r.get::<i64>("since")?), ("KNOWS", 1999));
    assert_eq!((r.start_node_id(), r.end_node_id()), (a.id(), b.id()));
    for (pattern, names) in [
        ("(a {name: 'a'})-[r]->(b)", "ab"),
        ("(b {name: 'b'})<-[r]-(a)", "ba"),
    ] {
        let text = format!("MATCH p = {pattern} WHERE a:{label} RETURN p AS value");
        let path: Path = value(&graph, query(&text)).await?;
        let found = path
            .nodes()
            .iter()
            .map(|node| node.get::<String>("name"))
            .collect::<std::result::Result<String, _>>()?;
        assert_eq!(found, names);
        assert_eq!(path.rels()[0].id(), r.id());
    }
    Ok(())
}

#[tokio::test]
#[ignore = "needs a server: make sim-drivers"]
async fn temporal_values() -> Result {
    async fn comes_back<T>(graph: &Graph, label: &str, sent: T) -> Result
    where
        T: Into<BoltType> + Clone + PartialEq + std::fmt::Debug + for<'a> serde::Deserialize<'a>,
    {
        let stored = query(&format!("CREATE (n:{label} {{v: $value}}) RETURN n.v AS value"));
        assert_eq!(
            value::<T>(graph, stored.param("value", sent.clone())).await?,
            sent
        );
        Ok(())
    }
    let (graph, label) = prepare("TemporalValues").await?;
    let (date, time): (NaiveDate, NaiveTime) =
        ("2024-02-29".parse().unwrap(), "13:14:15.123456".parse().unwrap());
    comes_back(&graph, &label, date).await?;
    comes_back(&graph, &label, time).await?;
    comes_back::<NaiveDateTime>(&graph, &label, "2024-02-29T23:59:59.999999".parse().unwrap()).await?;
    let zoned = DateTime::parse_from_rfc3339("2024-02-29T13:14:15.123456+02:00").unwrap();
    comes_back(&graph, &label, zoned).await?;
    comes_back(&graph, &label, Duration::new(90_001, 5000)).await
}

#[tokio::test]
#[ignore = "needs a server: make sim-drivers"]
async fn error_codes() -> Result {
    let (graph, label) = prepare("ErrorCodes").await?;
    for text in ["RETURN 1 +", "RETURN missing", "RETURN 1 / 0"] {
        let error = neo4j_error(rows(&graph, query(text)).await);
        assert_eq!(error.code(), CLIENT_ERROR);
        assert!(matches!(error.kind(), Neo4jErrorKind::Client(_)));
    }
    graph.run(query(&format!("CREATE (:{label} {{v: 0}})"))).await?;
    let mut conflict = graph.start_txn().await?;
    conflict
        .run(query(&format!("MATCH (n:{label}) SET n.v = 1")))
        .await?;
    let error = neo4j_error(without_retry(&graph, &format!("MATCH (n:{label}) SET n.v = 2")).await);
    assert_eq!(
        error.code(),
        "Memgraph.TransientError.MemgraphError.MemgraphError"
    );
    assert_eq!(error.kind(), Neo4jErrorKind::Transient);
    assert!(
        error
            .message()
            .contains("Cannot resolve conflicting transactions")
    );
    conflict.rollback().await
}

#[tokio::test]
#[ignore = "needs a server: make sim-drivers"]
async fn big_result() -> Result {
    let graph = connect(server())?;
    let rows = rows(
        &graph,
        query("UNWIND range(1, 50000) AS n RETURN n, toString(n) AS text"),
    )
    .await?;
    assert_eq!(rows.len(), 50_000);
    for (row, expected) in rows.iter().zip(1_i64..) {
        assert_eq!(
            (row.get::<i64>("n")?, row.get::<String>("text")?),
            (expected, expected.to_string())
        );
    }
    Ok(())
}

#[tokio::test]
#[ignore = "needs a server: make sim-drivers"]
async fn long_string() -> Result {
    let text = "0123456789abcdef".repeat(65_536);
    let graph = connect(server())?;
    let rows = rows(
        &graph,
        query("RETURN $text AS text, size($text) AS size").param("text", text.as_str()),
    )
    .await?;
    assert!(rows[0].get::<String>("text")? == text);
    assert_eq!(
        usize::try_from(rows[0].get::<i64>("size")?).ok(),
        Some(text.len())
    );
    Ok(())
}

#[tokio::test]
#[ignore = "needs a server: make sim-drivers"]
async fn concurrent_queries() -> Result {
    let (graph, label) = prepare("ConcurrentQueries").await?;
    graph
        .run(query(&format!(
            "UNWIND range(0, 7) AS id CREATE (:{label} {{id: id, v: 0}})"
        )))
        .await?;
    let increment = format!("MATCH (n:{label} {{id: $id}}) SET n.v = n.v + 1");
    try_join_all((0..8_i64).map(|worker| {
        let (graph, increment) = (graph.clone(), query(&increment).param("id", worker));
        async move {
            for _ in 0..20 {
                graph.run(increment.clone()).await?;
            }
            Ok::<_, Error>(())
        }
    }))
    .await?;
    let sum = query(&format!("MATCH (n:{label}) RETURN sum(n.v) AS value"));
    assert_eq!(value::<i64>(&graph, sum).await?, 160);
    Ok(())
}

#[tokio::test]
#[ignore = "needs a server: make sim-drivers"]
async fn usable_after_failure() -> Result {
    let (graph, label) = prepare("UsableAfterFailure").await?;
    neo4j_error(graph.run(query("RETURN 1 +")).await);
    assert_eq!(value::<i64>(&graph, query("RETURN 1 AS value")).await?, 1);
    let mut transaction = graph.start_txn().await?;
    transaction.run(query(&format!("CREATE (:{label})"))).await?;
    neo4j_error(transaction.run(query("RETURN 1 / 0")).await);
    drop(transaction);
    let count = query(&format!("MATCH (n:{label}) RETURN count(n) AS value"));
    assert_eq!(value::<i64>(&graph, count).await?, 0);
    Ok(())
}

#[tokio::test]
#[ignore = "needs a server: make sim-drivers"]
async fn connection_refused() -> Result {
    let refused = connect(local("BOLT_CLOSED_PORT"))?.run(query("RETURN 1")).await;
    assert!(matches!(refused, Err(Error::IOError { .. })), "{refused:?}");
    Ok(())
}

#[tokio::test]
#[ignore = "needs a server: make sim-drivers"]
async fn tls() -> Result {
    // Not every server has it.
    let Ok(port) = std::env::var("BOLT_TLS_PORT") else {
        return Ok(());
    };
    // The certificate is the server's own.
    let graph = connect(format!("bolt+ssc://{}:{port}", environment("BOLT_HOST")))?;
    assert_eq!(value::<i64>(&graph, query("RETURN 1 AS value")).await?, 1);
    Ok(())
}

#[tokio::test]
#[ignore = "needs a server: make sim-drivers"]
async fn connection_lost() -> Result {
    for end in ["fin:query", "rst:query", "rst:result"] {
        let graph = log_in(local("BOLT_CUT_PORT"), "", "", 50_000)?;
        let text = format!("UNWIND range(1, 50000) AS n RETURN n /* cut:{end} */");
        let lost = rows(&graph, query(&text)).await;
        println!("note: {end} leads to {:?}", lost.as_ref().err());
        assert!(
            matches!(lost, Err(Error::IOError { .. } | Error::ConnectionError)),
            "{lost:?}"
        );
        assert_eq!(value::<i64>(&graph, query("RETURN 1 AS value")).await?, 1);
    }
    Ok(())
}

#[tokio::test]
#[ignore = "needs a server: make sim-drivers"]
async fn connection_lost_at_commit() -> Result {
    // The transaction is committed, but the client cannot know.
    let (graph, label) = prepare("ConnectionLostAtCommit").await?;
    let cut = connect(local("BOLT_CUT_PORT"))?;
    let lost = without_retry(&cut, &format!("CREATE (:{label}) /* cut:rst:commit */")).await;
    println!("note: a lost answer to COMMIT leads to {lost:?}");
    assert!(matches!(lost, Err(Error::IOError { .. })), "{lost:?}");
    let count = query(&format!("MATCH (n:{label}) RETURN count(n) AS value"));
    assert_eq!(value::<i64>(&graph, count).await?, 1);
    Ok(())
}

#[tokio::test]
#[ignore = "needs a server: make sim-drivers"]
async fn a_write_is_repeated_when_its_answer_is_lost() -> Result {
    let (graph, label) = prepare("AWriteIsRepeated").await?;
    let attempts = Cell::new(0);
    let work = || {
        attempts.set(attempts.get() + 1);
        let mark = if attempts.get() == 1 {
            " /* cut:rst:commit */"
        } else {
            ""
        };
        query(&format!("MERGE (n:{label} {{id: 1}}) SET n.v = 2{mark}"))
    };
    writing::write(&connect(local("BOLT_CUT_PORT"))?, work, Duration::from_secs(60)).await?;
    assert_eq!(attempts.get(), 2);
    let stored = query(&format!("MATCH (n:{label}) RETURN n.v AS value"));
    assert_eq!(value::<i64>(&graph, stored).await?, 2);
    Ok(())
}

#[tokio::test]
#[ignore = "needs a server: make sim-drivers"]
async fn a_write_that_is_wrong_is_not_repeated() -> Result {
    let attempts = Cell::new(0);
    let work = || {
        attempts.set(attempts.get() + 1);
        query("RETURN 1 / 0")
    };
    let wrong = writing::write(&connect(server())?, work, Duration::from_secs(60)).await;
    assert_eq!(neo4j_error(wrong).code(), CLIENT_ERROR);
    assert_eq!(attempts.get(), 1);
    Ok(())
}

#[tokio::test]
#[ignore = "needs a server: make sim-drivers"]
async fn an_order_is_saved_once() -> Result {
    let graph = connect(server())?;
    graph
        .run(query("MATCH (o:Order {id: 'rust'}) DETACH DELETE o"))
        .await?;
    for amount in [1, 2] {
        writing::save_order(&graph, "rust", amount).await?;
    }
    let stored = query("MATCH (o:Order {id: 'rust'}) RETURN o.amount AS value");
    assert_eq!(value::<i64>(&graph, stored).await?, 2);
    Ok(())
}
