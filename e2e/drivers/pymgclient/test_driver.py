"""Memgraph's own Python driver against Memgraph. The checks are those of e2e/drivers/README.md.

It has no managed transactions, no result summaries and no error codes: an error's type tells whether it is transient.
"""

import os
from concurrent.futures import ThreadPoolExecutor
from datetime import date, datetime, time, timedelta
from time import sleep

import mgclient
import pytest
from conftest import port, rows
from python_values import VALUES

LOCAL = "127.0.0.1"


def test_connect(connect):
    connection = connect()
    assert connection.status == mgclient.CONN_STATUS_READY
    connection.close()
    assert connection.status == mgclient.CONN_STATUS_CLOSED


def test_auth_without_users(connect):
    for credentials in ({}, {"username": "anyone", "password": "anything"}):
        assert rows(connect(**credentials), "RETURN 1") == [(1,)]


def test_auth_with_users(connect):
    address = (os.environ["BOLT_HOST"], port("BOLT_USERS_PORT"))
    user = os.environ["BOLT_USER"]
    right = connect(address, username=user, password=os.environ["BOLT_PASSWORD"])
    assert rows(right, "RETURN 1") == [(1,)]
    for credentials in ({}, {"username": user, "password": "wrong"}):
        with pytest.raises(mgclient.Error) as raised:
            connect(address, **credentials)
        print(f"note: a refused login leads to {raised.typename}: {raised.value}")
        assert "Authentication failure" in str(raised.value)
        assert not mgclient.is_transient_error(raised.value)


def test_auto_commit(connect, run, label):
    connection = connect(autocommit=True)
    assert rows(connection, f"CREATE (n:{label} {{v: $v}}) RETURN n.v AS v", v=7) == [(7,)]
    assert run(f"MATCH (n:{label}) RETURN n.v") == [(7,)]


def test_explicit_transaction(connect, run, label):
    connection = connect()
    count = f"MATCH (n:{label}) RETURN count(n)"
    rows(connection, f"CREATE (:{label})")
    assert connection.status == mgclient.CONN_STATUS_IN_TRANSACTION
    assert (rows(connection, count), run(count)) == ([(1,)], [(0,)])
    connection.commit()
    assert run(count) == [(1,)]
    rows(connection, f"CREATE (:{label})")
    connection.rollback()
    # A connection that ends rolls back what is open.
    leaving = connect()
    rows(leaving, f"CREATE (:{label})")
    leaving.close()
    assert run(count) == [(1,)]


def test_long_transaction(connect, run, label):
    connection = connect()
    count = f"MATCH (n:{label}) RETURN count(n)"
    for _ in range(4):
        rows(connection, f"CREATE (:{label})")
        sleep(float(os.environ.get("BOLT_LONG_SECONDS", "1")) / 4)
    assert rows(connection, count) == [(4,)]
    connection.commit()
    assert run(count) == [(4,)]


def test_paging(connect):
    cursor = connect(lazy=True).cursor()
    cursor.execute("UNWIND range(1, 95) AS n RETURN n")
    assert cursor.fetchone() == (1,)
    assert cursor.fetchmany(10) == [(n,) for n in range(2, 12)]
    assert cursor.fetchall() == [(n,) for n in range(12, 96)]
    assert cursor.fetchone() is None
    cursor.execute("RETURN 1")
    assert cursor.fetchall() == [(1,)]


@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_values(run, label, value):
    assert run("RETURN $value", value=value) == [(value,)]
    assert run(f"CREATE (n:{label} {{v: $value}}) RETURN n.v", value=value) == [(value,)]


def test_bytes_are_refused(run):
    # The driver itself has no bytes either.
    with pytest.raises(ValueError):
        run("RETURN $value", value=b"\x00\xff")
    assert run("RETURN 1") == [(1,)]


def test_graph_values(run, label):
    [(a, r, b, number)] = run(
        f"CREATE (a:{label}:Second {{name: 'a'}})-[r:KNOWS {{since: 1999}}]->(b:{label} {{name: 'b'}}) "
        "RETURN a, r, b, id(a)"
    )
    assert (a.id, a.labels, a.properties) == (number, {label, "Second"}, {"name": "a"})
    assert (r.type, r.properties, r.start_id, r.end_id) == ("KNOWS", {"since": 1999}, a.id, b.id)
    for pattern, names in (("(a {name: 'a'})-[r]->(b)", "ab"), ("(b {name: 'b'})<-[r]-(a)", "ba")):
        [(path,)] = run(f"MATCH p = {pattern} WHERE a:{label} RETURN p")
        assert [node.properties["name"] for node in path.nodes] == list(names)
        assert [relationship.id for relationship in path.relationships] == [r.id]


