"""The official Python driver against Memgraph. The checks are those of e2e/drivers/README.md."""

import os
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from datetime import date, datetime, time as clock_time, timedelta, timezone

import neo4j
import neo4j.time
import pytest
from neo4j.exceptions import AuthError, ClientError, DriverError, Neo4jError, ServiceUnavailable, SessionExpired, TransientError
from python_values import VALUES
from writing import save_order, write

CLIENT_ERROR = "Memgraph.ClientError.MemgraphError.MemgraphError"
TRANSIENT_ERROR = "Memgraph.TransientError.MemgraphError.MemgraphError"


def test_connect(driver):
    driver.verify_connectivity()
    info = driver.get_server_info()
    assert info.agent.startswith("Neo4j/")
    assert info.protocol_version == (5, 2)


def test_auth_without_users(server):
    for auth in (None, ("anyone", "anything")):
        with neo4j.GraphDatabase.driver(server.uri(), auth=auth) as driver:
            driver.verify_connectivity()


def test_auth_with_users(server):
    uri = server.uri(server.users_port)
    with neo4j.GraphDatabase.driver(uri, auth=(server.user, server.password)) as driver:
        driver.verify_connectivity()
    for auth in (None, (server.user, "wrong"), ("stranger", server.password)):
        with neo4j.GraphDatabase.driver(uri, auth=auth) as driver, pytest.raises(Neo4jError) as raised:
            driver.verify_connectivity()
        assert raised.value.code == "Memgraph.ClientError.Security.Unauthenticated"
        assert not raised.value.is_retryable()


def test_change_of_user(server, session):
    # Before 3.12 Memgraph does not answer LOGOFF: the driver would wait for ever.
    if version(session) < (3, 12):
        pytest.skip("LOGOFF is not answered")
    right = (server.user, server.password)
    with neo4j.GraphDatabase.driver(server.uri(server.users_port), auth=right) as driver:
        assert driver.verify_authentication(auth=right) is True
        with driver.session(auth=right) as other:
            assert other.run("RETURN 1").single(strict=True).value() == 1


def version(session):
    """Memgraph's major and minor version."""
    text = session.run("SHOW VERSION").single(strict=True).value()
    return tuple(int(part) for part in text.split(".")[:2])


def test_auto_commit(driver, session, label):
    created = session.run(f"CREATE (n:{label} {{v: $v}}) RETURN n.v AS v", v=7).single(strict=True)
    assert created["v"] == 7
    records, summary, keys = driver.execute_query(f"MATCH (n:{label}) RETURN n.v AS v")
    assert ([record["v"] for record in records], keys) == ([7], ["v"])
    assert summary.query_type == "r"
    assert summary.database == "memgraph"


def test_explicit_transaction(driver, session, label):
    count = f"MATCH (n:{label}) RETURN count(n)"
    with driver.session() as other:
        transaction = session.begin_transaction()
        transaction.run(f"CREATE (:{label})").consume()
        assert transaction.run(count).single(strict=True).value() == 1
        assert other.run(count).single(strict=True).value() == 0
        transaction.commit()
        assert other.run(count).single(strict=True).value() == 1
        transaction = session.begin_transaction()
        transaction.run(f"CREATE (:{label})").consume()
        transaction.rollback()
        # A session that ends rolls back what is open.
        with driver.session() as leaving:
            leaving.begin_transaction().run(f"CREATE (:{label})").consume()
        assert other.run(count).single(strict=True).value() == 1


def test_long_transaction(driver, session, label):
    count = f"MATCH (n:{label}) RETURN count(n)"
    with session.begin_transaction() as transaction:
        for _ in range(4):
            transaction.run(f"CREATE (:{label})").consume()
            time.sleep(float(os.environ.get("BOLT_LONG_SECONDS", "1")) / 4)
        assert transaction.run(count).single(strict=True).value() == 4
        transaction.commit()
    assert session.run(count).single(strict=True).value() == 4


