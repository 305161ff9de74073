"""Writes and reads tokens with the official neo4j driver, as an application would.

    client.py write URI TOKEN
        Writes a token, with the driver's own retries. With --on-signal it connects, says "connected", and writes when it
        reads a line.
    client.py read NAME=URI ... --expect TOKEN ...
        Reads the tokens of each instance; one that has not all of them yet, as an asynchronous replica may, is read
        again until the deadline. Fails if one is missing then.

Both print one line of JSON.
"""

import argparse
import json
import sys
import time

from neo4j import READ_ACCESS, GraphDatabase
from neo4j.exceptions import DriverError, Neo4jError

# Between two readings of an instance that lags: reading is a question to the server, and answering is work.
PAUSE_SECONDS = 0.1


def connect(uri, **options):
    # Memgraph asks for no password here; notifications are a thing of Neo4j.
    return GraphDatabase.driver(uri, auth=None, **options)


def write(arguments):
    def merge(transaction):
        # MERGE, since the driver tries again: a write whose acknowledgement was lost must not be there twice.
        query = "MERGE (t:Token {id: $id}) RETURN t.id AS id"
        return transaction.run(query, id=arguments.token).single(strict=True)["id"]

    with connect(arguments.uri) as driver:
        driver.verify_connectivity()
        if arguments.on_signal:
            print("connected", flush=True)
            sys.stdin.readline()
        begin = time.monotonic()
        with driver.session(max_transaction_retry_time=arguments.deadline) as session:
            written = session.execute_write(merge)
        seconds = round(time.monotonic() - begin, 3)
    print(json.dumps({"written": written, "seconds": seconds, "at": time.time()}), flush=True)


def tokens(driver):
    with driver.session(default_access_mode=READ_ACCESS) as session:
        return sorted(session.execute_read(lambda transaction: transaction.run("MATCH (t:Token) RETURN t.id AS id").value()))


def read_instance(uri, expected, deadline):
    """The tokens of one instance, and the error if it could not be read."""
    found, error = [], None
    with connect(uri, connection_timeout=5) as driver:
        while True:
            try:
                found, error = tokens(driver), None
            except (DriverError, Neo4jError) as failure:
                error = f"{type(failure).__name__}: {failure}"
            if expected <= set(found) or time.monotonic() > deadline:
                return found, error
            time.sleep(PAUSE_SECONDS)


def read(arguments):
    expected = set(arguments.expect)
    deadline = time.monotonic() + arguments.deadline
    result, complaints = {}, []
    for target in arguments.targets:
        name, uri = target.split("=", 1)
        found, error = read_instance(uri, expected, deadline)
        result[name] = found
        missing = sorted(expected - set(found))
        if missing:
            complaints.append(f"{name} ({uri}) lacks {', '.join(missing)}; it has {found}{f'; {error}' if error else ''}")
    print(json.dumps(result))
    if complaints:
        sys.exit("\n".join(complaints))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    for name, command in (("write", write), ("read", read)):
        subparser = commands.add_parser(name)
        subparser.set_defaults(command=command)
        subparser.add_argument("--deadline", type=float, default=60, help="seconds")
        if name == "write":
            subparser.add_argument("--on-signal", action="store_true")
            subparser.add_argument("uri")
            subparser.add_argument("token")
        else:
            subparser.add_argument("--expect", action="append", default=[])
            subparser.add_argument("targets", nargs="+")
    arguments = parser.parse_args()
    try:
        arguments.command(arguments)
    except (DriverError, Neo4jError) as error:
        sys.exit(f"{type(error).__name__}: {error}")


if __name__ == "__main__":
    main()