def test_temporal_values(run, label):
    values = {
        "date": date(2024, 2, 29),
        "local_time": time(13, 14, 15, 123456),
        "local_date_time": datetime(2024, 2, 29, 23, 59, 59, 999999),
        "duration": timedelta(days=2, hours=1, seconds=1, microseconds=5),
    }
    for name, value in values.items():
        assert run(f"CREATE (n:{label} {{v: $value}}) RETURN n.v", value=value) == [(value,)], name


def test_error_types(connect, run, label):
    for query in ("RETURN 1 +", "RETURN missing", "RETURN 1 / 0"):
        with pytest.raises(mgclient.DatabaseError) as raised:
            run(query)
        assert not mgclient.is_transient_error(raised.value)
    run(f"CREATE (:{label} {{v: 0}})")
    conflict = connect()
    rows(conflict, f"MATCH (n:{label}) SET n.v = 1")
    with pytest.raises(mgclient.TransientError, match="Cannot resolve conflicting transactions"):
        run(f"MATCH (n:{label}) SET n.v = 2")
    conflict.rollback()
    run(f"MATCH (n:{label}) SET n.v = 2")


def test_big_result(run):
    found = run("UNWIND range(1, 50000) AS n RETURN n, toString(n) AS text")
    assert found == [(n, str(n)) for n in range(1, 50001)]


def test_long_string(run):
    text = "0123456789abcdef" * 65536
    assert run("RETURN $text AS text, size($text) AS size", text=text) == [(text, len(text))]


def test_concurrent_connections(connect, run, label):
    run(f"UNWIND range(0, 7) AS id CREATE (:{label} {{id: id, v: 0}})")
    # A connection belongs to one thread.
    connections = [connect(autocommit=True) for _ in range(8)]

    def work(worker):
        for _ in range(20):
            rows(connections[worker], f"MATCH (n:{label} {{id: $id}}) SET n.v = n.v + 1", id=worker)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
    assert run(f"MATCH (n:{label}) RETURN sum(n.v)") == [(160,)]


def test_connection_after_failure(connect, run, label):
    connection = connect()
    with pytest.raises(mgclient.DatabaseError):
        rows(connection, "RETURN 1 +")
    connection.rollback()
    rows(connection, f"CREATE (:{label})")
    with pytest.raises(mgclient.DatabaseError):
        rows(connection, "RETURN 1 / 0")
    connection.rollback()
    assert rows(connection, f"MATCH (n:{label}) RETURN count(n)") == [(0,)]


def test_connection_refused(connect):
    with pytest.raises(mgclient.TransientError):
        connect((LOCAL, port("BOLT_CLOSED_PORT")))


@pytest.mark.skipif("BOLT_TLS_PORT" not in os.environ, reason="there is no server with TLS")
def test_tls(connect):
    address = (os.environ["BOLT_HOST"], port("BOLT_TLS_PORT"))
    assert rows(connect(address, sslmode=mgclient.MG_SSLMODE_REQUIRE), "RETURN 1") == [(1,)]


@pytest.mark.parametrize("end", ["fin:query", "rst:query", "rst:result"])
def test_connection_lost(connect, end):
    connection = connect((LOCAL, port("BOLT_CUT_PORT")), autocommit=True)
    with pytest.raises(mgclient.Error) as raised:
        rows(connection, f"UNWIND range(1, 50000) AS n RETURN n /* cut:{end} */")
    print(f"note: {end} leads to {raised.typename}: {raised.value}")
    assert mgclient.is_transient_error(raised.value)
    # There is no pool: the connection is lost for good.
    assert connection.status == mgclient.CONN_STATUS_BAD


def test_connection_lost_in_a_transaction(connect, run, label):
    # The transaction is committed, but the client cannot know.
    connection = connect((LOCAL, port("BOLT_CUT_PORT")))
    rows(connection, f"CREATE (:{label})")
    with pytest.raises(mgclient.Error) as raised:
        rows(connection, "RETURN 1 /* cut:rst:query */")
    print(f"note: a connection lost in a transaction leads to {raised.typename}: {raised.value}")
    assert connection.status == mgclient.CONN_STATUS_BAD
    assert run(f"MATCH (n:{label}) RETURN count(n)") == [(0,)]