def test_managed_transaction(session, label):
    session.execute_write(lambda tx: tx.run(f"UNWIND [1, 2, 3] AS v CREATE (:{label} {{v: v}})").consume())
    values = session.execute_read(
        lambda tx: tx.run(f"MATCH (n:{label}) RETURN n.v ORDER BY n.v DESC").value()
    )
    assert values == [3, 2, 1]


def test_managed_transaction_retries_transient_errors(driver, session, label):
    session.run(f"CREATE (:{label} {{v: 0}})").consume()
    begun = []

    def increment(tx):
        begun.append(time.monotonic())
        if len(begun) > 1:
            return tx.run(f"MATCH (n:{label}) SET n.v = n.v + 1 RETURN n.v").single(strict=True).value()
        with driver.session() as other, other.begin_transaction() as conflict:
            conflict.run(f"MATCH (n:{label}) SET n.v = 10").consume()
            tx.run(f"MATCH (n:{label}) SET n.v = n.v + 1").consume()
            pytest.fail("no conflict")

    assert session.execute_write(increment) == 1
    assert len(begun) == 2
    print(f"note: retried a transient error after {begun[1] - begun[0]:.2f} s")


def test_managed_transaction_does_not_retry_client_errors(session):
    attempts = []

    def fail(tx):
        attempts.append(1)
        tx.run("RETURN 1 / 0").consume()

    with pytest.raises(ClientError):
        session.execute_write(fail)
    assert len(attempts) == 1


def test_paging(driver):
    with driver.session(fetch_size=10) as session:
        assert session.run("UNWIND range(1, 95) AS n RETURN n").value() == list(range(1, 96))
        assert session.run("UNWIND range(1, 20) AS n RETURN n").value() == list(range(1, 21))
        # What is left of a result is discarded.
        half = session.run("UNWIND range(1, 95) AS n RETURN n")
        assert next(half)["n"] == 1
        half.consume()
        with session.begin_transaction() as transaction:
            first = transaction.run("UNWIND range(1, 25) AS n RETURN n")
            assert len(list(first)) == 25
            second = transaction.run("UNWIND range(1, 25) AS n RETURN n")
            assert len(list(second)) == 25


@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_values(session, label, value):
    assert session.run("RETURN $value AS value", value=value).single(strict=True)["value"] == value
    stored = session.run(f"CREATE (n:{label} {{v: $value}}) RETURN n.v", value=value)
    assert stored.single(strict=True).value() == value


def test_bytes_are_refused(session):
    # Memgraph has no bytes: it takes them for a broken message and closes the connection.
    with pytest.raises((Neo4jError, DriverError)) as raised:
        session.run("RETURN $value", value=b"\x00\xff").consume()
    print(f"note: bytes lead to {type(raised.value).__name__}: {raised.value}")
    assert session.run("RETURN 1").single(strict=True).value() == 1


def test_graph_values(session, label):
    query = (
        f"CREATE (a:{label}:Second {{name: 'a'}})-[r:KNOWS {{since: 1999}}]->(b:{label} {{name: 'b'}}) "
        "RETURN a, r, b, id(a) AS id"
    )
    record = session.run(query).single(strict=True)
    a, r, b = record["a"], record["r"], record["b"]
    assert a.labels == {label, "Second"} and dict(a) == {"name": "a"}
    assert a.element_id == str(record["id"])
    assert r.type == "KNOWS" and dict(r) == {"since": 1999}
    assert (r.start_node.element_id, r.end_node.element_id) == (a.element_id, b.element_id)
    for pattern, names in (("(a {name: 'a'})-[r]->(b)", "ab"), ("(b {name: 'b'})<-[r]-(a)", "ba")):
        path = session.run(f"MATCH p = {pattern} WHERE a:{label} RETURN p").single(strict=True)["p"]
        assert [node["name"] for node in path.nodes] == list(names)
        assert [relationship.element_id for relationship in path.relationships] == [r.element_id]
        assert path.relationships[0].start_node["name"] == "a"


