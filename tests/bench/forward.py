"""`./dev bench forward`: what a record costs the bus side, from the queue on disk into Kafka.

A backlog is written first, then one bus-side process forwards all of it, in transactions, to a real Kafka on the same
machine; then others send a part of the same messages from memory. Throughput is the whole machine's, CPU per record the
process's alone, bytes what Kafka stores (as sent). The device side does not run: this is the catch-up after an outage.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic
from rich.console import Console
from rich.table import Table

from bridge.log.cursor import NAME
from bridge.log.doorbell import Note
from tests.bench.support.readings import DEVICES, write_backlog
from tests.support.kafka import Broker
from tests.support.kafka.bus_process import BusProcess
from tests.support.kafka.feed import Feed
from tests.support.kafka.fetch import CHECKOUT

_CONFIG = """
[gateway]
id = "{gateway}"
data_dir = "data"
[[listeners]]
bind = "127.0.0.1:1883"
anonymous = true
[[routes]]
filter = "#"
topic = "{topic}"
seal = "plain"
[queue]
cursor_interval = "100 ms"
[kafka]
bootstrap_servers = ["{server}"]
delivery = "{delivery}"
compression = "{compression}"
"""
_OURS = "busbridge"
_OTHERS = ("confluent-kafka", "aiokafka")
_TOPIC = "forward"
_PARTITIONS = 4
_WARNING = 4
"""librdkafka's log level, as syslog(3) counts."""
_AIM_BYTES, _AIM_RECORDS_PER_S, _AIM_US = 128, 150_000, 4.0
"""On two cores, the broker beside it."""
_LIMIT_S = 600.0
_WIDTH = 104


class Case(msgspec.Struct, frozen=True):
    """What is sent, and how."""

    bytes: int
    delivery: str
    compression: str


class Result(msgspec.Struct):
    """What one program took for it."""

    who: str
    case: Case
    records: int
    seconds: float
    cpu_s: float
    stored_bytes: int
    """In Kafka, batches and all."""

    def figures(self) -> dict[str, float]:
        """Per second and per record."""
        return {
            "records_per_s": round(self.records / self.seconds),
            "cpu_us_per_record": round(self.cpu_s / self.records * 1e6, 2),
            "wire_bytes_per_record": round(self.stored_bytes / self.records, 1),
        }


def main(argv: list[str]) -> int:
    """Measures, prints a table, and writes the figures to a file."""
    options = _parser().parse_args(argv)
    results: list[Result] = []
    for size in options.bytes:
        with tempfile.TemporaryDirectory(prefix="forward-") as scratch:
            results += _size(Path(scratch), size, options)
    _show(results)
    options.json.parent.mkdir(parents=True, exist_ok=True)
    figures = [{**msgspec.to_builtins(result), **result.figures()} for result in results]
    machine = {"cores": os.cpu_count(), "devices": DEVICES, "taken": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())}
    options.json.write_text(json.dumps({"machine": machine, "results": figures}, indent=2) + "\n")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="./dev bench forward", description="The bus side's cost per record.")
    parser.add_argument("--records", type=int, default=1_000_000, help="the backlog (default: 1,000,000)")
    parser.add_argument("--other-records", type=int, default=200_000, help="for each of the others (default: 200,000)")
    parser.add_argument("--bytes", type=int, nargs="+", default=[128, 1024], help="of payloads (default: 128 1024)")
    parser.add_argument("--delivery", nargs="+", default=["exactly_once", "at_least_once"])
    parser.add_argument("--compression", nargs="+", default=["zstd", "none"])
    parser.add_argument("--json", type=Path, default=CHECKOUT / "bench-results" / "forward.json", metavar="FILE")
    return parser


