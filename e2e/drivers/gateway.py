#!/usr/bin/env python3
"""Runs the checks of all drivers through gateways, against the simulator.

    gateway.py [DRIVER...]

SIM_VERSIONS says which releases of Memgraph, by default "3.12"; without DRIVERs all are run. For each release there are the
servers of simulator.py, and a gateway process in front of each; the drivers know the gateways only. A cut connection is one
between gateway and server. All checks are made twice: with TLS that is passed
through to a server, and with TLS that ends at a gateway.
"""

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import simulator
import suite

# The operator, which is the gateway, and what stands in for its operator and its API server.
PACKAGES = ["memgraph-operator", "gateway-bench"]

# Longer than any right to lead to MAIN lasts, which is 8 s.
LONG_SECONDS = "10"


def build():
    """Builds the gateway and what it needs, and returns the folder of the binaries."""
    command = ["cargo", "build", "--locked", "--quiet"]
    for package in PACKAGES:
        command += ["--package", package]
    if subprocess.run(command, cwd=suite.REPOSITORY, check=False).returncode != 0:
        sys.exit("the gateway does not build")
    return suite.TARGET / "debug"


def mounted(folder):
    """The certificate of simulator.py, as a pod finds one that has a Secret of type kubernetes.io/tls mounted."""
    secret = Path(folder) / "secret"
    secret.mkdir()
    shutil.copy(Path(folder) / "certificate.pem", secret / "tls.crt")
    shutil.copy(Path(folder) / "key.pem", secret / "tls.key")
    return {"GATEWAY_TLS_CERTIFICATE": str(secret)}


@contextlib.contextmanager
def gateways(binaries, ports, log, environment):
    """A gateway in front of each of these ports; gives theirs."""
    servers = [f"127.0.0.1:{port}" for port in ports]
    command = [binaries / "gateway-bench", binaries / "memgraph-operator", "front", *servers]
    with subprocess.Popen(
        command,
        env={**os.environ, **environment},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=log,
        text=True,
    ) as process:
        try:
            addresses = process.stdout.readline().split()
            if len(addresses) != len(ports):
                sys.exit(f"the gateways do not serve, see {log.name}")
            yield [address.rpartition(":")[2] for address in addresses]
        finally:
            process.stdin.close()


def main():
    versions = os.environ.get("SIM_VERSIONS", "3.12").split()
    ready, failed = suite.make_ready(suite.chosen(sys.argv[1:]))
    binary, binaries = simulator.build(), build()
    logs = suite.TARGET / "test-logs"
    logs.mkdir(parents=True, exist_ok=True)
    passed = 0
    for version in versions:
        with (
            (logs / f"gateway-{version}.log").open("w") as log,
            tempfile.TemporaryDirectory(prefix="e2e-drivers-") as folder,
            simulator.server(binary, version, {}, log) as port,
            simulator.server(binary, version, simulator.USER, log) as users_port,
            simulator.server(binary, version, {}, log, *simulator.certificate(folder)) as tls_port,
            simulator.cutter(port) as (cut_port, closed_port),
            gateways(binaries, [port, users_port, tls_port, cut_port], log, {}) as led,
            gateways(binaries, [port], log, mounted(folder)) as (ending_port,),
        ):
            port, users_port, passing_port, cut_port = led
            for way, tls_port in (("passed", passing_port), ("ended", ending_port)):
                os.environ.update(
                    BOLT_HOST="127.0.0.1",
                    BOLT_PORT=port,
                    BOLT_USERS_PORT=users_port,
                    BOLT_USER=simulator.USER["MEMGRAPH_USER"],
                    BOLT_PASSWORD=simulator.USER["MEMGRAPH_PASSWORD"],
                    BOLT_TLS_PORT=tls_port,
                    BOLT_CUT_PORT=cut_port,
                    BOLT_CLOSED_PORT=closed_port,
                    BOLT_LONG_SECONDS=LONG_SECONDS,
                )
                more_passed, more_failed = suite.run(ready, f"{version}-tls-{way}", logs)
                passed += more_passed
                failed += more_failed
    suite.finish(passed, failed)


if __name__ == "__main__":
    main()
