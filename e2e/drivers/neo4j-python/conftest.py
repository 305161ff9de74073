"""What the checks share: where the server is, and drivers that are closed in the end."""

import os
from dataclasses import dataclass

import neo4j
import pytest


@dataclass(frozen=True)
class Server:
    """The addresses to check, as e2e/drivers/README.md describes them."""

    host: str
    port: int
    users_port: int
    cut_port: int
    closed_port: int
    user: str
    password: str

    def uri(self, port=None):
        return f"bolt://{self.host}:{port or self.port}"

    def cut_uri(self):
        return f"bolt://127.0.0.1:{self.cut_port}"

    def closed_uri(self):
        return f"bolt://127.0.0.1:{self.closed_port}"


@pytest.fixture(scope="session")
def server():
    return Server(
        host=os.environ["BOLT_HOST"],
        port=int(os.environ["BOLT_PORT"]),
        users_port=int(os.environ["BOLT_USERS_PORT"]),
        cut_port=int(os.environ["BOLT_CUT_PORT"]),
        closed_port=int(os.environ["BOLT_CLOSED_PORT"]),
        user=os.environ["BOLT_USER"],
        password=os.environ["BOLT_PASSWORD"],
    )


@pytest.fixture
def driver(server):
    with neo4j.GraphDatabase.driver(server.uri()) as driver:
        yield driver


@pytest.fixture
def session(driver):
    with driver.session() as session:
        yield session


@pytest.fixture
def label(request, session):
    """A label of this check's own, without nodes."""
    name = "".join(part.capitalize() for part in request.node.name.split("[")[0].split("_"))
    session.run(f"MATCH (n:{name}) DETACH DELETE n").consume()
    return name
