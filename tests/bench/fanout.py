"""`./dev bench fanout`: 1 publisher to 1,000 subscribers and 1,000 to 1 over sockets, this daemon and mosquitto.

`crowd.c` is all the clients; it and the broker share this machine's cores, so a rate is the whole machine's, the CPU
for each delivery the broker's own. Nothing is forwarded and no session outlives its connection: this is the local
broker. `./dev bench deliver` measures its code without sockets.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
from rich import box
from rich.console import Console
from rich.table import Table

from tests.bench.support import load
from tests.bench.support.kafka import CHECKOUT
from tests.bench.support.load import Measured
from tests.bench.support.machine import machine
from tests.bench.support.mosquitto import executable
from tests.bench.support.processes import cpu_seconds, running, wait_for_port
from tests.support.ports import free_port

CROWD = Path(__file__).with_name("crowd.c")
RESULTS = CHECKOUT / "bench-results"
OURS = """\
[gateway]
id = "bench"
data_dir = "{directory}/data"
[[listeners]]
bind = "127.0.0.1:{port}"
anonymous = true
[acl]
publish = ["fan/+"]
subscribe = ["fan/+"]
"""
MOSQUITTO = """\
persistence false
log_type error
listener {port} 127.0.0.1
allow_anonymous true
set_tcp_nodelay true
max_queued_messages 0
"""


class Case(msgspec.Struct, frozen=True):
    """Who sends to whom."""

    publishers: int
    subscribers: int
    qos: int
    window: int
    """Messages on their way at once."""

    @property
    def arguments(self) -> list[str]:
        """Of the crowd."""
        given = {"publishers": self.publishers, "subscribers": self.subscribers, "qos": self.qos, "window": self.window}
        return [word for name, value in given.items() for word in (f"--{name}", str(value))]


class Result(msgspec.Struct, frozen=True):
    """What one broker did; `measured.messages` are deliveries, durations from the publisher's send to their arrival."""

    server: str
    case: Case
    measured: Measured
    cpu_us_per_delivery: float


@contextlib.contextmanager
def _busbridge(directory: Path, port: int) -> Iterator[int]:
    """Its process id while it runs; without a destination there is no bus side."""
    configuration = directory / "busbridge.toml"
    configuration.write_text(OURS.format(directory=directory, port=port))
    command: list[str | Path] = [sys.executable, "-m", "bridge", "run", "--config", configuration]
    with running(command, directory / "log", CHECKOUT) as process:
        wait_for_port(port, process)
        yield process.pid


@contextlib.contextmanager
def _mosquitto(directory: Path, port: int) -> Iterator[int]:
    configuration = directory / "mosquitto.conf"
    user = "user root\n" if os.geteuid() == 0 else ""
    configuration.write_text(MOSQUITTO.format(port=port) + user)
    with running([executable() or "mosquitto", "-c", configuration], directory / "log") as process:
        wait_for_port(port, process)
        yield process.pid


SERVERS = {"busbridge": _busbridge, "mosquitto": _mosquitto}


def measure(server: str, case: Case, crowd: Path, place: Path, options: argparse.Namespace) -> Result:
    """A new broker for each case. RuntimeError with the crowd's last words where it failed."""
    directory, port = Path(tempfile.mkdtemp(dir=place)), free_port()
    with SERVERS[server](directory, port) as pid:
        cpu_s: list[float] = []

        def read() -> None:
            cpu_s.append(cpu_seconds(pid))

        times = ["--seconds", str(options.seconds), "--warm-up", str(options.warm_up)]
        command = [str(crowd), "--port", str(port), "--payload", str(options.payload), *case.arguments, *times]
        measured, _ = load.run(command, read, read)
    return Result(server, case, measured, (cpu_s[1] - cpu_s[0]) * 1e6 / max(1, measured.messages))


def show(results: Sequence[Result], console: Console) -> None:
    """One table, both brokers of a case below each other."""
    columns = ("case", "QoS", "broker", "a second", "CPU µs", "p50 ms", "p99 ms", "max ms")
    table = Table(*columns, box=box.SIMPLE, title="Deliveries", title_justify="left")
    for result in sorted(results, key=lambda each: (each.case.subscribers, each.case.qos, each.server), reverse=True):
        case, measured = result.case, result.measured
        durations = [f"{each / 1000:.2f}" for each in (measured.p50_us, measured.p99_us, measured.max_us)]
        name, rate = f"{case.publishers:,} → {case.subscribers:,}", f"{measured.messages_per_s:,.0f}"
        table.add_row(name, str(case.qos), result.server, rate, f"{result.cpu_us_per_delivery:.1f}", *durations)
    console.print(table)


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="./dev bench fanout", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--clients", type=int, default=1000)
    parser.add_argument("--payload", type=int, default=128, help="bytes a message")
    parser.add_argument("--seconds", type=float, default=5.0, help="how long each measurement lasts")
    parser.add_argument("--warm-up", type=float, default=2.0, help="load before each measurement, seconds")
    parser.add_argument("--servers", default="busbridge,mosquitto", help="which to measure")
    parser.add_argument("--json", type=Path, default=RESULTS / "fanout.json", help="every figure goes to this file")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Measures every case; returns the exit code."""
    options, console = _arguments(argv), Console()
    servers = [name for name in options.servers.split(",") if name != "mosquitto" or executable() is not None]
    many = options.clients
    cases = [Case(1, many, qos, 4) for qos in (0, 1)] + [Case(many, 1, qos, 100) for qos in (0, 1)]
    place = Path(tempfile.mkdtemp(prefix="bench-fanout-"))
    try:
        crowd = load.build(place, CROWD)
        results = [measure(server, case, crowd, place, options) for case in cases for server in servers]
    finally:
        shutil.rmtree(place)
    show(results, console)
    options.json.parent.mkdir(parents=True, exist_ok=True)
    report = {"machine": machine(), "payload_bytes": options.payload, "results": results}
    options.json.write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=2) + b"\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
