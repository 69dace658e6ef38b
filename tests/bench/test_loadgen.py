"""The load generator against mosquitto: what it counts, how it keeps a rate, and that it never measures half a load."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from tests.bench import fanout
from tests.bench.support import load
from tests.bench.support.load import Load, Measured
from tests.bench.support.mosquitto import executable, mosquitto
from tests.bench.support.site import Site, make_certificates
from tests.interop.websocket_gateway import WebSocketGateway

CONNECTIONS = 5
SMALL = Load(connections=CONNECTIONS, window=3, payload_bytes=128, seconds=0.5, warm_up_s=0.1)


@pytest.fixture(scope="module")
def generator(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return load.build(tmp_path_factory.mktemp("loadgen"))


@pytest.fixture(scope="module")
def crowd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return load.build(tmp_path_factory.mktemp("crowd"), fanout.CROWD)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """mosquitto is running there."""
    program = executable()
    if program is None:
        pytest.skip("mosquitto is not installed")
    directory = tmp_path_factory.mktemp("site")
    made = make_certificates(directory / "certs", CONNECTIONS)
    with mosquitto(made, directory / "mosquitto", program):
        yield made


def run(generator: Path, site: Site, wanted: Load, *, tls: bool) -> tuple[Measured, int, list[str]]:
    """Figures, total, and the calls it made, in order."""
    calls: list[str] = []
    port, ca, devices = (site.tls_port, site.ca, site.devices) if tls else (site.plain_port, None, None)
    command = load.command(generator, wanted, port, ca, devices)
    measured, total = load.run(command, lambda: calls.append("begin"), lambda: calls.append("end"))
    return measured, total, calls


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "mutual TLS"])
def test_a_closed_loop_is_counted_and_timed(generator: Path, site: Site, tls: bool) -> None:
    measured, total, calls = run(generator, site, SMALL, tls=tls)
    assert calls == ["begin", "end"]
    assert 0 < measured.messages < total
    assert measured.messages_per_s == pytest.approx(measured.messages / measured.elapsed_s, rel=0.01)
    assert 0 < measured.p50_us <= measured.p90_us <= measured.p99_us <= measured.max_us * 1.01
    assert 0 < measured.cpu_s <= measured.elapsed_s * 1.1


def test_an_open_loop_keeps_its_rate(generator: Path, site: Site) -> None:
    wanted = msgspec.structs.replace(SMALL, rate=1000.0, seconds=1.0)
    measured, _, _ = run(generator, site, wanted, tls=True)
    assert measured.messages == pytest.approx(1000, rel=0.1)


def test_packet_identifiers_wrap_around(generator: Path, site: Site) -> None:
    """One connection sends more than the 65,535 there are; each PUBACK is held against the one that is due."""
    wanted = Load(connections=1, window=100, payload_bytes=0, seconds=3.0, warm_up_s=0.0, rate=40_000.0)
    measured, total, _ = run(generator, site, wanted, tls=False)
    assert measured.messages > 65_535
    assert total >= measured.messages


def test_a_refused_connection_ends_it(generator: Path, site: Site) -> None:
    more = msgspec.structs.replace(SMALL, connections=CONNECTIONS + 1)
    with pytest.raises(RuntimeError, match=r"dev-00006\.pem"):
        run(generator, site, more, tls=True)


def test_a_port_nobody_listens_on_ends_it(generator: Path, site: Site) -> None:
    command = load.command(generator, SMALL, 1, None, None)
    with pytest.raises(RuntimeError, match="refused"):
        load.run(command, lambda: None, lambda: None)


@pytest.mark.parametrize("secure", [False, True], ids=["ws", "wss"])
def test_over_websocket(generator: Path, tmp_path: Path, secure: bool) -> None:
    gateway = WebSocketGateway(tmp_path)
    for number in range(1, CONNECTIONS + 1):
        gateway.authority.device(f"dev-{number:05d}", into=tmp_path)
    gateway.start()
    port, ca, devices = (gateway.wss_port, gateway.authority.pem, tmp_path) if secure else (gateway.ws_port, None, None)
    command = load.command(generator, SMALL, port, ca, devices, websocket=True)
    measured, total = load.run(command, lambda: None, lambda: None)
    assert 0 < measured.messages < total == len(gateway.messages())
    assert gateway.stop() == 0


@pytest.mark.parametrize(("publishers", "subscribers"), [(1, 20), (20, 1)])
@pytest.mark.parametrize("qos", [0, 1])
def test_a_crowd_counts_every_delivery(crowd: Path, site: Site, publishers: int, subscribers: int, qos: int) -> None:
    case = fanout.Case(publishers, subscribers, qos, window=3)
    times = ["--seconds", "0.3", "--warm-up", "0.1"]
    command = [str(crowd), "--port", str(site.plain_port), *case.arguments, *times]
    measured, total = load.run(command, lambda: None, lambda: None)
    assert 0 < measured.messages < total
    assert total % subscribers == 0
    assert 0 < measured.p50_us <= measured.p99_us <= measured.max_us * 1.01
