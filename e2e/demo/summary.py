"""Prints what a run of the demo has seen, from the facts that its steps have left in a folder."""

import json
import sys
from pathlib import Path


def print_table(rows):
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip())
    print()


def main():
    folder = Path(sys.argv[1])
    facts = {file.name: file.read_text() for file in (folder / "facts").iterdir()}
    writer = json.loads(facts["writer"])
    before, after = json.loads(facts["read_before"]), json.loads(facts["read_after"])
    tokens = sorted({token for found in after.values() for token in found})

    print_table([("", "before", "after"), ("MAIN", facts["main_before"], facts["main_after"]), ("term", facts["term_before"], facts["term_after"])])
    print(f"From SIGKILL of MAIN to the first acknowledged write: {int(facts['failover_ms']) / 1000:.2f} s,")
    print(f"in {writer['attempts']} attempts of a driver that first waits about 1 s before it tries again.\n")
    rows = [("token", *after)]
    for token in tokens:
        rows.append((token, *("read, also before the failover" if token in before[name] else "read" if token in found else "MISSING" for name, found in after.items())))
    print_table(rows)
    times = [line.split("\t") for line in (folder / "times").read_text().splitlines()]
    print_table([("step", "seconds"), *((title, seconds) for title, seconds in times)])
    if any(set(tokens) - set(found) for found in after.values()):
        sys.exit("a token is missing")
    print(f"Every token was read from every instance: {', '.join(after)}.")


if __name__ == "__main__":
    main()
