"""`./dev bench sessions`: many sessions that wait for their clients: how long a start takes, what each holds.

They are made through the cold store, as a daemon leaves them, and read by a process of its own, so that its memory is
theirs: without anything that waits, and with some messages for each.
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

from bridge.config import Acl as AclRules
from bridge.config import Limits, Mqtt
from bridge.device_side.broker import Broker
from bridge.device_side.clock import Clock
from bridge.device_side.cold import ColdStore, ColdStoreFailure
from bridge.device_side.kept_sessions import KeptSessions
from bridge.device_side.long_clock import LongClock
from bridge.device_side.retained import Retained
from bridge.message import Message
from bridge.mqtt.session_state import SessionState
from bridge.mqtt.subscription import Subscription
from bridge.security.acl import Acl
from tests.bench.support.processes import resident_bytes

CHECKOUT = Path(__file__).parents[2]
RESULTS = CHECKOUT / "bench-results"
FILTERS = ("devices/{}/state/desired", "devices/{}/commands/+", "broadcast/#")
EXPIRY_S = 7 * 24 * 3600
PAYLOAD_BYTES = 128


class Result(msgspec.Struct, frozen=True):
    """Of one start."""

    sessions: int
    messages_each: int
    start_s: float
    """Reading the store and making subscriptions of it."""
    bytes_each: float
    """Of resident memory, for a session with all that waits for it."""


def make(path: Path, sessions: int, messages_each: int) -> None:
    """A store with that many."""
    store = ColdStore(path, _failed)
    kept = KeptSessions(store, Mqtt(), time.monotonic, lambda _: None, lambda _: None, LongClock(Clock(), store))
    for number in range(sessions):
        state = SessionState(f"device-{number:06}", 5, EXPIRY_S, Mqtt())
        for each in FILTERS:
            one = Subscription(each.format(state.name), 1)
            state.subscriptions[one.filter] = one
        kept.store(state, gone=True)
        for _ in range(messages_each):
            state.enqueue(Message(f"devices/{state.name}/commands/1", bytes(PAYLOAD_BYTES), 1), one, 0.0)
    kept.write_messages()
    store.close()


def start(path: Path, messages_each: int) -> Result:
    """Reads them, in this process."""
    before = resident_bytes(os.getpid())
    begun = time.perf_counter()
    store = ColdStore(path, _failed)
    long = LongClock(Clock(), store)
    retained = Retained(store, Limits(), long)
    broker = Broker(Acl(AclRules()), retained, store, Mqtt(), Limits(), time.monotonic, lambda _: None, long)
    broker.restore({})
    start_s = time.perf_counter() - begun
    held = resident_bytes(os.getpid()) - before
    store.close()
    return Result(len(broker.clients), messages_each, start_s, held / len(broker.clients))


def _failed(failure: ColdStoreFailure) -> None:
    raise failure


def _in_a_process(path: Path, messages_each: int) -> Result:
    command = [sys.executable, "-m", "tests.bench.sessions", "--start", str(path), "--messages", str(messages_each)]
    output = subprocess.run(command, cwd=CHECKOUT, check=True, capture_output=True).stdout
    return msgspec.json.decode(output, type=Result)


def main(argv: Sequence[str] | None = None) -> int:
    """Measures; returns the exit code."""
    parser = argparse.ArgumentParser(prog="./dev bench sessions", description=__doc__)
    parser.add_argument("--sessions", type=int, default=10_000)
    parser.add_argument("--messages", type=int, default=10, help="for each, in the second case")
    parser.add_argument("--json", type=Path, default=RESULTS / "sessions.json", help="every figure goes to this file")
    parser.add_argument("--start", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if options.start is not None:
        sys.stdout.buffer.write(msgspec.json.encode(start(options.start, options.messages)))
        return 0
    results = []
    for messages_each in (0, options.messages):
        with tempfile.TemporaryDirectory() as scratch:
            path = Path(scratch) / "cold.sqlite"
            make(path, options.sessions, messages_each)
            results.append(_in_a_process(path, messages_each))
    table = Table("sessions", "messages each", "start, s", "bytes each", box=box.SIMPLE)
    for result in results:
        figures = (str(result.sessions), str(result.messages_each), f"{result.start_s:.2f}", f"{result.bytes_each:.0f}")
        table.add_row(*figures)
    Console().print(table)
    options.json.parent.mkdir(parents=True, exist_ok=True)
    report = {"machine": platform.platform(), "python": platform.python_version(), "results": results}
    options.json.write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=2) + b"\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
