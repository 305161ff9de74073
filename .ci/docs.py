#!/usr/bin/env python3
"""Checks the documentation:

- links between its files lead to files and headings that there are;
- each `make` target that a command calls exists;
- each block says what it is. One of shell commands (```sh) is in a document that a test plays as it stands there; what no test
  plays is ```text. One in a programming language stands so in the file that is named in a comment before it, which a test runs;
- each condition, reason, phase, Event and label of the code has a row in the reference, and nothing else has one.

What the commands do is for the tests on a node."""

import re
import subprocess
import sys
from pathlib import Path

LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
FENCE = re.compile(r"^(\s*)(`{3,}|~{3,})\s*([^`]*)$")
# Made by builds, or shown as an example.
ELSEWHERE = re.compile(r"^(https?|mailto):")

# The documents whose shell blocks a test plays. Each test compares the blocks that there are with those that it plays.
PLAYED = {
    "docs/operations.md": "e2e/node/tests/node/operations.rs",
    "charts/memgraph-operator/README.md": "e2e/node/tests/node/chart.rs",
    "docs/getting-started.md": "e2e/node/tests/node/docs.rs",
    "docs/how-to/backup.md": "e2e/node/tests/node/docs.rs",
    "docs/how-to/monitor.md": "e2e/node/tests/node/docs.rs",
    "docs/how-to/scale.md": "e2e/node/tests/node/docs.rs",
    "docs/how-to/upgrade.md": "e2e/node/tests/node/docs.rs",
}
# What a test runs where it stands in a file of its own.
LANGUAGES = {"python", "javascript", "go", "java", "rust", "lua"}
# What is read and not run.
PLAIN = {"text", "json", "yaml", "toml", "promql", "cypher"}
SOURCE = re.compile(r"^<!-- from (\S+) -->$")


class Document:
    """A Markdown file, taken apart."""

    def __init__(self, path):
        self.path = path
        # Lines of prose by number; blocks as (number, info, lines, what stands before it).
        self.prose, self.blocks = [], []
        block, before = None, ""
        for number, line in enumerate(path.read_text().splitlines(), 1):
            fence = FENCE.match(line)
            if block is not None:
                if fence and fence[2].startswith(block[4]) and not fence[3].strip():
                    self.blocks.append(block[:4])
                    block = None
                else:
                    block[2].append(line)
            elif fence:
                block = (number, fence[3].strip(), [], before, fence[2])
            else:
                self.prose.append((number, line))
                before = line.strip() or before

    def anchors(self):
        """The anchors of its headings, as GitHub makes them."""
        found = {}
        for _, line in self.prose:
            if not line.startswith("#"):
                continue
            title = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", line.lstrip("#").strip())
            anchor = re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")
            number = found.get(anchor, -1) + 1
            found[anchor] = number
            if number:
                found[f"{anchor}-{number}"] = 0
        return found

    def paragraphs(self):
        """The prose between empty lines and blocks: the number of its first line, and its text."""
        first, last, lines = 0, 0, []
        for number, line in [*self.prose, (0, "")]:
            if lines and (not line.strip() or number != last + 1):
                yield first, "\n".join(lines)
                lines = []
            if line.strip():
                first = first if lines else number
                lines.append(line)
            last = number

    def links(self):
        for first, text in self.paragraphs():
            # What stands between backticks is no link.
            text = re.sub(r"`[^`]*`", lambda code: "\n" * code[0].count("\n"), text)
            for link in LINK.finditer(text):
                yield first + text.count("\n", 0, link.end()), link[1]

    def commands(self):
        """Lines of shell blocks and of text, and what stands between backticks."""
        for number, info, lines, _ in self.blocks:
            if info in ("sh", "text"):
                for offset, line in enumerate(lines, 1):
                    yield number + offset, line.split("#")[0]
        for first, text in self.paragraphs():
            for code in re.finditer(r"`([^`]+)`", text):
                yield first + text.count("\n", 0, code.start()), code[1]

    def rows(self):
        """What stands between backticks in the first cells of its tables."""
        for _, line in self.prose:
            if row := re.match(r"\| ((?:`[^`]+`(?:, )?)+) \|", line):
                yield from re.findall(r"`([^`]+)`", row[1])


