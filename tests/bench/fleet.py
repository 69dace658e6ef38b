"""`./dev bench fleet`: what device documents cost: memory, a start, one after a kill, and what changes cost in Kafka.

The whole gateway and a real Kafka on this machine. A gateway that knows no device is compared with one that knows many:
the difference is theirs. After a kill all devices were online, so that every document changes: those are written in one
go. Then some of them report without a pause, each waiting for its acknowledgement.
"""

from __future__ import annotations

import argparse
import asyncio
import queue
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec
import paho.mqtt.client as paho
from confluent_kafka import Consumer, TopicPartition
from rich import box
from rich.console import Console
from rich.table import Table

from bridge.message import Message
from bridge.mqtt import packets
from bridge.mqtt.encode import encode
from firmware_sim.child import Child
from tests.bench.support.fleet_site import DESIRED, GATEWAY, PARTITIONS, STATE, Site, send, topics
from tests.bench.support.kafka import Position
from tests.bench.support.machine import machine
from tests.bench.support.processes import cpu_seconds, resident_bytes
from tests.support.kafka import Broker

RESULTS = Path(__file__).parents[2] / "bench-results"
READY, LIMIT_S = "is ready on", 600.0
AIM_BYTES = 1000
"""For each device, on top of its document; in both processes together."""
_ANSWER_BYTES = 4
"""Of CONNACK and of PUBACK in MQTT 3.1.1."""
_SETTLE_S = 2.0


class Start(msgspec.Struct):
    """Of one start."""

    devices: int
    presence: str
    """What the documents said when it began."""
    document_bytes: float
    ready_s: float
    """Until devices can connect."""
    newcomer_s: float
    """From CONNECT of a device that was never here to its desired state, when all has settled."""
    device_bytes: int
    """Resident memory."""
    bus_bytes: int
    written_s: float = 0.0
    """From the first change in Kafka to the last."""
    stored_bytes: float = 0.0
    """In Kafka, for each document."""
    bus_cpu_us: float = 0.0
    """Of the bus side, for each document; its start is in it."""


class Changes(msgspec.Struct):
    """Of reports without a pause."""

    connections: int
    reports_per_s: float
    documents_per_s: float
    """In Kafka: of several changes of a device within `state.interval` the last goes out."""
    stored_bytes: float
    """In Kafka, for each document."""
    device_cpu_us: float
    """For each report."""
    bus_cpu_us: float
    """For each report, written or not."""


class Gateway:
    """A running one."""

    def __init__(self, site: Site) -> None:
        begun = time.monotonic()
        self.site = site
        self.daemon = Child("bridge", ["run", "--config", str(site.config)], site.directory / "output")
        self.daemon.wait_for(READY, LIMIT_S)
        self.ready_s = time.monotonic() - begun
        self.bus_side = site.bus_side(self.daemon.pid)
        self.position = Position(site.broker, GATEWAY, "state")  # type: ignore[arg-type]  # (it asks for the address)

    def newcomer(self, name: str) -> float:
        """Seconds from CONNECT to the desired state of a device that was never here."""
        send(self.site.broker.address, DESIRED, name, b'{"version":1,"state":{"interval_s":5}}')
        time.sleep(_SETTLE_S)
        came: queue.Queue[bytes] = queue.Queue()
        client = paho.Client(paho.CallbackAPIVersion.VERSION2, name)
        client.on_connect = lambda *_: client.subscribe(f"devices/{name}/state/desired", 1)
        client.on_message = lambda _client, _user, message: came.put(message.payload)
        begun = time.monotonic()
        client.connect("127.0.0.1", self.site.port)
        client.loop_start()
        try:
            came.get(timeout=LIMIT_S)
            return time.monotonic() - begun
        finally:
            client.disconnect()
            client.loop_stop()

    def stop(self) -> None:
        """Cleanly."""
        self.position.close()
        self.daemon.stop()


def start(directory: Path, broker: Broker, devices: int, presence: str) -> Start:
    """A gateway that knows so many devices, started."""
    with topics(broker):
        site = Site(directory, broker)
        site.fill(devices, presence)
        before = site.stored_bytes()
        gateway = Gateway(site)
        try:
            written_s = _written(gateway, devices) if presence == "online" else 0.0
            cpu = cpu_seconds(gateway.bus_side)
            stored = site.stored_bytes() - before
            gateway.newcomer("newcomer-1")  # everything has been read by then
            newcomer_s = gateway.newcomer("newcomer-2")
            return Start(
                devices, presence, site.document_bytes, gateway.ready_s, newcomer_s,
                resident_bytes(gateway.daemon.pid), resident_bytes(gateway.bus_side), written_s,
                stored / devices if written_s else 0.0, cpu / devices * 1e6 if written_s else 0.0,
            )  # fmt: skip
        finally:
            gateway.stop()


def _written(gateway: Gateway, devices: int) -> float:
    gateway.position.wait(2, LIMIT_S)
    return gateway.position.wait(devices + 1, LIMIT_S)


def change(directory: Path, broker: Broker, connections: int, seconds: float) -> Changes:
    """Devices that report without a pause."""
    with topics(broker):
        site = Site(directory, broker)
        site.fill(0, "offline")
        gateway = Gateway(site)
        try:
            gateway.newcomer("newcomer-1")
            time.sleep(_SETTLE_S)
            before, stored = _ends(broker), site.stored_bytes()
            pids = (gateway.daemon.pid, gateway.bus_side)
            cpu = [cpu_seconds(pid) for pid in pids]
            reports = asyncio.run(_report(site.port, connections, seconds))
            time.sleep(_SETTLE_S)  # the last ones
            device, bus = (cpu_seconds(pid) - earlier for pid, earlier in zip(pids, cpu, strict=True))
            documents, stored = _documents(broker, before), site.stored_bytes() - stored
        finally:
            gateway.stop()
    return Changes(
        connections, reports / seconds, documents / seconds, stored / documents, device / reports * 1e6,
        bus / reports * 1e6,
    )  # fmt: skip


