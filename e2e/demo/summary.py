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
    facts = {file.name: file.read_text().strip() for file in (folder / "facts").iterdir()}
    writer = json.loads(facts["writer"])
    failover = writer["at"] - int(facts["killed_ms"]) / 1000
    before, after = json.loads(facts["read_before"]), json.loads(facts["read_after"])
    tokens = sorted({token for found in after.values() for token in found})

    change = [(label, facts[what], facts[what.replace("before", "after")]) for label, what in (("MAIN", "main_before"), ("term", "term_before"))]
    print_table([("", "before", "after"), *change])
    print(f"From the order to kill MAIN to the first acknowledged write: {failover:.2f} s,")
    print(f"of which the driver took {writer['seconds']:.2f} s; its own first pause before another try is about 1 s.\n")
    print("When each token was read from each instance:")
    rows = [("token", *after)]
    for token in tokens:
        cells = []
        for name, found in after.items():
            times = [time for time, seen in (("before", before[name]), ("after", found)) if token in seen]
            cells.append(" and ".join(times) or "NEVER")
        rows.append((token, *cells))
    print_table(rows)
    times = [line.split("\t") for line in (folder / "times").read_text().splitlines()]
    print_table([("step", "seconds"), *((title, seconds) for title, seconds in times)])
    if any(set(tokens) - set(found) for found in after.values()):
        sys.exit("a token is missing")
    print(f"Every token was read from every instance: {', '.join(after)}.")


if __name__ == "__main__":
    main()
