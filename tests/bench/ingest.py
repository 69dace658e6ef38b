"""`./dev bench ingest`: what a QoS 1 message costs from the device's socket to Kafka, and how long it takes.

Connections of the load generator (loadgen.c) publish as fast as acknowledgements allow; the daemon writes each message
to this disk before it acknowledges it and forwards it to a real Kafka meanwhile. All share this machine's cores: a rate
is the whole machine's, the CPU per message is each process's own. mosquitto, in memory, gets the same load with the
same certificates in the same run where it is installed.
"""

from __future__ import annotations

import argparse
import contextlib
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
from rich.console import Console

from tests.bench.support import load
from tests.bench.support.busbridge import LANE, busbridge
from tests.bench.support.kafka import CHECKOUT, Broker, Position, kafka
from tests.bench.support.load import Load
from tests.bench.support.machine import machine
from tests.bench.support.measure import Case, Result, measure
from tests.bench.support.mosquitto import executable, mosquitto
from tests.bench.support.processes import family
from tests.bench.support.report import show, show_ratios
from tests.bench.support.site import Site, make_certificates

TRANSPORTS = ("plain", "tls")
WEBSOCKETS = {"ws": "plain", "wss": "tls"}
"""Measured where they are asked for, with what they are to be compared with."""
WINDOWS = (1, 10)
PARTITIONS = 4
RESULTS = CHECKOUT / "bench-results"


class Options(msgspec.Struct, frozen=True):
    """The command line."""

    load: Load
    cases: tuple[Case, ...]
    seal: bool
    servers: tuple[str, ...]
    directory: Path
    json: Path


class Bench(msgspec.Struct, frozen=True):
    """What every measurement of one run shares."""

    options: Options
    place: Path
    generator: Path
    site: Site
    console: Console


def _cases(only: str) -> tuple[Case, ...]:
    """The cases that a list like "tls,10" leaves over; ValueError for what is neither a transport nor a window."""
    wanted = [word.strip() for word in only.split(",") if word.strip()]
    named = [word for word in wanted if word in (*TRANSPORTS, *WEBSOCKETS)]
    transports = list(dict.fromkeys(each for word in named for each in (WEBSOCKETS.get(word, word), word)))
    windows = [int(word) for word in wanted if word not in named] or list(WINDOWS)
    return tuple(Case(transport, window) for transport in transports or TRANSPORTS for window in windows)


def _parse(arguments: Sequence[str]) -> Options:
    parser = argparse.ArgumentParser(prog="dev bench ingest", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=8.0, help="how long each measurement lasts")
    parser.add_argument("--warm-up", type=float, default=3.0, help="load before each measurement, seconds")
    parser.add_argument("--connections", type=int, default=100)
    parser.add_argument("--payload", type=int, default=128, help="bytes a message")
    parser.add_argument("--rate", type=float, default=0.0, help="messages/s in all; 0: as acknowledgements allow")
    parser.add_argument("--only", type=_cases, default=_cases(""), help='some cases: "tls", "plain,1", "wss,10"')
    parser.add_argument("--seal", action="store_true", help="the route seals payloads")
    parser.add_argument("--servers", default="busbridge,mosquitto", help="which to measure")
    parser.add_argument("--directory", type=Path, default=CHECKOUT / "build", help="where queue and Kafka write")
    parser.add_argument("--json", type=Path, default=RESULTS / "ingest.json", help="every figure goes to this file")
    given = parser.parse_args(arguments)
    wanted = Load(given.connections, 1, given.payload, given.seconds, given.warm_up, given.rate)
    return Options(wanted, given.only, given.seal, tuple(given.servers.split(",")), given.directory, given.json)


def _measure_busbridge(bench: Bench, case: Case, broker: Broker) -> Result:
    """A new gateway, queue and topic for each case, so that none pays for the one before."""
    name = f"{case.transport}-{case.window}"
    gateway, topic = f"bench-{name}", f"telemetry-{name}"
    broker.create_topic(topic, PARTITIONS)
    directory = bench.place / f"busbridge-{name}"
    position = Position(broker, gateway, LANE)
    try:
        with busbridge(bench.site, directory, broker, gateway, topic, bench.options.seal) as server:
            processes = {**server.processes, "kafka": tuple(family(broker.process.pid))}
            wanted = msgspec.structs.replace(bench.options.load, window=case.window)
            return measure("busbridge", case, wanted, bench.generator, bench.site, processes, position)
    except Exception:
        bench.console.print(f"the daemon's log ends with:\n{_tail(directory / 'busbridge.log')}", highlight=False)
        raise
    finally:
        position.close()
        broker.delete_topic(topic)


def _measure_mosquitto(bench: Bench, case: Case, program: str) -> Result:
    directory = bench.place / f"mosquitto-{case.transport}-{case.window}"
    wanted = msgspec.structs.replace(bench.options.load, window=case.window)
    with mosquitto(bench.site, directory, program) as server:
        return measure("mosquitto", case, wanted, bench.generator, bench.site, server.processes)


def _tail(log: Path, lines: int = 20) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-lines:]) if log.exists() else "(no log)"


def _results(bench: Bench) -> Iterator[Result]:
    program = executable() if "mosquitto" in bench.options.servers else None
    if "busbridge" in bench.options.servers:
        with kafka(bench.place / "kafka") as broker:
            for case in bench.options.cases:
                yield _measure_busbridge(bench, case, broker)
    if program is None:
        bench.console.print("mosquitto: left out (not installed, or not asked for)")
        return
    for case in bench.options.cases:
        if case.transport not in WEBSOCKETS:
            yield _measure_mosquitto(bench, case, program)


@contextlib.contextmanager
def _workplace(parent: Path) -> Iterator[Path]:
    """A directory of this run's own, on a real disk unless told otherwise; removed at the end."""
    parent.mkdir(parents=True, exist_ok=True)
    place = Path(tempfile.mkdtemp(prefix="bench-ingest-", dir=parent))
    try:
        yield place
    finally:
        shutil.rmtree(place)


def _write_json(path: Path, options: Options, results: Sequence[Result]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    report = {"machine": machine(), "load": options.load, "seal": options.seal, "results": results}
    path.write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=2) + b"\n")


def main(arguments: Sequence[str]) -> int:
    """Runs the benchmark; 0 when every measurement was taken (an aim missed is shown, not an error)."""
    options = _parse(arguments)
    console = Console()
    with _workplace(options.directory) as place:
        site = make_certificates(place / "certs", options.load.connections)
        bench = Bench(options, place, load.build(options.directory / "bench"), site, console)
        results = []
        for result in _results(bench):
            results.append(result)
            rate, name = result.measured.messages_per_s, f"{result.case.transport}, window {result.case.window}"
            console.print(f"{result.server}, {name}: {rate:,.0f} messages/s", highlight=False)
    show(console, results)
    show_ratios(console, results, WEBSOCKETS)
    _write_json(options.json, options, results)
    console.print(f"figures: {options.json}", highlight=False)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
