#!/usr/bin/env python3
"""Runs the checks of all drivers against a server that runs already.

    BOLT_HOST=127.0.0.1 BOLT_PORT=7687 .. suite.py [DRIVER...]

The environment says where the server is (see README.md); without DRIVERs all are run. One line for each driver, then
"N passed, M failed", and the exit code 1 if any failed. What a driver's own test runner says stands in a log.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parent.parent
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "memgraph-operator"
TARGET = Path(os.environ.get("CARGO_TARGET_DIR") or REPOSITORY / "target").resolve()

# How long one driver's checks may take, in seconds: ten times of what they take on an idle machine.
LIMIT = 240


class Unavailable(Exception):
    """A driver cannot be run here; the text says what to do."""


@dataclass
class Driver:
    """A driver with the program that checks it."""

    name: str
    # Programs that must be there, each with the package of Debian that has it.
    tools: dict[str, str]
    # The version of the driver that its lock file names.
    version: str
    # Installs what the checks need, with the package manager of the language.
    prepare: callable
    # The command that runs the checks, after `prepare`.
    command: list[str]
    # What stands in the output for passed and failed checks: regular expressions with the number as a group, or without
    # a group for one check each.
    passed: str
    failed: str
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def folder(self):
        return HERE / self.name

    def make_ready(self):
        """Installs what the checks need."""
        missing = [f"{tool} (Debian: {package})" for tool, package in self.tools.items() if not shutil.which(tool)]
        if missing:
            raise Unavailable(f"install {', '.join(missing)}")
        self.prepare(self)

    def run(self, log):
        """Runs the checks and returns how many passed and failed."""
        command = " ".join(self.command)
        with log.open("w") as output:
            print(f"{self.folder}$ {command}", file=output, flush=True)
            process = subprocess.Popen(
                self.command,
                cwd=self.folder,
                env={**os.environ, **self.environment},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            try:
                status = process.wait(LIMIT)
            except subprocess.TimeoutExpired:
                # The runner may have processes of its own.
                os.killpg(process.pid, signal.SIGKILL)
                status = process.wait()
                print(f"stopped after {LIMIT} s", file=output, flush=True)
        text = log.read_text()
        passed, failed = count(self.passed, text), count(self.failed, text)
        if status != 0 and failed == 0:
            failed = 1
        if status == 0 and passed == 0:
            failed += 1
        return passed, failed


def count(pattern, text):
    """The sum of the numbers that the pattern finds, or how often it fits."""
    return sum(int(found) if found.isdigit() else 1 for found in re.findall(pattern, text, re.MULTILINE))


def install(driver, *command, folder=None, **environment):
    """Runs a package manager, and returns what it prints."""
    done = subprocess.run(
        command,
        cwd=folder or driver.folder,
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise Unavailable(f"{' '.join(map(str, command))} failed:\n{done.stdout}{done.stderr}")
    return done.stdout.strip()


def pinned(file, pattern):
    """The version that a lock file names."""
    found = re.search(pattern, (REPOSITORY / file).read_text())
    return found.group(1) if found else "unknown"


def python_packages(requirements):
    """Both Python drivers: the packages of the client image, a test runner, and what the checks of both use."""

    def prepare(driver):
        script = REPOSITORY / "e2e/images/python-packages.sh"
        version = f"{sys.version_info.major}.{sys.version_info.minor}"
        files = [REPOSITORY / requirements, HERE / "requirements.txt"]
        packages = install(driver, script, version, *files)
        driver.environment["PYTHONPATH"] = os.pathsep.join([packages, str(HERE)])

    return prepare


def npm_packages(driver):
    folder = CACHE / "drivers" / "javascript"
    folder.mkdir(parents=True, exist_ok=True)
    for file in ("package.json", "package-lock.json"):
        shutil.copy(driver.folder / file, folder / file)
    if not (folder / "node_modules" / ".package-lock.json").exists() or driver.version not in installed(folder):
        install(driver, "npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", folder=folder)
    driver.environment["NODE_PATH"] = str(folder / "node_modules")


def installed(folder):
    return (folder / "node_modules" / ".package-lock.json").read_text()


def go_modules(driver):
    install(driver, "go", "mod", "download")
    # Compiles, which takes longer than the checks, and runs none.
    install(driver, "go", "test", "-run=^$", "./...")


def maven_packages(driver):
    command = [*driver.command, "-DskipTests"]
    install(driver, *command)
    driver.command.insert(1, "--offline")


def cargo_packages(driver):
    install(driver, *driver.command[: driver.command.index("--")], "--no-run")


PYTEST = ["-m", "pytest", "-p", "no:cacheprovider", "--tb=short", "-rA", "-q"]


def drivers():
    """All drivers, in the order in which they run."""
    python = sys.executable
    return [
        Driver(
            name="neo4j-python",
            tools={"python3": "python3"},
            version=pinned("e2e/images/requirements.txt", r"neo4j==([\d.]+)"),
            prepare=python_packages("e2e/images/requirements.txt"),
            command=[python, *PYTEST],
            passed=r"(\d+) passed",
            failed=r"(\d+) (?:failed|errors?)\b",
            environment={"PYTHONDONTWRITEBYTECODE": "1"},
        ),
        Driver(
            name="neo4j-javascript",
            tools={"node": "nodejs", "npm": "npm"},
            version=pinned("e2e/drivers/neo4j-javascript/package.json", r'"neo4j-driver": "([\d.]+)"'),
            prepare=npm_packages,
            command=["node", "--test", "--test-reporter=tap", "driver.test.js"],
            passed=r"^# pass (\d+)",
            failed=r"^# (?:fail|cancelled) (\d+)",
        ),
        Driver(
            name="neo4j-go",
            tools={"go": "golang-go"},
            version=pinned("e2e/drivers/neo4j-go/go.mod", r"neo4j-go-driver/v5 v([\d.]+)"),
            prepare=go_modules,
            command=["go", "test", "-v", "-count=1", "./..."],
            passed=r"^ *--- PASS",
            failed=r"^ *--- FAIL",
        ),
        Driver(
            name="neo4j-java",
            tools={"java": "default-jdk-headless", "mvn": "maven"},
            version=pinned("e2e/drivers/neo4j-java/pom.xml", r"<neo4j.version>([\d.]+)"),
            prepare=maven_packages,
            command=[
                "mvn",
                "--batch-mode",
                "--no-transfer-progress",
                f"-Dbuild.folder={TARGET / 'drivers' / 'java'}",
                "test",
            ],
            passed=r"^note: passed",
            failed=r"^note: failed",
        ),
        Driver(
            name="pymgclient",
            tools={"python3": "python3"},
            version=pinned("e2e/images/requirements-native.txt", r"pymgclient==([\d.]+)"),
            prepare=python_packages("e2e/images/requirements-native.txt"),
            command=[python, *PYTEST],
            passed=r"(\d+) passed",
            failed=r"(\d+) (?:failed|errors?)\b",
            environment={"PYTHONDONTWRITEBYTECODE": "1"},
        ),
        Driver(
            name="neo4rs",
            tools={"cargo": "rustup"},
            version=pinned("Cargo.lock", r'name = "neo4rs"\nversion = "([^"]+)"'),
            prepare=cargo_packages,
            command=["cargo", "test", "--locked", "--package", "driver-neo4rs", "--", "--ignored", "--nocapture"],
            passed=r"^test result: .* (\d+) passed",
            failed=r"^test result: .* (\d+) failed",
            environment={"CARGO_TARGET_DIR": str(TARGET)},
        ),
    ]


def chosen(names):
    """The drivers of these names; all of them without names."""
    known = drivers()
    unknown = set(names) - {driver.name for driver in known}
    if unknown:
        sys.exit(f"no driver is called {', '.join(sorted(unknown))}: {', '.join(driver.name for driver in known)}")
    return [driver for driver in known if not names or driver.name in names]


def make_ready(selected):
    """Installs what the drivers need. Returns those that can run, and how many cannot."""
    ready = []
    for driver in selected:
        try:
            driver.make_ready()
        except Unavailable as problem:
            print(f"FAILED: {driver.name} cannot be run: {problem}", flush=True)
        else:
            ready.append(driver)
    return ready, len(selected) - len(ready)


def run(ready, server, logs):
    """Runs the checks of drivers against `server`, a name for the reader. Returns how many passed and failed."""
    logs.mkdir(parents=True, exist_ok=True)
    all_passed = all_failed = 0
    for driver in ready:
        log = logs / f"{driver.name}-{server}.log"
        begin = time.monotonic()
        passed, failed = driver.run(log)
        all_passed += passed
        all_failed += failed
        seconds = time.monotonic() - begin
        mark = f"FAILED, see {log}" if failed else "ok"
        name = f"{driver.name} {driver.version}"
        print(f"{server:8} {name:26} {passed:3} passed, {failed} failed  {seconds:5.1f} s  {mark}", flush=True)
    return all_passed, all_failed


def finish(passed, failed):
    """Prints the last line and ends the program."""
    print(f"{passed} passed, {failed} failed")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    could_run, could_not = make_ready(chosen(sys.argv[1:]))
    passed_checks, failed_checks = run(could_run, os.environ.get("BOLT_SERVER", "server"), TARGET / "test-logs")
    finish(passed_checks, failed_checks + could_not)
