"""`./dev bench forward`: what a record costs the bus side, from the queue on disk into Kafka.

A backlog is written first, then one bus-side process forwards all of it, in transactions, to a real Kafka on the same
machine. Throughput is the whole machine's; CPU per record is the bus side's alone. One number is left out on purpose:
the device side does not run, so what is measured here is the catch-up after an outage.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console
from rich.table import Table

from bridge.log.record import encode_headers
from tests.support.kafka import Broker
from tests.support.kafka.bus_process import BusProcess
from tests.support.kafka.feed import Feed, message

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
[kafka]
bootstrap_servers = ["{server}"]
delivery = "{delivery}"
"""


def main(argv: list[str]) -> int:
    """Measures, prints a table, and writes the figures to a file if asked to."""
    parser = argparse.ArgumentParser(prog="./dev bench forward", description="The bus side's cost per record.")
    parser.add_argument("--records", type=int, default=500_000, help="the backlog (default: 500,000)")
    parser.add_argument("--bytes", type=int, default=128, help="of each payload (default: 128)")
    parser.add_argument("--devices", type=int, default=100, help="that the records are of (default: 100)")
    parser.add_argument("--delivery", choices=("exactly_once", "at_least_once"), default="exactly_once")
    parser.add_argument("--kafka", metavar="HOST:PORT", help="a running one (default: a new one is started)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there, too")
    options = parser.parse_args(argv)
    with tempfile.TemporaryDirectory(prefix="forward-") as scratch, _kafka(options.kafka, Path(scratch)) as server:
        figures = _measure(Path(scratch), server, options)
    _show(figures)
    if options.json is not None:
        options.json.write_text(json.dumps(figures, indent=2) + "\n")
    return 0


@contextlib.contextmanager
def _kafka(running: str | None, scratch: Path) -> Iterator[str]:
    if running is not None:
        yield running
        return
    broker = Broker(scratch / "kafka")
    broker.start()
    try:
        yield broker.address
    finally:
        broker.stop()


def _measure(scratch: Path, server: str, options: argparse.Namespace) -> dict[str, float | int | str]:
    mark = f"{time.time():.0f}"
    names = {"gateway": f"forward-{mark}", "topic": f"forward-{mark}", "server": server, "delivery": options.delivery}
    config = scratch / "busbridge.toml"
    config.write_text(_CONFIG.format(**names))
    feed = Feed(scratch / "data", topic=names["topic"])
    _backlog(feed, options.records, options.bytes, options.devices)
    end = feed.note().committed["normal"]
    bus = BusProcess(config, scratch / "bus.log")
    try:
        # Connected, with metadata and the coordinator's state topics made, before the clock starts.
        bus.tell(_up_to(feed, 2))
        bus.listen_until(lambda: bus.forwarded.get("normal", 0) >= 2)
        started, cpu = time.monotonic(), bus.cpu_s()
        bus.tell(feed.note())
        bus.listen_until(lambda: bus.health.forwarded_records >= options.records or _done(bus, end), 300)
        seconds, used = time.monotonic() - started, bus.cpu_s() - cpu
    finally:
        bus.kill()
        feed.close()
    return {
        "records": options.records,
        "payload_bytes": options.bytes,
        "devices": options.devices,
        "delivery": options.delivery,
        "seconds": round(seconds, 3),
        "records_per_s": round(options.records / seconds),
        "cpu_us_per_record": round(used / options.records * 1e6, 2),
        "cores": os.cpu_count() or 0,
    }


def _done(bus: BusProcess, end: int) -> bool:
    return bus.forwarded.get("normal") == end


def _up_to(feed: Feed, position: int) -> object:
    note = feed.note()
    note.committed["normal"] = position
    return note


def _backlog(feed: Feed, records: int, size: int, devices: int) -> None:
    """Payloads as sensors send them: JSON with figures that differ, filled up to the size."""
    headers = encode_headers((("content-type", b"application/json"),))
    for number in range(records):
        reading = {"n": number, "temperature": number * 7919 % 10007 / 100, "id": f"{number * 2654435761 % 2**32:08x}"}
        feed.append(
            message(
                f"dev-{number % devices:05d}", json.dumps(reading).encode().ljust(size), feed.topic, headers=headers
            )
        )
        if number % 5000 == 4999:
            feed.sync()
    feed.sync()


def _show(figures: dict[str, float | int | str]) -> None:
    table = Table(title="bus side: queue → Kafka")
    table.add_column("figure")
    table.add_column("value", justify="right")
    for name, value in figures.items():
        table.add_row(name.replace("_", " "), f"{value:,}" if isinstance(value, int | float) else value)
    Console().print(table)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
