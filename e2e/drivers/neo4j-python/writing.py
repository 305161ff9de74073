"""Writes that outlast a change of MAIN: docs/how-to/connect.md shows this."""

import time

from neo4j.exceptions import ClientError, ServiceUnavailable, SessionExpired


def write(driver, work, patience=60.0):
    """Runs work(tx) as a transaction until it is done, for so many seconds. It may be run more than once."""
    end = time.monotonic() + patience
    while True:
        try:
            with driver.session() as session:
                return session.execute_write(work)
        except (ServiceUnavailable, SessionExpired, ClientError) as error:
            if not may_pass(error) or time.monotonic() > end:
                raise
            time.sleep(0.2)


def may_pass(error):
    # A lost connection, or an in-sync replica that was away. Anything else fails again.
    return not isinstance(error, ClientError) or "Replication Exception" in str(error)


def save_order(driver, order, amount):
    def work(tx):
        tx.run("MERGE (o:Order {id: $id}) SET o.amount = $amount", id=order, amount=amount).consume()

    write(driver, work)
