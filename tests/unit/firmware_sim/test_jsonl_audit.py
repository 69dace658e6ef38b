"""The audit of what the jsonl sink wrote."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from pathlib import Path

import pytest

from firmware_sim import payload
from firmware_sim.jsonl_reader import read_jsonl
from firmware_sim.ledger import Acknowledged, Head, LedgerWriter, Sent

TOPIC = "devices/dev-1/telemetry/main"


def _line(value: bytes, *, base64_too: bool) -> bytes:
    body = {"value_base64": base64.b64encode(value).decode()} if base64_too else {"value": value.decode()}
    headers = [["mqtt-topic", TOPIC], ["seq", "1"]]
    return (
        json.dumps({"topic": "telemetry", "key": "dev-1", "timestamp": 1, "headers": headers, **body}).encode() + b"\n"
    )


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """A ledger and two files, with a message in each."""
    (tmp_path / "out").mkdir()
    writer = LedgerWriter(tmp_path / "ledger")
    writer.write(Head("m", "devices/{device}/telemetry/main", 0))
    for n in (1, 2):
        value = payload.encode("dev-1", n, 2, n, "m", 100)
        writer.write(Sent("dev-1", n, 2, n, payload.digest(value)))
        writer.write(Acknowledged("dev-1", n, n + 1))
        (tmp_path / "out" / f"{n:012d}.jsonl").write_bytes(_line(value, base64_too=n == 2))
    writer.close()
    return tmp_path / "out"


def _audit(out: Path) -> subprocess.CompletedProcess[str]:
    options = ["--ledger", str(out.parent / "ledger"), "--jsonl", str(out), "--topic", "telemetry"]
    return subprocess.run([sys.executable, "-m", "firmware_sim", "audit", *options], capture_output=True, text=True)


def test_a_clean_directory(out: Path) -> None:
    done = _audit(out)
    assert done.returncode == 0, done.stderr + done.stdout


def test_the_order_of_files_is_the_order_of_records(out: Path) -> None:
    (out / "000000000001.jsonl").rename(out / "000000000003.jsonl")
    done = _audit(out)
    assert done.returncode == 3
    assert "000000000003.jsonl:1: dev-1 1 after 2" in done.stdout


def test_a_line_that_is_not_the_sinks_is_named(out: Path) -> None:
    with (out / "000000000002.jsonl").open("ab") as file:
        file.write(b"{}\n")
    with pytest.raises(ValueError, match=r"000000000002\.jsonl:2"):
        list(read_jsonl(out, "telemetry"))
    done = _audit(out)
    assert done.returncode == 1
    assert "not a line of the jsonl sink" in done.stderr
