"""The fleet against a broker that is not ours: whatever fails with busbridge and not here is not the fleet's fault."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from bridge.security.ca_directory import CaDirectory
from firmware_sim.fleet import Fleet
from firmware_sim.ledger import read_ledger
from firmware_sim.plan import Plan
from tests.support.ports import free_port

DEVICES = tuple(f"dev-{number:05}" for number in range(1, 31))


class Mosquitto:
    """mosquitto with mutual TLS, which it loses nothing of when it is killed: no session, but the fleet's own."""

    def __init__(self, directory: Path) -> None:
        self.port, self.certs, self.devices = free_port(), directory / "certs", directory / "devices"
        authority = CaDirectory.create(self.certs, "a test's CA", ["localhost", "127.0.0.1"])
        authority.issue(DEVICES, self.devices)
        self._config = directory / "mosquitto.conf"
        self._config.write_text(
            f"listener {self.port} 127.0.0.1\ncafile {self.certs}/ca.pem\ncertfile {self.certs}/server.pem\n"
            f"keyfile {self.certs}/server.key\nrequire_certificate true\nuse_identity_as_username true\nuser root\n"
        )
        self._output = (directory / "mosquitto.out").open("wb")
        self.start()

    def start(self) -> None:
        program = shutil.which("mosquitto", path="/usr/sbin:/usr/bin:/usr/local/sbin")
        if program is None:
            pytest.skip("mosquitto is not installed")
        self._process = subprocess.Popen([program, "-c", str(self._config)], stderr=self._output)
        time.sleep(0.3)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def set_retained(self, device: str, text: str) -> None:
        certificate = self.devices / f"{device}.pem"
        tls = ["--cafile", str(self.certs / "ca.pem"), "--cert", str(certificate), "--key", str(certificate)]
        to = ["-h", "127.0.0.1", "-p", str(self.port), "-i", "operator", "-r", "-q", "1"]
        topic = f"devices/{device}/state/desired"
        subprocess.run(["mosquitto_pub", *to, *tls, "-t", topic, "-m", text], check=True)


@pytest.fixture
def mosquitto(tmp_path: Path) -> Iterator[Mosquitto]:
    broker = Mosquitto(tmp_path)
    yield broker
    broker.kill()


def _plan(broker: Mosquitto, **changes: object) -> Plan:
    settings = {"host": "127.0.0.1", "port": broker.port, "devices": DEVICES, "marker": "m", "qos": (0, 1, 2)}
    files = {"ca": broker.certs / "ca.pem", "certs": broker.devices}
    return Plan(**{**settings, **files, "rate": 1500.0, "messages": 40, "report_every": 10, **changes})


async def test_everything_is_acknowledged_at_every_qos_in_both_versions(mosquitto: Mosquitto, tmp_path: Path) -> None:
    fleet = Fleet(_plan(mosquitto), tmp_path / "ledger")
    await fleet.start()
    assert await fleet.finished(30), fleet.figures()
    await fleet.stop()
    ledger = read_ledger([tmp_path / "ledger"])
    assert len(ledger.entries) == len(DEVICES) * 40
    assert all(entry.acknowledged_at for entry in ledger.entries.values() if entry.qos)
    assert all(truth.reported["sent"] == 40 and not truth.online for truth in ledger.truths.values())


def _connected_often(fleet: Fleet, times: int) -> bool:
    return fleet.figures().connections >= times


async def test_devices_come_back_by_themselves_and_send_again(mosquitto: Mosquitto, tmp_path: Path) -> None:
    fleet = Fleet(_plan(mosquitto, qos=(1, 2), messages=0), tmp_path / "ledger")
    await fleet.start()
    assert await fleet.connected(10), fleet.last_error()
    for life in (2, 3, 4):
        await asyncio.sleep(0.4)
        mosquitto.kill()
        mosquitto.start()
        # Counted, because a device that has not noticed yet still says that it is connected.
        all_back = partial(_connected_often, fleet, life * len(DEVICES))
        assert await fleet.until(all_back, 20), fleet.last_error()
    fleet.stop_publishing()
    assert await fleet.drained(20), fleet.figures()
    figures = fleet.figures()
    await fleet.stop()
    assert figures.published == figures.acknowledged == figures.offered


async def test_a_desired_state_is_taken_and_reported(mosquitto: Mosquitto, tmp_path: Path) -> None:
    fleet = Fleet(_plan(mosquitto, messages=1), tmp_path / "ledger")
    await fleet.start()
    assert await fleet.finished(10)
    away = fleet.devices[DEVICES[1]]
    await away.link.stop()
    for device in DEVICES[:2]:
        mosquitto.set_retained(device, '{"version": 7, "state": {"interval_s": 10}}')
    away.link.start()
    assert await fleet.connected(10)
    assert await fleet.until(lambda: all(fleet.devices[name].desired for name in DEVICES[:2]), 10)
    assert await fleet.drained(10)
    await fleet.stop()
    truths = read_ledger([tmp_path / "ledger"]).truths
    for device in DEVICES[:2]:
        assert truths[device].desired == {"version": 7, "state": {"interval_s": 10}}
        assert truths[device].reported["interval_s"] == 10


async def test_a_device_without_a_certificate_says_why_it_is_not_in(mosquitto: Mosquitto, tmp_path: Path) -> None:
    fleet = Fleet(_plan(mosquitto, certs=None, devices=DEVICES[:1]), tmp_path / "ledger")
    await fleet.start()
    assert not await fleet.connected(1)
    assert DEVICES[0] in fleet.last_error()
    await fleet.stop()
    assert fleet.figures().published == 0
