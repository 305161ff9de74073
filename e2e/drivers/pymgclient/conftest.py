"""What the checks share: where the server is, and connections that are closed in the end."""

import os

import mgclient
import pytest


def port(name):
    return int(os.environ[name])


@pytest.fixture
def connect():
    """Opens connections to the server, or to the address given."""
    opened = []

    def open_connection(address=None, *, autocommit=False, **options):
        host, number = address or (os.environ["BOLT_HOST"], port("BOLT_PORT"))
        connection = mgclient.connect(host=host, port=number, **options)
        opened.append(connection)
        if not options.get("lazy"):
            connection.autocommit = autocommit
        return connection

    yield open_connection
    for connection in opened:
        connection.close()


@pytest.fixture
def run(connect):
    """Runs a query of its own transaction and gives all rows."""
    connection = connect(autocommit=True)

    def run_query(query, **parameters):
        return rows(connection, query, **parameters)

    return run_query


def rows(connection, query, **parameters):
    cursor = connection.cursor()
    cursor.execute(query, parameters)
    return cursor.fetchall()


@pytest.fixture
def label(request, run):
    """A label of this check's own, without nodes."""
    name = "".join(part.capitalize() for part in request.node.name.split("[")[0].split("_")) + "Mg"
    run(f"MATCH (n:{name}) DETACH DELETE n")
    return name
