//! What texts become, release by release.
#![allow(
    clippy::unwrap_used,
    reason = "clippy allows it only inside of test functions"
)]

#[test]
fn smoke() {
    for q in [
        "RETURN 1",
        "MATCH (n:A {x: $p})-[r:T]->(m) WHERE n.x > 1 AND m.y IN [1,2] RETURN n, count(*) AS c ORDER BY c DESC SKIP 1 LIMIT 2",
        "CREATE (n:X) DELETE n",
        "UNWIND range(1,10) AS i CREATE (:A {i: i})",
        "REGISTER REPLICA mg-0 SYNC TO \"a\"",
        "SET REPLICATION ROLE TO REPLICA WITH PORT 10000;",
        "FOO",
        "RETURN",
        "RETURN 1 1",
        "",
        "MATCH (n) RETURN n LIMIT",
        "EXPLAIN MATCH (n) RETURN n",
        "RETURN (((((1)))))",
        "BEGIN;",
        "RETURN a.b.c[1..2], E::A, n:L:M, -2^2, NOT a = b, x IS NULL, CASE WHEN a THEN b ELSE c END, 'a' + 1 STARTS WITH 'x'",
        "RETURN ?",
        "CREATE INDEX ON :L(p)",
    ] {
        println!(
            "{q}\n   {:?}",
            cypher_subset::parse(q, cypher_subset::Version::V3_12)
        );
    }
    let q = format!("RETURN {}1{}", "(".repeat(63), ")".repeat(63));
    println!(
        "{:?}",
        cypher_subset::parse(&q, cypher_subset::Version::V3_12).is_ok()
    );
}