class Check:
    """What is wrong, and how much was looked at."""

    def __init__(self):
        self.wrong, self.looked_at = [], 0

    def demand(self, true, path, number, text):
        self.looked_at += 1
        if not true:
            self.wrong.append(f"{path}:{number}: {text}")

    def links(self, document, documents):
        path = document.path
        for number, target in document.links():
            if ELSEWHERE.match(target):
                continue
            name, _, anchor = target.partition("#")
            other = (path.parent / name) if name else path
            self.demand(other.exists(), path, number, f"{target}: there is no {other}")
            if anchor and other.suffix == ".md" and other.exists():
                there = documents.get(other.resolve()) or Document(other)
                self.demand(anchor in there.anchors(), path, number, f"{target}: {other} has no such heading")

    def targets(self, document, targets):
        for number, command in document.commands():
            # Only where it is called: `apt-get install make gcc` calls something else.
            for target in re.findall(r"(?:^|[;&|]|=\S+)\s*make(?:\s+--?\S+)*\s+([a-z][a-z0-9-]*)(?![\w=])", command):
                self.demand(target in targets, document.path, number, f"make {target}: the Makefile has no such target")

    def blocks(self, document):
        path = document.path
        for first, text in document.paragraphs():
            # Four blanks make a block, too, which cannot say what it is.
            if text.startswith("    "):
                self.demand(False, path, first, "a block of code needs a fence")
        for number, info, lines, before in document.blocks:
            if info == "sh":
                test = PLAYED.get(str(path))
                played = test and Path(test).exists() and str(path) in Path(test).read_text()
                self.demand(played, path, number, "no test plays the commands of this document: mark what none plays as ```text")
            elif info in LANGUAGES:
                source = SOURCE.match(before)
                self.demand(source, path, number, f"a block in {info} needs `<!-- from FILE -->` before it: a file that a test runs")
                if source:
                    there = Path(source[1]).exists() and stands_in(lines, Path(source[1]).read_text().splitlines())
                    self.demand(there, path, number, f"this does not stand so in {source[1]}")
            else:
                self.demand(info in PLAIN, path, number, f"a block must say what it is: sh, or one of {', '.join(sorted(PLAIN))}")

    def table(self, page, documents, what, names):
        """Every name has a row on the page."""
        document = documents.get(Path(page).resolve())
        self.demand(document, page, 0, "there is no such page")
        rows = set(document.rows()) if document else set()
        for name in sorted(names):
            self.demand(name in rows, page, 0, f"{what} {name} has no row")
        return rows


def stands_in(lines, text):
    """Whether lines follow each other in a text, whatever they are indented by together there."""

    def moved(block):
        margin = min((len(line) - len(line.lstrip()) for line in block if line.strip()), default=0)
        return [line[margin:].rstrip() for line in block]

    size = len(lines)
    wanted = moved(lines)
    return any(moved(text[at : at + size]) == wanted for at in range(len(text) - size + 1))


def production_code():
    """The sources of the operator without tests."""
    for path in Path("src").rglob("*.rs"):
        if "tests" not in path.parts and path.stem != "tests":
            yield path.read_text().split("#[cfg(test)]")[0]


def variants(file, enum):
    """The names that an enum's `as_str` gives."""
    body = re.search(rf"impl {enum} \{{.*?\n\}}\n", Path(file).read_text(), re.S)
    return set(re.findall(r'Self::\w+ => "(\w+)"', body[0])) if body else set()


def reference(check, documents):
    """What the code has is what the reference describes."""
    kinds = variants("src/api/conditions.rs", "ConditionType")
    reasons = variants("src/api/conditions.rs", "Reason")
    phases = re.search(r"pub enum Phase \{(.*?)\n\}", Path("src/api/status.rs").read_text(), re.S)
    phases = set(re.findall(r"^    (\w+),", phases[1], re.M)) if phases else set()
    events = set()
    for code in production_code():
        events |= set(re.findall(r'EventType::\w+,\s*"(\w+)"', code))
        events |= set(re.findall(r'SwitchoverState::\w+ => "(\w+)"', code))
    figures = Path("src/gateway/figures.rs").read_text()
    labels = {name: set(re.findall(rf'{name}::\w+ => "(\w+)"', figures)) for name in ("Refusal", "Ending")}
    for what, found in {"conditions": kinds, "reasons": reasons, "phases": phases, "events": events, **labels}.items():
        check.demand(len(found) > 4, ".ci/docs.py", 0, f"the {what} of the code were not found: {sorted(found)}")
    page = "docs/reference/conditions.md"
    rows = check.table(page, documents, "condition", kinds)
    check.table(page, documents, "reason", reasons)
    check.table(page, documents, "phase", phases)
    check.demand(rows <= kinds | reasons | phases, page, 0, f"unknown to the code: {sorted(rows - kinds - reasons - phases)}")
    page = "docs/reference/events.md"
    rows = check.table(page, documents, "Event", events)
    check.demand(rows <= events, page, 0, f"unknown to the code: {sorted(rows - events)}")
    for names in labels.values():
        check.table("docs/reference/metrics.md", documents, "reason", names)


def main():
    listed = subprocess.run(["git", "ls-files", "*.md"], check=True, capture_output=True, text=True).stdout.split()
    documents = {path.resolve(): Document(path) for path in map(Path, listed) if path.exists()}
    targets = set(re.findall(r"^([a-z0-9-]+):", Path("Makefile").read_text(), re.M))
    check = Check()
    for document in documents.values():
        check.links(document, documents)
        check.targets(document, targets)
        check.blocks(document)
    for document, test in PLAYED.items():
        check.demand(Path(document).exists(), document, 0, f"{test} plays it, but it is not there")
    reference(check, documents)
    print("\n".join(check.wrong))
    print(f"{check.looked_at} links, targets, blocks and rows in {len(documents)} files, {len(check.wrong)} wrong")
    sys.exit(1 if check.wrong else 0)


if __name__ == "__main__":
    main()
