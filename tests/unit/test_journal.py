"""What the journal sees: a line an event, whatever a device put into it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys

from hypothesis import given, settings
from hypothesis import strategies as st

SPEAKER = """
import logging, sys
from bridge import journal
from bridge.config import Log
journal.set_up(Log(format=sys.argv[1], level=sys.argv[2]), "device")
log = logging.getLogger("bridge.device_side.front_desk")
for text in sys.stdin.buffer.read().decode("utf-8", "surrogatepass").split("\\0"):
    log.warning("refused device=%s", text)
log.info("quiet")
try:
    raise ValueError("first line\\n2026-01-01T00:00:00.000Z info device/front_desk: forged")
except ValueError:
    log.exception("it failed")
"""
LINE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z (debug|info|warning|error|critical) device/\w+: ")


def spoken(texts: list[str], form: str = "text", level: str = "warning", *, journal: bool = False) -> list[str]:
    """The lines on stderr of a process that logs each text, one at info and an exception."""
    environ = {name: value for name, value in os.environ.items() if name != "JOURNAL_STREAM"}
    if journal:
        environ["JOURNAL_STREAM"] = "8:1"
    said = "\0".join(texts).encode("utf-8", "surrogatepass")
    done = subprocess.run([sys.executable, "-c", SPEAKER, form, level], input=said, capture_output=True, env=environ)
    assert done.returncode == 0, done.stderr
    return done.stderr.decode().split("\n")[:-1]


NASTY = [
    "a\nb",
    "\r\n2026-01-01T00:00:00.000Z info device/front_desk: connected",
    "\x1b[2J",
    "\u2028",
    "\u202e",
    "\x85",
]


def test_a_device_cannot_write_a_line_of_its_own() -> None:
    lines = spoken(NASTY)
    heads = [line for line in lines if LINE.match(line)]
    assert len(heads) == len(NASTY) + 1
    assert lines[: len(NASTY)] == heads[: len(NASTY)]
    assert all(text.isprintable() for text in lines)
    assert "refused device=a\\nb" in lines[0]


@settings(max_examples=3, deadline=None)
@given(st.lists(st.text(st.characters(exclude_characters="\0")), min_size=50, max_size=200))
def test_nor_with_any_other_text(texts: list[str]) -> None:
    assert sum(1 for line in spoken(texts) if LINE.match(line)) == len(texts) + 1


def test_under_systemd_every_line_has_its_priority_and_no_time() -> None:
    lines = spoken(["x"], journal=True)
    assert lines[0] == "<4>warning device/front_desk: refused device=x"
    assert all(line.startswith("<3>") for line in lines[1:])
    assert lines[1] == "<3>error device/front_desk: it failed"


def test_levels() -> None:
    assert any("quiet" in line for line in spoken(["x"], level="info"))
    assert not any("refused" in line for line in spoken(["x"], level="error"))


def test_json_is_an_object_a_line_with_the_text_as_it_was() -> None:
    entries = [json.loads(line) for line in spoken(NASTY, "json", "info")]
    assert [entry["message"] for entry in entries[: len(NASTY)]] == [f"refused device={text}" for text in NASTY]
    first, last = entries[0], entries[-1]
    assert (first["level"], first["process"], first["part"]) == ("warning", "device", "front_desk")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", first["time"])
    assert last["message"] == "it failed"
    assert "ValueError: first line" in last["exception"]
