"""`./dev bench attack`: how long well-behaved devices wait for their acknowledgements while others misbehave.

100 devices over mutual TLS, 10 messages a second each, QoS 1, every one acknowledged after its fdatasync; first in
peace, then during each attack (tests/bench/support/attackers.py), which begins when the measurement does: 5,000
half-open connections, 2,000 devices that come at once, 50 that do not read, CONNECTs of a megabyte, one device at a
hundred times the rate. The limits are the defaults. Attackers run on the same cores at a lower priority; what they
achieved stands beside. Exit code 1: an attack was not whole, `--seconds` is too short for this machine.
"""

from __future__ import annotations

import argparse
import json
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

from tests.bench.support import load
from tests.bench.support.attackers import ATTACKS, HALF_OPEN, STORM, USUAL_RATE
from tests.bench.support.certificates import Authority
from tests.bench.support.load import Load, Measured
from tests.bench.support.machine import machine
from tests.bench.support.processes import cpu_seconds, resident_bytes, running, wait_for_port
from tests.support.ports import free_port

CHECKOUT = Path(__file__).resolve().parents[2]
RESULTS = CHECKOUT / "bench-results"
PEACE = "none"
LONGER = {"storm": 4.0}
"""Attacks that need so many times as long: two thousand handshakes at both ends, on these cores."""
WHOLE = {"half-open": ("at once", HALF_OPEN), "storm": ("whole storms", 1)}
"""What an attack has to have done to be one."""
CONFIGURATION = """\
[gateway]
id = "bench-attack"
data_dir = "{directory}/data"

[[listeners]]
bind = "127.0.0.1:{port}"
tls = {{ certificate = "{certificate}", private_key = "{key}", client_ca = "{ca}" }}

[[routes]]
filter = "devices/{{device}}/telemetry/#"
topic = "telemetry"
seal = "plain"

[jsonl]
directory = "{directory}/out"
"""


class Result(msgspec.Struct, frozen=True):
    """Of one attack."""

    attack: str
    measured: Measured
    resident_bytes: int
    """Of the device side, when the measurement ended."""
    cpu_s: float
    """Of the device side meanwhile."""
    did: dict[str, int]
    """What the attackers achieved."""


class Site(msgspec.Struct, frozen=True):
    """Certificates and a port."""

    authority: Authority
    good: Path
    bad: Path
    port: int


class Attackers:
    """The process, from the moment when the measurement begins until it ends."""

    def __init__(self, kind: str, site: Site, device_side: int) -> None:
        self._command = [sys.executable, "-m", "tests.bench.support.attackers", kind]
        self._command += [str(each) for each in (site.port, site.authority.pem, site.bad)]
        self._process: subprocess.Popen[str] | None = None
        self._kind = kind
        self._device_side = device_side
        self.cpu_s = 0.0
        self.did: dict[str, int] = {}

    def begin(self) -> None:
        self.cpu_s = -cpu_seconds(self._device_side)
        if self._kind != PEACE:
            self._process = subprocess.Popen(self._command, cwd=CHECKOUT, stdout=subprocess.PIPE, text=True)

    def end(self) -> None:
        self.cpu_s += cpu_seconds(self._device_side)
        if self._process is not None:
            self._process.terminate()
            output, _ = self._process.communicate(timeout=60)
            self.did = json.loads(output)


def _site(directory: Path, devices: int, bad: int) -> Site:
    authority = Authority(directory)
    good, wicked = directory / "good", directory / "bad"
    good.mkdir()
    wicked.mkdir()
    for number in range(1, devices + 1):
        authority.device(f"dev-{number:05d}", into=good)
    for number in range(1, bad + 1):
        authority.device(f"bad-{number:05d}", into=wicked)
    return Site(authority, good, wicked, free_port())


def measure(kind: str, site: Site, place: Path, generator: Path, wanted: Load) -> Result:
    """A daemon of its own for each attack, so that none pays for the one before."""
    directory = place / kind
    directory.mkdir()
    certificate, key = site.authority.server()
    text = CONFIGURATION.format(
        directory=directory, port=site.port, certificate=certificate, key=key, ca=site.authority.pem
    )
    configuration = directory / "busbridge.toml"
    configuration.write_text(text)
    command: list[str | Path] = [sys.executable, "-m", "bridge", "run", "--config", configuration]
    with running(command, directory / "busbridge.log", CHECKOUT) as process:
        wait_for_port(site.port, process)
        time.sleep(1.0)
        attackers = Attackers(kind, site, process.pid)
        wanted = msgspec.structs.replace(wanted, seconds=wanted.seconds * LONGER.get(kind, 1.0))
        arguments = load.command(generator, wanted, site.port, site.authority.pem, site.good)
        measured, _ = load.run(arguments, attackers.begin, attackers.end)
        return Result(kind, measured, resident_bytes(process.pid), attackers.cpu_s, attackers.did)


def _show(results: Sequence[Result]) -> None:
    table = Table("attack", "p50, ms", "p99, ms", "max, ms", "CPU, s", "memory, MB", "the attackers", box=box.SIMPLE)
    for result in results:
        measured = result.measured
        waits = (f"{each / 1000:.1f}" for each in (measured.p50_us, measured.p99_us, measured.max_us))
        did = ", ".join(f"{name} {count:,}" for name, count in result.did.items())
        table.add_row(result.attack, *waits, f"{result.cpu_s:.1f}", f"{result.resident_bytes / 1e6:.0f}", did)
    Console().print(table)


def main(argv: Sequence[str] | None = None) -> int:
    """Measures; returns the exit code."""
    parser = argparse.ArgumentParser(prog="./dev bench attack", description=__doc__)
    parser.add_argument("--seconds", type=float, default=8.0, help="of each attack")
    parser.add_argument("--devices", type=int, default=100, help="well-behaved ones")
    parser.add_argument("--only", choices=tuple(ATTACKS), action="append", help="an attack; may be given again")
    parser.add_argument("--json", type=Path, default=RESULTS / "attack.json", help="every figure goes to this file")
    options = parser.parse_args(argv)
    wanted = Load(options.devices, 1, 128, options.seconds, 2.0, options.devices * USUAL_RATE)
    results: list[Result] = []
    build = CHECKOUT / "build"
    build.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="bench-attack-", dir=build) as scratch:
        place = Path(scratch)
        site = _site(place / "certs", options.devices, STORM)
        generator = load.build(CHECKOUT / "build" / "bench")
        kinds = (PEACE, *(options.only or ATTACKS))
        results.extend(measure(kind, site, place, generator, wanted) for kind in kinds)
    _show(results)
    options.json.parent.mkdir(parents=True, exist_ok=True)
    report = {"machine": machine(), "load": wanted, "results": results}
    options.json.write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=2) + b"\n")
    partly = [each.attack for each in results if each.attack in WHOLE and not _whole(each)]
    for attack in partly:
        print(f"{attack}: not the whole attack, see the attackers' figures; give it more --seconds", file=sys.stderr)
    return 1 if partly else 0


def _whole(result: Result) -> bool:
    name, least = WHOLE[result.attack]
    return result.did.get(name, 0) >= least


if __name__ == "__main__":
    sys.exit(main())