async def _report(port: int, connections: int, seconds: float) -> int:
    """How many were acknowledged."""
    until = time.monotonic() + seconds
    return sum(await asyncio.gather(*(_reporter(port, f"device-{number:06}", until) for number in range(connections))))


async def _reporter(port: int, device: str, until: float) -> int:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(encode(packets.Connect(device, True, 4), 4))
    await reader.readexactly(_ANSWER_BYTES)
    topic, count = f"devices/{device}/state/reported", 0
    while time.monotonic() < until:
        count += 1
        patch = b'{"signal_dbm":-%d,"uptime_s":%d}' % (40 + count % 50, count)
        writer.write(encode(Message(topic, patch, 1, packet_id=1), 4))
        await reader.readexactly(_ANSWER_BYTES)
    writer.close()
    return count


def _places(offsets: Sequence[int] = ()) -> list[TopicPartition]:
    return [TopicPartition(STATE, number, *offsets[number : number + 1]) for number in range(PARTITIONS)]


def _ends(broker: Broker) -> list[int]:
    consumer = Consumer({"bootstrap.servers": broker.address, "group.id": "bench"})
    ends = [consumer.get_watermark_offsets(place, timeout=10)[1] for place in _places()]
    consumer.close()
    return ends


def _documents(broker: Broker, since: Sequence[int]) -> int:
    """Committed ones from these offsets on."""
    consumer = Consumer(
        {"bootstrap.servers": broker.address, "group.id": "bench", "isolation.level": "read_committed",
         "enable.partition.eof": False}
    )  # fmt: skip
    consumer.assign(_places(since))
    count = 0
    while found := consumer.consume(10_000, timeout=3.0):
        count += sum(message.error() is None for message in found)
    consumer.close()
    return count


def _show(starts: Sequence[Start], changes: Changes) -> None:
    console = Console(width=120)
    nobody, many, killed = starts
    table = Table("process", "resident, MB", "each device, bytes", box=box.SIMPLE, title="memory")
    for side, empty, full in (
        ("device side", nobody.device_bytes, many.device_bytes), ("bus side", nobody.bus_bytes, many.bus_bytes),
    ):  # fmt: skip
        table.add_row(side, f"{empty / 1e6:.0f} → {full / 1e6:.0f}", f"{(full - empty) / many.devices:.0f}")
    console.print(table)
    console.print(
        f"of these {many.document_bytes:.0f} are the document; on top of it {on_top(nobody, many):.0f}, "
        f"the aim is below {AIM_BYTES}"
    )
    table = Table("start", "ready, s", "a new device has its desired state after, s", box=box.SIMPLE)
    for one in starts:
        table.add_row(f"{one.devices} devices, {one.presence}", f"{one.ready_s:.2f}", f"{one.newcomer_s:.2f}")
    console.print(table)
    table = Table("changes", "documents/s", "bytes in Kafka", "CPU µs: device side", "bus side", box=box.SIMPLE)
    rate = killed.devices / killed.written_s
    table.add_row("all at once", f"{rate:,.0f}", f"{killed.stored_bytes:.0f}", "", f"{killed.bus_cpu_us:.0f}")
    table.add_row(
        f"{changes.reports_per_s:,.0f} reports/s", f"{changes.documents_per_s:,.0f}", f"{changes.stored_bytes:.0f}",
        f"{changes.device_cpu_us:.0f}", f"{changes.bus_cpu_us:.0f}",
    )  # fmt: skip
    console.print(table)


def on_top(nobody: Start, many: Start) -> float:
    """Bytes of both processes for each device, without its document."""
    more = many.device_bytes + many.bus_bytes - nobody.device_bytes - nobody.bus_bytes
    return more / many.devices - many.document_bytes


def main(argv: Sequence[str] | None = None) -> int:
    """Measures; returns the exit code."""
    parser = argparse.ArgumentParser(prog="./dev bench fleet", description=__doc__)
    parser.add_argument("--devices", type=int, default=100_000)
    parser.add_argument("--connections", type=int, default=100, help="that report")
    parser.add_argument("--seconds", type=float, default=10.0, help="of reports")
    parser.add_argument("--json", type=Path, default=RESULTS / "fleet.json", help="every figure goes to this file")
    options = parser.parse_args(argv)
    found = machine()
    with tempfile.TemporaryDirectory(prefix="fleet-") as scratch:
        place = Path(scratch)
        broker = Broker(place / "kafka", properties={"file.delete.delay.ms": "1000"})
        broker.start()
        try:
            starts = [
                start(place / f"{devices}-{presence}", broker, devices, presence)
                for devices, presence in ((0, "offline"), (options.devices, "offline"), (options.devices, "online"))
            ]
            changes = change(place / "changes", broker, options.connections, options.seconds)
        finally:
            broker.kill()
    _show(starts, changes)
    options.json.parent.mkdir(parents=True, exist_ok=True)
    report = {"machine": found, "on_top_bytes": on_top(*starts[:2]), "starts": starts, "changes": changes}
    options.json.write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=2) + b"\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
