#!/usr/bin/env python3
"""Checks the documentation: links between its files lead to files and headings that there are, and each `make` target and each
program of this repository that a command block calls exists. What the commands do is for the tests on a node, which run those of
docs/operations.md."""

import re
import subprocess
import sys
from pathlib import Path

LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
FENCE = re.compile(r"^\s*(```|~~~)")
# Made by builds, or shown as an example.
ELSEWHERE = re.compile(r"^(https?|mailto):")


def anchors(path):
    """The anchors of a file's headings, as GitHub makes them."""
    found, fenced = {}, False
    for line in path.read_text().splitlines():
        if FENCE.match(line):
            fenced = not fenced
        if fenced or not line.startswith("#"):
            continue
        title = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", line.lstrip("#").strip())
        anchor = re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")
        number = found.get(anchor, -1) + 1
        found[anchor] = number
        if number:
            found[f"{anchor}-{number}"] = 0
    return found


def links(path):
    fenced = False
    for number, line in enumerate(path.read_text().splitlines(), 1):
        if FENCE.match(line):
            fenced = not fenced
        if not fenced:
            # What stands between backticks is no link.
            for target in LINK.findall(re.sub(r"`[^`]*`", "``", line)):
                yield number, target


def commands(path):
    """Lines of shell blocks, and what stands between backticks."""
    shell = False
    for number, line in enumerate(path.read_text().splitlines(), 1):
        if FENCE.match(line):
            shell = not shell and line.strip("`~ \t") in ("sh", "bash")
        elif shell:
            yield number, line.split("#")[0]
        else:
            for code in re.findall(r"`([^`]+)`", line):
                yield number, code


def main():
    listed = subprocess.run(["git", "ls-files", "*.md"], check=True, capture_output=True, text=True).stdout.split()
    targets = set(re.findall(r"^([a-z0-9-]+):", Path("Makefile").read_text(), re.M))
    wrong, checked = [], 0
    for path in map(Path, listed):
        for number, target in links(path):
            if ELSEWHERE.match(target):
                continue
            checked += 1
            name, _, anchor = target.partition("#")
            other = (path.parent / name) if name else path
            if not other.exists():
                wrong.append(f"{path}:{number}: {target}: there is no {other}")
            elif anchor and other.suffix == ".md" and anchor not in anchors(other):
                wrong.append(f"{path}:{number}: {target}: {other} has no such heading")
        for number, command in commands(path):
            # Only where it is called: `apt-get install make gcc` calls something else.
            for target in re.findall(r"(?:^|[;&|]|=\S+)\s*make(?:\s+--?\S+)*\s+([a-z][a-z0-9-]*)(?![\w=])", command):
                checked += 1
                if target not in targets:
                    wrong.append(f"{path}:{number}: make {target}: the Makefile has no such target")
    print("\n".join(wrong))
    print(f"{checked} links and targets in {len(listed)} files, {len(wrong)} wrong")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