def test_temporal_values(session, label):
    values = {
        "date": date(2024, 2, 29),
        "local_time": clock_time(13, 14, 15, 123456),
        "local_date_time": datetime(2024, 2, 29, 23, 59, 59, 999999),
        "zoned": datetime(2024, 2, 29, 13, 14, 15, 123456, tzinfo=timezone(timedelta(hours=2))),
    }
    for name, value in values.items():
        returned = session.run(f"CREATE (n:{label} {{v: $value}}) RETURN n.v", value=value)
        assert returned.single(strict=True).value().to_native() == value, name
    # Memgraph keeps microseconds; days and seconds are told apart anew.
    duration = neo4j.time.Duration(days=1, hours=25, seconds=1, nanoseconds=5000)
    returned = session.run("RETURN $value", value=duration).single(strict=True).value()
    assert returned == neo4j.time.Duration(days=2, hours=1, seconds=1, nanoseconds=5000)


def test_error_codes(driver, session, label):
    for query in ("RETURN 1 +", "RETURN missing", "RETURN 1 / 0"):
        with pytest.raises(ClientError) as raised:
            session.run(query).consume()
        assert raised.value.code == CLIENT_ERROR
        assert not raised.value.is_retryable()
    session.run(f"CREATE (:{label} {{v: 0}})").consume()
    with driver.session() as other, other.begin_transaction() as conflict:
        conflict.run(f"MATCH (n:{label}) SET n.v = 1").consume()
        with pytest.raises(TransientError) as raised:
            session.run(f"MATCH (n:{label}) SET n.v = 2").consume()
    assert raised.value.code == TRANSIENT_ERROR
    assert raised.value.is_retryable()
    assert "Cannot resolve conflicting transactions" in raised.value.message


def test_notifications(session, label):
    summary = session.run(f"CREATE INDEX ON :{label}(v)").consume()
    with warnings.catch_warnings(action="ignore", category=DeprecationWarning):
        # What stands in for them is made of what Memgraph does not send.
        [notification] = summary.notifications
    assert notification["code"] == "CreateIndex"
    assert label in notification["title"]
    assert notification["severity"] == "INFO"
    session.run(f"DROP INDEX ON :{label}(v)").consume()


def test_summary_counters(session, label):
    counters = session.run(f"CREATE (:{label} {{a: 1, b: 2}})-[:R]->(:{label})").consume().counters
    assert counters.contains_updates
    assert (counters.nodes_created, counters.relationships_created) == (2, 1)
    assert (counters.labels_added, counters.properties_set) == (2, 2)
    counters = session.run(f"MATCH (n:{label}) DETACH DELETE n").consume().counters
    assert (counters.nodes_deleted, counters.relationships_deleted) == (2, 1)
    assert not session.run("RETURN 1").consume().counters.contains_updates


def test_big_result(session):
    rows = session.run("UNWIND range(1, 50000) AS n RETURN n, toString(n) AS text")
    total = 0
    for row in rows:
        assert row["text"] == str(row["n"])
        total += row["n"]
    assert total == 50000 * 50001 // 2


def test_long_string(session):
    text = "0123456789abcdef" * 65536
    returned = session.run("RETURN $text AS text, size($text) AS size", text=text).single(strict=True)
    assert (returned["text"] == text, returned["size"]) == (True, len(text))


def test_concurrent_sessions(driver, session, label):
    session.run(f"UNWIND range(0, 7) AS id CREATE (:{label} {{id: id, v: 0}})").consume()

    def work(worker):
        with driver.session() as own:
            for _ in range(20):
                increment = f"MATCH (n:{label} {{id: $id}}) SET n.v = n.v + 1"
                own.execute_write(lambda tx: tx.run(increment, id=worker).consume())

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
    assert session.run(f"MATCH (n:{label}) RETURN sum(n.v)").single(strict=True).value() == 160


def test_session_after_failure(session, label):
    with pytest.raises(ClientError):
        session.run("RETURN 1 +").consume()
    assert session.run("RETURN 1").single(strict=True).value() == 1
    with pytest.raises(ClientError), session.begin_transaction() as transaction:
        transaction.run(f"CREATE (:{label})").consume()
        transaction.run("RETURN 1 / 0").consume()
    assert session.run(f"MATCH (n:{label}) RETURN count(n)").single(strict=True).value() == 0


