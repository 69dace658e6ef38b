"""A site changes its CA with 200 devices connected: step by step as docs/operations.md has it ("Changing the CA")."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from firmware_sim.audit import Auditor
from firmware_sim.audit_command import audit_jsonl
from firmware_sim.fleet import Fleet
from firmware_sim.ledger import read_ledger
from firmware_sim.plan import Plan
from tests.interop.conftest import NewGateway
from tests.interop.gateway import CHECKOUT, PATIENCE_S, Gateway

FLEET = tuple(f"dev-{number:05d}" for number in range(1, 201))
MOVING, STAYING = FLEET[:100], FLEET[100:]
ADDED = tuple(f"dev-{number:05d}" for number in range(201, 221))
UP_S = 60.0
SAID_WHO_ENDED = re.compile(r"ended device=(\S+) peer=\S+: its certificate is from a CA that is not ours any more")


def certs(*arguments: object) -> None:
    command = [sys.executable, "-m", "bridge", "certs", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=CHECKOUT, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


def certificates_in_use(gateway: Gateway) -> str:
    command = [sys.executable, "-m", "bridge", "status", "--config", str(gateway.config)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=CHECKOUT, timeout=60, check=False)
    return next(line for line in done.stdout.splitlines() if line.startswith("certificates in use"))


def put(path: Path, *parts: Path) -> None:
    """As `cat PARTS > NEW && mv NEW PATH`."""
    new = path.with_suffix(".new")
    new.touch(mode=0o600)
    new.write_bytes(b"".join(part.read_bytes() for part in parts))
    new.replace(path)


def connected(fleet: Fleet, names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(name for name in names if fleet.devices[name].link.connected)


class Site:
    """Two CAs, each with its devices' certificates, and the files that the gateway reads."""

    def __init__(self, gateway: Gateway, directory: Path) -> None:
        self.gateway = gateway
        self.old, self.new, self.used = directory / "old", directory / "new", directory / "used"
        self.directory = directory
        self.used.mkdir()
        certs("init", "--dir", self.old, "--name", "site 7, 2021")
        self.issue(self.old, FLEET)
        self.show(self.old)
        self.trust(self.old)
        text, authority = gateway.config.read_text(), gateway.authority.directory
        text = text.replace(f'"{authority}/ca.pem"', f'"{self.used}/client-ca.pem", crl = "{self.used}/crl.pem"')
        gateway.config.write_text(text.replace(f'"{authority}/server.', f'"{self.used}/server.'))

    def issue(self, ca: Path, devices: tuple[str, ...]) -> None:
        certs("issue", *devices, "--dir", ca, "--out", ca / "devices")

    def trust(self, *cas: Path) -> None:
        put(self.used / "crl.pem", *(ca / "crl.pem" for ca in cas))
        put(self.used / "client-ca.pem", *(ca / "ca.pem" for ca in cas))

    def show(self, ca: Path) -> None:
        put(self.used / "server.key", ca / "server.key")
        put(self.used / "server.pem", ca / "server.pem")

    def fleet(self, ca: Path, devices: tuple[str, ...], *trusts: Path) -> Fleet:
        put(ca / "servers.pem", *(each / "ca.pem" for each in trusts))
        plan = Plan(
            host="127.0.0.1",
            port=self.gateway.tls_port,
            devices=devices,
            marker=ca.name,
            ca=ca / "servers.pem",
            certs=ca / "devices",
            rate=len(devices),
            state=False,
            backoff_s=2.0,
        )
        return Fleet(plan, self.directory / f"{ca.name}.ledger")

    async def read_again(self, times: int) -> bool:
        said = f"re-read the certificates of 127.0.0.1:{self.gateway.tls_port}"
        return await Fleet.until(lambda: self.gateway.log().count(said) == times, PATIENCE_S)


async def test_a_fleet_of_200_changes_its_ca_and_only_who_has_to_go_goes(
    new_gateway: NewGateway, tmp_path: Path
) -> None:
    gateway = new_gateway()
    site = Site(gateway, tmp_path)
    gateway.start()
    early = site.fleet(site.old, FLEET, site.old)
    await early.start()
    assert await early.connected(UP_S), early.last_error()

    # 1 and 2: a new CA, and both are good
    certs("init", "--dir", site.new, "--name", "site 7, 2026")
    site.trust(site.old, site.new)
    assert await site.read_again(1), gateway.log()

    # 3: devices get certificates of the new CA, and trust servers of both; new ones come, too
    site.issue(site.new, MOVING + ADDED)
    for name in MOVING:
        await early.devices[name].link.stop()
    late = site.fleet(site.new, MOVING + ADDED, site.old, site.new)
    await late.start()
    assert await late.connected(UP_S), late.last_error()

    said = certificates_in_use(gateway)
    assert said == f"certificates in use: {len(STAYING)} of site 7, 2021, {len(MOVING + ADDED)} of site 7, 2026"

    # 4: the gateway's own certificate
    site.show(site.new)
    assert await site.read_again(2), gateway.log()
    assert connected(early, STAYING) == STAYING
    assert early.figures().connections == len(FLEET), "somebody had to connect again"
    assert not SAID_WHO_ENDED.search(gateway.log())

    # 5: the old CA goes, and with it those who have not moved
    site.trust(site.new)
    assert await Fleet.until(lambda: not connected(early, STAYING), PATIENCE_S), gateway.log()[-2000:]
    assert sorted(SAID_WHO_ENDED.findall(gateway.log())) == list(STAYING)

    late.stop_publishing()
    assert await late.drained(PATIENCE_S), late.figures()
    figures = late.figures()
    assert (figures.connected, figures.connections) == (len(MOVING + ADDED), len(MOVING + ADDED)), "somebody noticed"
    assert (figures.resent, figures.refused, figures.acknowledged) == (0, 0, figures.published)
    assert not connected(early, STAYING), "let in again"
    await late.stop()
    await early.stop()
    assert gateway.stop() == 0
    told = read_ledger([tmp_path / "old.ledger", tmp_path / "new.ledger"])
    found = audit_jsonl(Auditor(), told, gateway.directory / "out", "telemetry", None)
    assert found.clean, found
    assert found.acknowledged >= figures.acknowledged
