#!/usr/bin/env python3
"""Runs the checks of all drivers against the simulator, over several releases of Memgraph.

    simulator.py [DRIVER...]

SIM_VERSIONS says which releases, by default "3.4 3.12 HEAD"; without DRIVERs all are run. For each release three servers
are started on free ports, one without users, one with a user and one with TLS. SIM_BINARY names a simulator that is built already.
"""

import contextlib
import os
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import suite

# How long a server may take to open its port, in seconds.
PATIENCE = 30

USER = {"MEMGRAPH_USER": "checker", "MEMGRAPH_PASSWORD": "a secret: of words"}


def build():
    """Builds the simulator, unless SIM_BINARY names one, and returns the path of its binary."""
    if given := os.environ.get("SIM_BINARY"):
        return Path(given)
    command = ["cargo", "build", "--locked", "--quiet", "--package", "memgraph-sim"]
    if subprocess.run(command, cwd=suite.REPOSITORY, check=False).returncode != 0:
        sys.exit("the simulator does not build")
    return suite.TARGET / "debug" / "memgraph-sim"


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return probe.getsockname()[1]


@contextlib.contextmanager
def running(command, environment, log):
    """A process that is stopped in the end."""
    process = subprocess.Popen(
        command, env={**os.environ, **environment}, stdin=subprocess.DEVNULL, stdout=log, stderr=log
    )
    try:
        yield process
    finally:
        process.terminate()
        process.wait()


@contextlib.contextmanager
def server(binary, version, environment, log, *flags):
    """A simulator; gives its port."""
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="sim-drivers-") as folder:
        command = [
            str(binary),
            "--bolt-address=127.0.0.1",
            f"--bolt-port={port}",
            f"--data-directory={Path(folder) / 'data'}",
            *flags,
        ]
        with running(command, {"MEMGRAPH_SIM_VERSION": version, **environment}, log) as process:
            limit = time.monotonic() + PATIENCE
            while not accepts(port):
                if process.poll() is not None:
                    sys.exit(f"the simulator has ended with {process.returncode}, see {log.name}")
                if time.monotonic() > limit:
                    sys.exit(f"the simulator does not open its port within {PATIENCE} s, see {log.name}")
                time.sleep(0.01)
            yield port


def accepts(port):
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def certificate(folder):
    """Makes a certificate for this machine, and returns the flags that have a server use it."""
    certificate, key = Path(folder) / "certificate.pem", Path(folder) / "key.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
        + ["-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost", "-keyout", key, "-out", certificate],
        check=True,
        capture_output=True,
    )
    return [f"--bolt-cert-file={certificate}", f"--bolt-key-file={key}"]


@contextlib.contextmanager
def cutter(port):
    """The proxy that cuts connections; gives its port and one that refuses."""
    command = [sys.executable, suite.HERE / "cutter.py", "127.0.0.1", str(port)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        cut, closed = process.stdout.readline().split()
        try:
            yield cut, closed
        finally:
            process.stdin.close()


def main():
    versions = os.environ.get("SIM_VERSIONS", "3.4 3.12 HEAD").split()
    ready, failed = suite.make_ready(suite.chosen(sys.argv[1:]))
    binary = build()
    logs = suite.TARGET / "test-logs"
    logs.mkdir(parents=True, exist_ok=True)
    passed = 0
    for version in versions:
        with (
            (logs / f"simulator-{version}.log").open("w") as log,
            tempfile.TemporaryDirectory(prefix="sim-drivers-") as folder,
            server(binary, version, {}, log) as port,
            server(binary, version, USER, log) as users_port,
            server(binary, version, {}, log, *certificate(folder)) as tls_port,
            cutter(port) as (cut_port, closed_port),
        ):
            os.environ.update(
                BOLT_HOST="127.0.0.1",
                BOLT_PORT=str(port),
                BOLT_USERS_PORT=str(users_port),
                BOLT_USER=USER["MEMGRAPH_USER"],
                BOLT_PASSWORD=USER["MEMGRAPH_PASSWORD"],
                BOLT_TLS_PORT=str(tls_port),
                BOLT_CUT_PORT=cut_port,
                BOLT_CLOSED_PORT=closed_port,
            )
            more_passed, more_failed = suite.run(ready, version, logs)
            passed += more_passed
            failed += more_failed
    suite.finish(passed, failed)


if __name__ == "__main__":
    main()
