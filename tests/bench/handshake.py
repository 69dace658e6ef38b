"""`./dev bench handshake`: what it costs a server that a device comes: TLS handshake, CONNECT, CONNACK, good-bye.

Full and resumed, by TLS 1.3 and 1.2, at busbridge and mosquitto in the same run, with the same certificates (EC P-256).
The clients are Python on the same cores and take more CPU than the server, so connections a second are those of the
whole machine; the server's own CPU for each (all its threads) is the figure to compare.
"""

from __future__ import annotations

import argparse
import contextlib
import ssl
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
from rich import box
from rich.console import Console
from rich.table import Table

from tests.bench.support.machine import machine
from tests.bench.support.mosquitto import executable, mosquitto
from tests.bench.support.processes import cpu_seconds, running, wait_for_port
from tests.bench.support.site import Site, make_certificates
from tests.robustness import packets
from tests.robustness.attacker import context, dial_tls, read_exactly

CHECKOUT = Path(__file__).resolve().parents[2]
RESULTS = CHECKOUT / "bench-results"
DEVICES, THREADS = 32, 4
VERSIONS = {"1.3": ssl.TLSVersion.TLSv1_3, "1.2": ssl.TLSVersion.TLSv1_2}
CONFIGURATION = """\
[gateway]
id = "bench-handshake"
data_dir = "{directory}/data"

[[listeners]]
bind = "127.0.0.1:{port}"

[listeners.tls]
certificate = "{certificate}"
private_key = "{key}"
client_ca = "{ca}"
min_version = "1.2"
resumption = true

[[listeners]]
bind = "127.0.0.1:{plain}"
anonymous = true

[limits]
device_burst = 1000000

[log]
level = "error"
"""


class Result(msgspec.Struct, frozen=True):
    """Of one server and one kind of handshake."""

    server: str
    version: str
    resumed: bool
    connections: int
    per_s: float
    cpu_ms_each: float


class Device:
    """A client that keeps its last session."""

    def __init__(self, site: Site, certificate: Path, version: str) -> None:
        self._settings = context(site.ca, certificate)
        self._settings.maximum_version = VERSIONS[version]
        self._port, self._name = site.tls_port, certificate.stem
        self._session: ssl.SSLSession | None = None

    def come(self, *, resume: bool) -> None:
        """Connects and leaves. RuntimeError: its session was resumed though it should not, or the other way round."""
        wanted = self._session if resume else None
        sock, _ = dial_tls(self._port, self._settings, wanted)
        with sock:
            sock.sendall(packets.connect(self._name))
            read_exactly(sock, 4)
            if sock.session_reused != (wanted is not None):
                raise RuntimeError(f"resumed: {sock.session_reused}, wanted: {wanted is not None}")
            self._session = sock.session
            sock.sendall(packets.DISCONNECT)


@contextlib.contextmanager
def _busbridge(site: Site, directory: Path) -> Iterator[int]:
    directory.mkdir()
    configuration = directory / "busbridge.toml"
    names = {"certificate": site.certificate, "key": site.private_key, "ca": site.ca}
    text = CONFIGURATION.format(directory=directory, port=site.tls_port, plain=site.plain_port, **names)
    configuration.write_text(text)
    command: list[str | Path] = [sys.executable, "-m", "bridge", "run", "--config", configuration]
    with running(command, directory / "busbridge.log", CHECKOUT) as process:
        wait_for_port(site.plain_port, process)
        yield process.pid


@contextlib.contextmanager
def _mosquitto(site: Site, directory: Path, program: str) -> Iterator[int]:
    with mosquitto(site, directory, program) as server:
        yield server.processes["device"][0]


def _measure(server: str, site: Site, pid: int, version: str, seconds: float, *, resumed: bool) -> Result:
    certificates = sorted(site.devices.glob("*.pem"))
    devices = [Device(site, certificate, version) for certificate in certificates]
    for device in devices:
        device.come(resume=False)
    until = time.monotonic() + seconds

    def visits(mine: Sequence[Device]) -> int:
        count = 0
        while time.monotonic() < until:
            mine[count % len(mine)].come(resume=resumed)
            count += 1
        return count

    cpu, began = cpu_seconds(pid), time.monotonic()
    with ThreadPoolExecutor(THREADS) as pool:
        count = sum(pool.map(visits, (devices[thread::THREADS] for thread in range(THREADS))))
    elapsed, spent = time.monotonic() - began, cpu_seconds(pid) - cpu
    return Result(server, version, resumed, count, count / elapsed, 1000 * spent / count)


def _results(site: Site, place: Path, seconds: float) -> Iterator[Result]:
    servers = [("busbridge", _busbridge(site, place / "busbridge"))]
    if (program := executable()) is not None:
        servers.append(("mosquitto", _mosquitto(site, place / "mosquitto", program)))
    for name, server in servers:
        with server as pid:
            for version in VERSIONS:
                for resumed in (False, True):
                    yield _measure(name, site, pid, version, seconds, resumed=resumed)


def main(argv: Sequence[str] | None = None) -> int:
    """Measures; returns the exit code."""
    parser = argparse.ArgumentParser(prog="./dev bench handshake", description=__doc__)
    parser.add_argument("--seconds", type=float, default=5.0, help="of each measurement")
    parser.add_argument("--json", type=Path, default=RESULTS / "handshake.json", help="every figure goes to this file")
    options = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as scratch:
        site = make_certificates(Path(scratch) / "certs", DEVICES)
        results = list(_results(site, Path(scratch), options.seconds))
    table = Table("server", "TLS", "handshake", "connections/s", "CPU ms each", box=box.SIMPLE)
    for each in results:
        kind = "resumed" if each.resumed else "full"
        table.add_row(each.server, each.version, kind, f"{each.per_s:.0f}", f"{each.cpu_ms_each:.2f}")
    Console().print(table)
    options.json.parent.mkdir(parents=True, exist_ok=True)
    report = {"machine": machine(), "results": results}
    options.json.write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=2) + b"\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
