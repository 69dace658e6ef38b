"""The list of topics of the Eclipse Paho interoperability tests, and which tests of ours are about each.

Marked by `@pytest.mark.paho("…")`; a section of docs/mqtt-conformance.md, by the same command.
"""

from __future__ import annotations

import ast
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).parents[2]
TOPICS = (
    "basic",
    "retained",
    "offline queueing",
    "will",
    "overlapping",
    "keep-alive",
    "redelivery",
    "zero-length client id",
    "dollar topics",
    "unsubscribe",
    "session expiry",
    "shared",
    "topic aliases",
    "flow control",
    "will delay",
    "server keep-alive",
    "request and response",
    "subscribe options",
    "subscription identifiers",
    "maximum packet size",
)
"""Those up to "unsubscribe" belong to 3.1.1 and 5, the others to 5 alone."""
_WORDS = """\
## What the Eclipse Paho interoperability tests ask

Each topic of that list and the tests of ours about it, over real sockets. The engine or the broker was broken once for
each of them in a copy of the tree (2026-11-21), and the tests named here saw it.

| topic | tests |
| --- | --- |"""


def marks() -> dict[str, list[str]]:
    """The tests by the topic they are marked with, as PATH::NAME."""
    found: dict[str, list[str]] = defaultdict(list)
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        for function in ast.walk(ast.parse(path.read_text())):
            if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
                for mark in function.decorator_list:
                    if isinstance(mark, ast.Call) and ast.unparse(mark.func) == "pytest.mark.paho":
                        found[ast.literal_eval(mark.args[0])].append(f"{path.relative_to(ROOT)}::{function.name}")
    return found


def section() -> list[str]:
    """Lines of Markdown."""
    tests = marks()
    rows = [(topic, "<br>".join(f"`{test.removeprefix('tests/')}`" for test in tests[topic])) for topic in TOPICS]
    return [*_WORDS.splitlines(), *(f"| {topic} | {named} |" for topic, named in rows)]
