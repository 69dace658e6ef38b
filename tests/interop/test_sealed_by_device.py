"""`seal = "require_sealed"` through a real daemon: what devices seal goes on to its readers, nothing else does."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from bridge.log.record import decode_headers
from bridge.security import keys
from bridge.security.device_seal import DeviceSealer
from bridge.security.envelope import Opener, open_record
from firmware_sim.audit import Auditor
from firmware_sim.audit_command import audit_jsonl
from firmware_sim.fleet import Fleet
from firmware_sim.ledger import read_ledger
from firmware_sim.plan import Plan
from tests.interop.conftest import NewGateway
from tests.interop.gateway import CHECKOUT, Gateway, wait_until
from tests.interop.paho_device import V5, V311, Device

ROUTES = """
[[routes]]
filter = "devices/{device}/telemetry/#"
topic = "telemetry"
seal = "require_sealed"
recipients = ["team"]
%s
[recipients.team]
public_key = "team.pub"
"""
TOPIC = "devices/%s/telemetry/main"
SECRET = b"planted-21.5"


@pytest.fixture
def gateway(new_gateway: NewGateway) -> Gateway:
    return started(new_gateway, "")


def started(new_gateway: NewGateway, settings: str) -> Gateway:
    gateway = new_gateway(routes=ROUTES % settings)
    for name in ("team", "stranger"):
        keys.new(name, gateway.directory)
    return gateway.start()


def sealer(gateway: Gateway, device: str, reader: str = "team") -> DeviceSealer:
    return DeviceSealer(device, [keys.load_public(gateway.directory / f"{reader}.pub")], os.urandom)


def opener(gateway: Gateway) -> Opener:
    return Opener([keys.load_private(gateway.directory / "team.key")])


def opened(gateway: Gateway) -> dict[tuple[str, int | None], bytes]:
    """From the log: payload by device and its number."""
    found = {}
    for record in gateway.records():
        headers = dict(decode_headers(record.headers))
        if "seal" in headers:
            device = next(name for name in ("new", "old") if name.encode() in record.context)
            of = open_record(opener(gateway), headers, device.encode(), record.payload, topic=TOPIC % device)
            found[of.device, of.number] = of.payload
    return found


def test_what_is_sealed_is_taken_in_at_every_quality_and_anything_else_is_not(gateway: Gateway) -> None:
    for name, version in (("new", V5), ("old", V311)):
        device_seal = sealer(gateway, name)
        with Device(gateway.port, name, version) as device:
            for qos in (0, 1, 2):
                assert device.publish(TOPIC % name, device_seal.seal(TOPIC % name, SECRET), qos) == 0
    for_strangers = sealer(gateway, "new", "stranger").seal(TOPIC % "new", SECRET)
    with Device(gateway.port, "new", V5) as device:
        device.client.publish(TOPIC % "new", SECRET, 0)
        for payload in (SECRET, for_strangers, b""):
            assert device.publish(TOPIC % "new", payload, 1) == 0x99
        assert device.publish("devices/new/elsewhere", b"not on that route", 1) < 0x80
    with Device(gateway.port, "old", V311) as device:
        device.client.publish(TOPIC % "old", SECRET, 1)
        wait_until(lambda: device.disconnects, "the end of the connection")
    assert opened(gateway) == {(name, number): SECRET for name in ("new", "old") for number in (1, 2, 3)}
    assert "the payload is sealed for nobody whom this route knows" in gateway.log()
    assert "the payload is not sealed" in gateway.log()
    wait_until(lambda: len(gateway.forwarded()) == 6, "six records")


def test_check_says_who_seals(gateway: Gateway) -> None:
    command = [sys.executable, "-m", "bridge", "check", "--config", str(gateway.config)]
    said = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=True).stdout
    assert "sealed by the device, for team" in said


def test_a_local_subscriber_gets_what_the_device_sealed(gateway: Gateway) -> None:
    with Device(gateway.port, "new") as device:
        device.subscribe(TOPIC % "new", 1)
        published = sealer(gateway, "new").seal(TOPIC % "new", SECRET)
        device.publish(TOPIC % "new", published, 1)
        assert device.message()[1] == published


@pytest.mark.parametrize(("name", "version"), [("new", V5), ("old", V311)])
def test_a_will_has_to_be_sealed_or_there_is_no_connection(gateway: Gateway, name: str, version: int) -> None:
    with Device(gateway.port, name, version, will=(TOPIC % name, SECRET, 1, True)) as device:
        wait_until(lambda: device.disconnects, "the end of the connection")
        assert device.connects == []
    assert "its will: the payload is not sealed" in gateway.log()
    sealed = sealer(gateway, name).seal(TOPIC % name, SECRET)
    with Device(gateway.port, name, version, will=(TOPIC % name, sealed, 1, True)) as device:
        device.drop()
    wait_until(lambda: opened(gateway) == {(name, 1): SECRET}, "the will that is sealed")
    assert not any(SECRET in file.read_bytes() for file in (gateway.directory / "data").rglob("*") if file.is_file())


def test_new_recipients_are_known_without_a_restart(gateway: Gateway) -> None:
    with Device(gateway.port, "new") as device:
        payload = sealer(gateway, "new", "stranger").seal(TOPIC % "new", SECRET)
        assert device.publish(TOPIC % "new", payload, 1) == 0x99
        public = (gateway.directory / "stranger.pub").read_text()
        (gateway.directory / "next").write_text(public)
        (gateway.directory / "next").rename(gateway.directory / "team.pub")
        wait_until(lambda: "recipients have changed" in gateway.log(), "the new key")
        assert device.publish(TOPIC % "new", payload, 1) == 0


@pytest.mark.parametrize("form", ["", 'key = "none"', 'format = "cloudevents"'])
def test_a_fleet_that_seals_is_audited(new_gateway: NewGateway, tmp_path: Path, form: str) -> None:
    gateway = started(new_gateway, form)
    plan = Plan(
        host="127.0.0.1", port=gateway.port, devices=("dev-1", "dev-2", "dev-3", "dev-4"), marker="planted-run",
        qos=(1, 2), messages=20, rate=400, state=False, seal_for=(gateway.directory / "team.pub",),
    )  # fmt: skip
    asyncio.run(run(plan, tmp_path / "ledger"))
    wait_until(lambda: len(gateway.forwarded()) >= 80, "80 records")
    ledger = read_ledger([tmp_path / "ledger"])
    found = audit_jsonl(Auditor(opener(gateway)), ledger, gateway.directory / "out", "telemetry", None)
    if form == 'key = "none"':
        assert found.altered.count == 80, "the audit wants the device as key"
        assert (found.unopened.count, found.sealed_by_device) == (0, 80)
    else:
        assert (found.clean, found.arrived, found.sealed_by_device) == (True, 80, 80), msgspec.json.encode(found)
    files = [path for path in gateway.directory.rglob("*") if path.is_file() and path.name != "gateway.log"]
    assert [path for path in files if b"planted" in path.read_bytes()] == []
    assert "planted" not in gateway.log()


async def run(plan: Plan, ledger: Path) -> None:
    fleet = Fleet(plan, ledger)
    await fleet.start()
    assert await fleet.finished(60)
    await fleet.stop()


def test_the_fleets_command_seals_and_says_when_it_cannot(gateway: Gateway, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "firmware_sim", "run", "--port", str(gateway.port), "--devices", "2", "--no-state",
               "--messages", "5", "--rate", "100", "--ledger", str(tmp_path / "ledger"), "--seal-for"]  # fmt: skip
    none = subprocess.run([*command, "none.pub"], cwd=CHECKOUT, capture_output=True, text=True, check=False)
    assert none.returncode == 2
    assert "none.pub cannot be read" in none.stderr
    subprocess.run([*command, str(gateway.directory / "team.pub")], cwd=CHECKOUT, capture_output=True, check=True)
    wait_until(lambda: len(gateway.forwarded()) == 10, "10 records")
    audit = [sys.executable, "-m", "firmware_sim", "audit", "--ledger", str(tmp_path / "ledger"), "--jsonl",
             str(gateway.directory / "out"), "--key", str(gateway.directory / "team.key"), "--json"]  # fmt: skip
    found = json.loads(subprocess.run(audit, cwd=CHECKOUT, capture_output=True, check=True).stdout)
    assert (found["arrived"], found["sealed_by_device"]) == (10, 10)
