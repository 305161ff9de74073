"""An application that writes with the official driver, as the driver's documentation says.

    application.py URI PREFIX WRITERS

Each of its writers writes a token some twenty times a second, each in a managed transaction, with the retries that the driver makes by
itself. Only where the connection is lost during COMMIT, which this driver leaves to the application, the transaction is
repeated here, as the drivers for JavaScript and Java do by themselves. It prints a line of JSON for each transaction that is
over, and ends when its input does.
"""

import itertools
import json
import sys
import threading
import time

from neo4j import GraphDatabase
from neo4j.exceptions import DriverError, IncompleteCommit, Neo4jError

# For how long the drivers try again.
PATIENCE_SECONDS = 30
# Between two transactions of a writer. A replica that is fed after the acknowledgement falls behind, and stays there, where
# writers never pause.
PAUSE_SECONDS = 0.05


class Transaction:
    def __init__(self, token):
        self.token, self.tries, self.unanswered = token, 0, 0

    def __call__(self, transaction):
        self.tries += 1
        # The driver runs this again: a write whose acknowledgement was lost must not be there twice.
        transaction.run("MERGE (t:Token {id: $id})", id=self.token).consume()

    def run(self, driver):
        end = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                with driver.session() as session:
                    return session.execute_write(self)
            except IncompleteCommit:
                self.unanswered += 1
                if time.monotonic() > end:
                    raise


def write(driver, prefix, ended, tell):
    for number in itertools.count():
        if ended.wait(PAUSE_SECONDS):
            return
        transaction, failure = Transaction(f"{prefix}-{number}"), None
        try:
            transaction.run(driver)
        except (DriverError, Neo4jError) as error:
            failure = f"{type(error).__name__}: {error}"
        fact = {"token": transaction.token, "tries": transaction.tries, "unanswered": transaction.unanswered}
        tell({**fact, "failure": failure, "at": time.monotonic()})


def main():
    uri, prefix, writers = sys.argv[1], sys.argv[2], int(sys.argv[3])
    ended, one_line = threading.Event(), threading.Lock()

    def tell(fact):
        with one_line:
            print(json.dumps(fact), flush=True)

    with GraphDatabase.driver(uri, auth=None) as driver:
        threads = [
            threading.Thread(target=write, args=(driver, f"{prefix}-{number}", ended, tell)) for number in range(writers)
        ]
        for thread in threads:
            thread.start()
        sys.stdin.read()
        ended.set()
        for thread in threads:
            thread.join()


main()
