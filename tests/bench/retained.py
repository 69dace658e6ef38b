"""`./dev bench retained`: many retained messages: how long a start takes, what they hold, what a look-up costs.

They are made through the cold store, as a daemon leaves them, and read by a process of its own, so that its memory is
theirs. The best of several runs stands.
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec
from rich import box
from rich.console import Console
from rich.table import Table

from bridge.config import Limits
from bridge.device_side.clock import Clock
from bridge.device_side.cold import ColdStore, ColdStoreFailure
from bridge.device_side.long_clock import LongClock
from bridge.device_side.retained import Retained
from bridge.message import Message
from tests.bench.support.processes import resident_bytes

RESULTS = Path(__file__).parents[2] / "bench-results"
CHECKOUT = Path(__file__).parents[2]
SITES = 100
ROOMY = Limits(retained=10_000_000, retained_bytes=1 << 34)
LOOK_UPS = ("site/7/device/{}/state", "site/+/device/{}/state", "site/7/device/+/state", "site/7/#", "no/such/+/topic")
_LOOK_UPS_S = 0.2


class Result(msgspec.Struct, frozen=True):
    """Of one start."""

    count: int
    start_s: float
    """Reading the store and sorting the topics."""
    bytes_each: float
    """Of resident memory."""
    look_up_us: dict[str, tuple[int, float]]
    """By filter: how many it finds, and microseconds for all of them."""


def make(path: Path, count: int, payload_bytes: int) -> None:
    """A store with that many."""
    store = ColdStore(path, _failed)
    retained = Retained(store, ROOMY, LongClock(Clock(), store))
    for number in range(count):
        topic = f"site/{number % SITES}/device/{number}/state"
        retained.store(Message(topic, bytes(payload_bytes), 1, retain=True))
    store.close()


def start(path: Path) -> Result:
    """Reads them, in this process, and looks some up."""
    before = resident_bytes(os.getpid())
    begun = time.perf_counter()
    store = ColdStore(path, _failed)
    retained = Retained(store, ROOMY, LongClock(Clock(), store))
    start_s = time.perf_counter() - begun
    held = resident_bytes(os.getpid()) - before
    count = len(retained)
    found = {each: _look_up(retained, each.format(count // SITES // 2 * SITES + 7)) for each in LOOK_UPS}
    store.close()
    return Result(count, start_s, held / count, found)


def _look_up(retained: Retained, topic_filter: str) -> tuple[int, float]:
    found = rounds = 0
    begun = time.perf_counter()
    while time.perf_counter() - begun < _LOOK_UPS_S:
        found = sum(1 for _ in retained.matching(topic_filter))
        rounds += 1
    return found, (time.perf_counter() - begun) / rounds * 1e6


def _failed(failure: ColdStoreFailure) -> None:
    raise failure


def _in_a_process(path: Path) -> Result:
    command = [sys.executable, "-m", "tests.bench.retained", "--start", str(path)]
    output = subprocess.run(command, cwd=CHECKOUT, check=True, capture_output=True).stdout
    return msgspec.json.decode(output, type=Result)


def main(argv: Sequence[str] | None = None) -> int:
    """Measures; returns the exit code."""
    parser = argparse.ArgumentParser(prog="./dev bench retained", description=__doc__)
    parser.add_argument("--messages", type=int, default=100_000)
    parser.add_argument("--payload", type=int, default=128, help="bytes")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--json", type=Path, default=RESULTS / "retained.json", help="every figure goes to this file")
    parser.add_argument("--start", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if options.start is not None:
        sys.stdout.buffer.write(msgspec.json.encode(start(options.start)))
        return 0
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "cold.sqlite"
        make(path, options.messages, options.payload)
        best = min((_in_a_process(path) for _ in range(options.runs)), key=lambda result: result.start_s)
    _print(best)
    options.json.parent.mkdir(parents=True, exist_ok=True)
    report = {"machine": platform.platform(), "python": platform.python_version(), "result": best}
    options.json.write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=2) + b"\n")
    return 0


def _print(result: Result) -> None:
    table = Table("filter", "finds", "µs", box=box.SIMPLE)
    for topic_filter, (found, spent_us) in result.look_up_us.items():
        table.add_row(topic_filter, str(found), f"{spent_us:.1f}")
    console = Console()
    console.print(
        f"{result.count} messages: start {result.start_s:.2f} s, {result.bytes_each:.0f} bytes each in memory"
    )
    console.print(table)


if __name__ == "__main__":
    raise SystemExit(main())
