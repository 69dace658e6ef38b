"""`./dev bench state`: device documents: how many a second, what a change takes on disk and in Kafka, what they hold.

First the device side alone, in a process of its own: every device connects, then every device reports. Then one
bus-side process forwards these changes into a real Kafka on the same machine, comparing them with the state topic
(`state.roaming`). Then both are started anew, each in a fresh process, so that what they hold is the documents' alone.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import msgspec
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic
from rich import box
from rich.console import Console
from rich.table import Table

from bridge.config import State
from bridge.device_side.clock import Clock
from bridge.device_side.cold import ColdStore, ColdStoreFailure
from bridge.device_side.devices import Devices
from bridge.device_side.group_states import GroupStates
from bridge.device_side.uplink import Lane, Token, Uplink
from bridge.log.doorbell import Note
from bridge.log.errors import LogFailure
from bridge.log.log_id import load_or_create_log_id
from bridge.log.settings import LogSettings
from tests.bench.support.processes import resident_bytes
from tests.support.kafka import Broker
from tests.support.kafka.bus_process import BusProcess
from tests.support.kafka.fetch import CHECKOUT

_CONFIG = """
[gateway]
id = "bench"
data_dir = "data"
[[listeners]]
bind = "127.0.0.1:1883"
anonymous = true
[state]
topic = "device-state"
roaming = {roaming}
[queue]
cursor_interval = "100 ms"
[kafka]
bootstrap_servers = ["{server}"]
"""
_TOPIC, _LANE, _PARTITIONS = "device-state", "state", 4
_LIMIT_S = 600.0
_AT_ONCE = 1000
"""Changes between two looks at whether the disk keeps up."""
_T = TypeVar("_T")
_AIM_BYTES = 1024
"""Of memory for each device, on top of its document."""


class Made(msgspec.Struct):
    """What the device side has done."""

    changes: int
    seconds: float
    disk_bytes: int
    position: int


class Held(msgspec.Struct):
    """What a fresh device side has in memory."""

    start_s: float
    bytes_each: float
    document_bytes: float


class Documents:
    """What the daemon wires around them."""

    def __init__(self, data: Path) -> None:
        self._loop = asyncio.new_event_loop()
        log_id = load_or_create_log_id(data / "uplink")
        settings = LogSettings(max_bytes=4 << 30, segment_bytes=16 << 20)
        cold = ColdStore(data / "cold.sqlite", _failed)
        uplink = Uplink(self._loop, _committed)
        self.lane = uplink.open_lane(
            _LANE, data / "uplink" / _LANE, settings, log_id=log_id, clock=Clock(), pending_max=1 << 30,
            on_failure=_failed,
        )  # fmt: skip
        self.devices = Devices(
            State(), self.lane, cold, Clock(), log_id=log_id, gateway="bench", epoch=1, kick=uplink.kick_soon,
            retain=lambda topic, body: None, groups=GroupStates(cold, 100), roaming=True,
        )  # fmt: skip
        self._uplink, self._cold = uplink, cold

    def settle(self) -> None:
        """Returns when all is durable."""
        while self.lane.writer.pending_bytes:
            self._loop.run_until_complete(asyncio.sleep(0.001))

    def close(self) -> None:
        self.settle()
        self._loop.run_until_complete(asyncio.sleep(0.01))
        self._uplink.close()
        self._cold.close()


def make(data: Path, count: int) -> Made:
    """Every device connects, then every device reports; one more where they exist already."""
    documents = Documents(data)
    before, begun, changes = documents.lane.writer.appended_bytes, time.perf_counter(), 0
    deeds: tuple[Callable[[str], None], ...] = (documents.devices.online, lambda device: _report(documents, device))
    if documents.devices.get(_name(0)) is not None:
        deeds, count = (deeds[1],), 1
    for deed in deeds:
        for number in range(count):
            deed(_name(number))
            changes += 1
            if changes % _AT_ONCE == 0:
                documents.settle()
    documents.settle()
    seconds = time.perf_counter() - begun
    made = Made(changes, seconds, documents.lane.writer.appended_bytes - before, documents.lane.writer.committed)
    documents.close()
    return made


def hold(data: Path, count: int) -> Held:
    """The same documents, from the cold store."""
    before, begun = resident_bytes(os.getpid()), time.perf_counter()
    documents = Documents(data)
    seconds, held = time.perf_counter() - begun, resident_bytes(os.getpid()) - before
    found = (documents.devices.get(_name(number)) for number in range(count))
    size = sum(len(msgspec.json.encode(each)) for each in found)
    documents.close()
    return Held(seconds, held / count, size / count)


def _name(number: int) -> str:
    return f"dev-{number:06d}"


def _report(documents: Documents, device: str) -> None:
    serial = hashlib.sha256(device.encode()).hexdigest()[:16]
    patch = {"firmware": "1.4.2", "interval_s": 10, "uptime_s": time.time_ns() % 1_000_000, "serial": serial}
    documents.devices.report(device, msgspec.json.encode(patch), None, packet_id=0, effect=None)


def _committed(_lane: Lane, tokens: list[Token]) -> None:
    for token in tokens:
        if callable(token):
            token()


def _failed(failure: ColdStoreFailure | LogFailure) -> None:
    raise failure


class Bus:
    """One life after the other of the bus side on this data."""

    def __init__(self, scratch: Path, server: str) -> None:
        self._scratch = scratch
        self._server = server

    def forward(self, *positions: int, roaming: bool) -> dict[str, float]:
        """What it takes until all before these positions is in Kafka, from the start of the process on.

        One after the other: of several documents of one device in a transaction only the last goes out.
        """
        config = self._scratch / "busbridge.toml"
        config.write_text(_CONFIG.format(server=self._server, roaming=str(roaming).lower()))
        begun = time.monotonic()
        bus = BusProcess(config, self._scratch / "bus.log")
        try:
            for position in positions:
                bus.tell(Note(committed={_LANE: position}))
                bus.listen_until(lambda position=position: bus.forwarded.get(_LANE, 0) >= position, _LIMIT_S)
            seconds = time.monotonic() - begun
            return {"seconds": seconds, "cpu_s": bus.cpu_s(), "resident_bytes": resident_bytes(bus.pid)}
        finally:
            bus.kill()


def measure(scratch: Path, count: int) -> dict[str, float]:
    """All figures of one run."""
    broker = Broker(scratch / "kafka")
    broker.start()
    try:
        admin = AdminClient({"bootstrap.servers": broker.address, "log_level": 4})
        topic = NewTopic(_TOPIC, _PARTITIONS, 1, config={"cleanup.policy": "compact"})
        admin.create_topics([topic])[_TOPIC].result(30)
        bus, data = Bus(scratch, broker.address), scratch / "data"
        made = _in_a_process("make", data, count, Made)
        forwarded = bus.forward(made.position - count, made.position, roaming=True)
        stored = sum(path.stat().st_size for path in (scratch / "kafka" / "data").glob(f"{_TOPIC}-[0-9]/*.log"))
        again = bus.forward(_in_a_process("make", data, count, Made).position, roaming=True)
        alone = bus.forward(_in_a_process("make", data, count, Made).position, roaming=False)
        held = _in_a_process("hold", data, count, Held)
    finally:
        broker.kill()
    return {
        "devices": count,
        "device side: documents/s": made.changes / made.seconds,
        "device side: bytes on the disk for a change": made.disk_bytes / made.changes,
        "device side: bytes of a document": held.document_bytes,
        "device side: bytes of memory for a device": held.bytes_each,
        "device side: bytes of memory on top of the document": held.bytes_each - held.document_bytes,
        "device side: start, s": held.start_s,
        "bus side: documents/s, with the start": made.changes / forwarded["seconds"],
        "bus side: CPU for a document, µs": forwarded["cpu_s"] / made.changes * 1e6,
        "bus side: bytes in Kafka for a change": stored / made.changes,
        "bus side: start until a document is in Kafka, s": again["seconds"],
        "bus side: the same without state.roaming, s": alone["seconds"],
        "bus side: bytes of memory for a device": (again["resident_bytes"] - alone["resident_bytes"]) / count,
    }


def _in_a_process(what: str, data: Path, count: int, kind: type[_T]) -> _T:
    command = [sys.executable, "-m", "tests.bench.state", f"--{what}", str(data), "--devices", str(count)]
    return msgspec.json.decode(subprocess.run(command, cwd=CHECKOUT, check=True, capture_output=True).stdout, type=kind)


def main(argv: list[str]) -> int:
    """Measures, prints a table, and writes the figures to a file."""
    parser = argparse.ArgumentParser(prog="./dev bench state", description="What device documents cost.")
    parser.add_argument("--devices", type=int, default=100_000)
    parser.add_argument("--json", type=Path, default=CHECKOUT / "bench-results" / "state.json", metavar="FILE")
    parser.add_argument("--make", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--hold", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if options.make is not None:
        sys.stdout.buffer.write(msgspec.json.encode(make(options.make, options.devices)))
        return 0
    if options.hold is not None:
        sys.stdout.buffer.write(msgspec.json.encode(hold(options.hold, options.devices)))
        return 0
    with tempfile.TemporaryDirectory(prefix="state-") as scratch:
        figures = measure(Path(scratch), options.devices)
    table = Table("what", "figure", box=box.SIMPLE)
    for name, figure in figures.items():
        table.add_row(name, f"{figure:,.2f}" if figure < 100 else f"{figure:,.0f}")
    console = Console()
    console.print(table)
    console.print(f"aim: below {_AIM_BYTES} bytes of memory for a device on top of its document")
    machine = {"cores": os.cpu_count(), "taken": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())}
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps({"machine": machine, "figures": figures}, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
