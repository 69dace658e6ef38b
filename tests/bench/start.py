"""`./dev bench start`: what a start costs: CPU and resident memory of both processes, and of commands that only ask.

A gateway with mutual TLS, a sealed route and device documents, its queue empty: with files as its sink, and with a
Kafka that refuses connections, so that no broker is needed (its bus side has loaded everything when it says so). Each
case several times in turn; the medians count. Files that Python compiles are compiled by a start before.
"""

from __future__ import annotations

import argparse
import platform
import resource
import statistics
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

from firmware_sim.child import Child
from tests.bench.support.processes import children, cpu_seconds, resident_bytes
from tests.support.daemon import Gateway
from tests.support.ports import free_port

CHECKOUT = Path(__file__).parents[2]
RESULTS = CHECKOUT / "bench-results"
READY, SPOKEN = "is ready on", "bus side is"
LIMIT_S = 60.0
COMMANDS = (("--help",), ("status", "--help"), ("check", "--config"), ("status", "--config"))
"""The last two get the configuration's file; nobody runs there, so `status` says so."""


class Cost(msgspec.Struct, frozen=True):
    """Of one process up to one moment."""

    what: str
    cpu_s: float
    resident_bytes: int


def start(directory: Path, kafka: str | None) -> list[Cost]:
    """One start of a new gateway: the device side when it is ready, the bus side when it has said how it is."""
    gateway = Gateway(directory, ["dev-1"], kafka)
    sink = "Kafka" if kafka else "files"
    daemon = Child("bridge", ["run", "--config", str(gateway.config)], directory / "output")
    try:
        daemon.wait_for(READY, LIMIT_S)
        costs = [_cost(f"device side, {sink}", daemon.pid)]
        daemon.wait_for(SPOKEN, LIMIT_S)
        (bus_side,) = children(daemon.pid)
        return [*costs, _cost(f"bus side, {sink}", bus_side)]
    finally:
        daemon.stop()


def command(arguments: Sequence[str], config: Path) -> Cost:
    """One run of `busbridge`, from start to end."""
    whole = [*arguments, str(config)] if arguments[-1] == "--config" else list(arguments)
    # A parent of its own for each, so that the largest child is this one.
    measured = [sys.executable, "-m", "tests.bench.start", "--command", *whole]
    output = subprocess.run(measured, cwd=CHECKOUT, check=True, capture_output=True).stdout
    cost = msgspec.json.decode(output.splitlines()[-1], type=Cost)
    return Cost(f"busbridge {' '.join(arguments)}", cost.cpu_s, cost.resident_bytes)


def _run_measured(arguments: Sequence[str]) -> Cost:
    subprocess.run([sys.executable, "-m", "bridge", *arguments], check=False, capture_output=True)
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return Cost("", usage.ru_utime + usage.ru_stime, usage.ru_maxrss << 10)


def _cost(what: str, pid: int) -> Cost:
    return Cost(what, cpu_seconds(pid), resident_bytes(pid))


def measure(runs: int) -> list[Cost]:
    """The medians of all cases."""
    costs: list[Cost] = []
    with tempfile.TemporaryDirectory() as scratch:
        for number in range(runs + 1):
            kafka = f"127.0.0.1:{free_port()}"
            now = [cost for sink in (None, kafka) for cost in start(Path(scratch) / f"{number}-{sink is None}", sink)]
            config = Path(scratch) / f"{number}-True" / "busbridge.toml"
            now += [command(arguments, config) for arguments in COMMANDS]
            costs += now if number else []
            time.sleep(0.1)
    return [_median(what, costs) for what in dict.fromkeys(cost.what for cost in costs)]


def _median(what: str, costs: Sequence[Cost]) -> Cost:
    its = [cost for cost in costs if cost.what == what]
    memory = statistics.median_low([cost.resident_bytes for cost in its])
    return Cost(what, statistics.median([cost.cpu_s for cost in its]), memory)


def main(argv: Sequence[str] | None = None) -> int:
    """Measures; returns the exit code."""
    parser = argparse.ArgumentParser(prog="./dev bench start", description=__doc__)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--json", type=Path, default=RESULTS / "start.json", help="every figure goes to this file")
    parser.add_argument("--command", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if options.command is not None:
        print(msgspec.json.encode(_run_measured(options.command)).decode())
        return 0
    costs = measure(options.runs)
    table = Table("", "CPU, s", "resident, MB", box=box.SIMPLE)
    for cost in costs:
        table.add_row(cost.what, f"{cost.cpu_s:.2f}", f"{cost.resident_bytes / 1e6:.1f}")
    Console().print(table)
    options.json.parent.mkdir(parents=True, exist_ok=True)
    report = {"machine": platform.platform(), "python": platform.python_version(), "results": costs}
    options.json.write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=2) + b"\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