def _size(scratch: Path, size: int, options: argparse.Namespace) -> Iterator[Result]:
    """Every case with payloads of this size, each program in turn."""
    # What is deleted is to be gone soon: a run leaves gigabytes behind.
    broker = Broker(scratch / "kafka", properties={"file.delete.delay.ms": "1000"})
    broker.start()
    feed = Feed(scratch / "data", topic=_TOPIC, max_bytes=options.records * (size + 512) + (256 << 20))
    write_backlog(feed, options.records, size)
    try:
        for delivery, compression in itertools.product(options.delivery, options.compression):
            case = Case(size, delivery, compression)
            with _topic(broker):
                yield _ours(scratch, broker, feed, case, options.records)
            for who in _OTHERS:
                with _topic(broker):
                    yield _other(scratch, broker, who, case, options.other_records)
    finally:
        feed.close()
        broker.kill()


@contextlib.contextmanager
def _topic(broker: Broker) -> Iterator[None]:
    admin = AdminClient({"bootstrap.servers": broker.address, "log_level": _WARNING})
    admin.create_topics([NewTopic(_TOPIC, _PARTITIONS, 1)])[_TOPIC].result(30)
    yield
    admin.delete_topics([_TOPIC])[_TOPIC].result(30)


def _ours(scratch: Path, broker: Broker, feed: Feed, case: Case, records: int) -> Result:
    names = {"gateway": f"forward-{time.time_ns()}", "topic": _TOPIC, "server": broker.address}
    config = scratch / "busbridge.toml"
    config.write_text(_CONFIG.format(**names, delivery=case.delivery, compression=case.compression))
    for cursor in (scratch / "data" / "uplink").glob(f"*/{NAME}"):
        cursor.unlink()
    bus = BusProcess(config, scratch / "bus.log")
    try:
        # Connected, with metadata and the coordinator's state topics made, before the clock starts.
        bus.tell(_up_to(feed, 2))
        bus.listen_until(lambda: bus.forwarded.get("normal", 0) >= 2, _LIMIT_S)
        begun, cpu = time.monotonic(), bus.cpu_s()
        bus.tell(feed.note())
        bus.listen_until(lambda: bus.health.forwarded_records >= records, _LIMIT_S)
        seconds, used = time.monotonic() - begun, bus.cpu_s() - cpu
    finally:
        bus.kill()
    return Result(_OURS, case, records, seconds, used, _stored(scratch))


def _other(scratch: Path, broker: Broker, who: str, case: Case, records: int) -> Result:
    command = [sys.executable, "-m", "tests.bench.support.other_producers", who, broker.address, _TOPIC]
    options = {"records": records, "bytes": case.bytes, "delivery": case.delivery, "compression": case.compression}
    command += [f"--{name}={value}" for name, value in options.items()]
    done = subprocess.run(command, cwd=CHECKOUT, check=True, stdout=subprocess.PIPE, timeout=_LIMIT_S)
    taken = json.loads(done.stdout)
    return Result(who, case, records, taken["seconds"], taken["cpu_s"], _stored(scratch))


def _stored(scratch: Path) -> int:
    """Bytes of the topic's partitions as the broker keeps them: batches as they were sent."""
    return sum(path.stat().st_size for path in (scratch / "kafka" / "data").glob(f"{_TOPIC}-[0-9]/*.log"))


def _up_to(feed: Feed, position: int) -> Note:
    note = feed.note()
    note.committed["normal"] = position
    return note


def _show(results: Sequence[Result]) -> None:
    table = Table(title="queue on disk → Kafka (ours); memory → Kafka (the others)")
    for column in ("payload", "delivery", "compression", "who", "records/s", "CPU µs/record", "bytes/record"):
        table.add_column(column, justify="left" if column in ("delivery", "compression", "who") else "right")
    for result in results:
        case, figures = result.case, result.figures()
        table.add_row(
            f"{case.bytes} B", case.delivery, case.compression, result.who,
            f"{figures['records_per_s']:,.0f}", f"{figures['cpu_us_per_record']:.2f}",
            f"{figures['wire_bytes_per_record']:.1f}", end_section=result.who == _OTHERS[-1],
        )  # fmt: skip
    console = Console()
    console.width = max(console.width, _WIDTH)
    console.print(table)
    console.print(f"aims, {_AIM_BYTES} B exactly once: {_AIM_RECORDS_PER_S:,} records/s, {_AIM_US} µs a record")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
