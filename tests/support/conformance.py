"""docs/mqtt-conformance.md: each normative statement of MQTT 5 and the tests that hold it, by their marks.

`conformance_mqtt5.txt` has a line for each: its number, whom it binds (c client, s server, b both), and our own words.
`python -m tests.support.conformance` writes the page anew; a test compares.
"""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import msgspec

from tests.interop.test_foreign_clients import DIFFERENCES

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "mqtt-conformance.md"
LIST = Path(__file__).with_name("conformance_mqtt5.txt")
NOT_FOR_US = {
    "3.2.2-9": "every QoS is taken",
    "3.2.2-12": "every QoS is taken",
    "3.2.2-13": "retained messages are taken",
    "4.12.0-2": "no authentication method is offered",
    "4.12.0-4": "no authentication method is offered",
    "4.12.0-5": "no authentication method is offered",
    "4.12.1-2": "no authentication method is offered",
    "4.2-1": "TCP and TLS do",
}
"""Why a statement does not apply to this server, beside those that bind clients alone."""
_HEAD = """\
# MQTT conformance

Generated from marks on the tests (`@pytest.mark.mqtt("MQTT-…")`) by `python -m tests.support.conformance`. A mark says
that the test would fail if the statement were broken; what no mark names is *open* here, though other tests may touch it.

Numbers are those of MQTT 5.0, the words ours, written down by hand and not yet compared with the standard line by line.
The statements of 3.1.1 have numbers of their own, which are not listed yet; most tests of the engine run for both
versions. Statements that bind clients alone are listed where a test shows what the server does when they are broken.
"""


class Statement(msgspec.Struct, frozen=True):
    """One line of the list."""

    number: str
    binds: str
    words: str


def statements() -> list[Statement]:
    """All of them, in the standard's order."""
    return [Statement(*line.split(" ", 2)) for line in LIST.read_text().splitlines()]


def marks() -> dict[str, list[str]]:
    """The tests by the number of each statement that they are marked with, as PATH::NAME."""
    found: dict[str, list[str]] = defaultdict(list)
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        for function in ast.walk(ast.parse(path.read_text())):
            if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                for number in _marked(function):
                    found[number].append(f"{path.relative_to(ROOT)}::{function.name}")
    return found


def page() -> str:
    """The page in Markdown."""
    tests, listed = marks(), statements()
    rows = [(each, *_standing(each, tests.get(each.number, []))) for each in listed]
    counts = {kind: sum(standing == kind for _, standing, _ in rows) for kind in ("held", "does not apply", "open")}
    lines = [_HEAD, f"**{len(listed)} statements**: " + ", ".join(f"{count} {kind}" for kind, count in counts.items())]
    lines += ["", "| statement | in our words | | test |", "| --- | --- | --- | --- |"]
    lines += [f"| MQTT-{each.number} | {each.words} | {standing} | {why} |" for each, standing, why in rows]
    lines += ["", "## Where other brokers differ", "", _DIFFERENCES]
    lines += [f"- {broker}, {step.replace('_', ' ')}: {why}." for (broker, step), why in DIFFERENCES.items()]
    return "\n".join(lines) + "\n"


_DIFFERENCES = """\
`tests/interop/test_foreign_clients.py` runs one script against this daemon, mosquitto and amqtt's broker. mosquitto passes
all of it, as this daemon does.
"""


def _standing(statement: Statement, tests: list[str]) -> tuple[str, str]:
    if tests:
        return "held", "<br>".join(f"`{test.removeprefix('tests/')}`" for test in tests)
    if statement.number in NOT_FOR_US:
        return "does not apply", NOT_FOR_US[statement.number]
    if statement.binds == "c":
        return "does not apply", "binds clients"
    return "open", ""


def _marked(function: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) -> Iterator[str]:
    for decorator in function.decorator_list:
        if isinstance(decorator, ast.Call) and ast.unparse(decorator.func) == "pytest.mark.mqtt":
            yield from (ast.literal_eval(argument).removeprefix("MQTT-") for argument in decorator.args)


if __name__ == "__main__":
    PAGE.write_text(page())