def test_connection_refused(server):
    with neo4j.GraphDatabase.driver(server.closed_uri()) as driver, pytest.raises(ServiceUnavailable):
        driver.verify_connectivity()


@pytest.mark.skipif("BOLT_TLS_PORT" not in os.environ, reason="there is no server with TLS")
def test_tls(server):
    port = os.environ["BOLT_TLS_PORT"]
    # The certificate is the server's own.
    with neo4j.GraphDatabase.driver(f"bolt+ssc://{server.host}:{port}") as driver:
        driver.verify_connectivity()
        assert driver.get_server_info().protocol_version == (5, 2)
    for scheme in ("bolt+s", "bolt"):
        with neo4j.GraphDatabase.driver(f"{scheme}://{server.host}:{port}") as driver, pytest.raises(DriverError):
            driver.verify_connectivity()


@pytest.mark.parametrize("end", ["fin:query", "rst:query", "rst:result"])
def test_connection_lost(server, end):
    with neo4j.GraphDatabase.driver(server.cut_uri()) as driver, driver.session(fetch_size=-1) as session:
        with pytest.raises((ServiceUnavailable, SessionExpired)) as raised:
            session.run(f"UNWIND range(1, 50000) AS n RETURN n /* cut:{end} */").consume()
        assert raised.value.is_retryable()
        assert session.run("RETURN 1").single(strict=True).value() == 1


def test_managed_transaction_retries_a_lost_connection(server):
    begun = []

    def work(tx):
        begun.append(time.monotonic())
        return tx.run("RETURN 1 /* cut:rst:query */" if len(begun) == 1 else "RETURN 2").single().value()

    with neo4j.GraphDatabase.driver(server.cut_uri()) as driver, driver.session() as session:
        assert session.execute_write(work) == 2
    assert len(begun) == 2
    print(f"note: retried a lost connection after {begun[1] - begun[0]:.2f} s")


def test_connection_lost_at_commit(server, session, label):
    # The transaction is committed, but the client cannot know.
    attempts = []

    def work(tx):
        attempts.append(1)
        tx.run(f"CREATE (:{label}) /* cut:rst:commit */").consume()

    with neo4j.GraphDatabase.driver(server.cut_uri()) as driver, driver.session() as cut:
        with pytest.raises(ServiceUnavailable) as raised:
            cut.execute_write(work)
    print(f"note: a lost answer to COMMIT leads to {type(raised.value).__name__}; attempts: {len(attempts)}")
    assert not raised.value.is_retryable()
    assert len(attempts) == 1
    assert session.run(f"MATCH (n:{label}) RETURN count(n)").single(strict=True).value() == 1


def test_a_write_is_repeated_when_its_answer_is_lost(server, session, label):
    attempts = []

    def work(tx):
        attempts.append(1)
        mark = " /* cut:rst:commit */" if len(attempts) == 1 else ""
        tx.run(f"MERGE (n:{label} {{id: 1}}) SET n.v = 2{mark}").consume()

    with neo4j.GraphDatabase.driver(server.cut_uri()) as driver:
        write(driver, work)
    assert len(attempts) == 2
    assert session.run(f"MATCH (n:{label}) RETURN n.v").value() == [2]


def test_a_write_that_is_wrong_is_not_repeated(driver):
    attempts = []

    def work(tx):
        attempts.append(1)
        tx.run("RETURN 1 / 0").consume()

    with pytest.raises(ClientError):
        write(driver, work)
    assert len(attempts) == 1


def test_an_order_is_saved_once(driver, session):
    session.run("MATCH (o:Order {id: 'python'}) DETACH DELETE o").consume()
    for amount in (1, 2):
        save_order(driver, "python", amount)
    assert session.run("MATCH (o:Order {id: 'python'}) RETURN o.amount").value() == [2]
