"""Commands to groups on a real Kafka with two gateways, and kill -9 while they are handed out."""

from __future__ import annotations

import contextlib
import os
import signal
import sqlite3
import time
from collections import Counter

import pytest

from firmware_sim.child import children_of
from tests.interop.gateway import wait_until
from tests.interop.paho_device import Device
from tests.support.kafka.fleet_site import Fleet

FINAL = {"succeeded", "failed", "expired", "cancelled", "refused"}
PATIENCE_S = 60.0


@pytest.fixture
def fleet(kafka, tmp_path, read):
    fleet = Fleet(tmp_path, kafka, read)
    yield fleet
    fleet.end()


def answering(device, name):
    """The device takes commands and does them all."""

    def do(client, _user, message):
        client.publish(f"{message.topic}/result", b'{"status": "succeeded"}', 1)

    device.client.on_message = do
    assert device.subscribe(f"devices/{name}/commands/+", 1) == 1


def finals(fleet):
    """Of each key, gateway and id the final outcome; AssertionError where there are two."""
    found = {}
    for key, gateway, value in fleet.outcomes():
        if value["outcome"] in FINAL:
            where = (key, gateway, value["id"])
            assert where not in found, (where, value, found[where])
            found[where] = value
    return found


def summary(fleet, gateway, group, name):
    """Waits for it."""
    where = (f"group/{group}", gateway, name)
    wait_until(lambda: where in finals(fleet), f"{where}", PATIENCE_S)
    return finals(fleet)[where]


def test_each_gateway_hands_it_out_to_its_own_and_sums_up(fleet):
    a, b = fleet.start("gw-a"), fleet.start("gw-b")
    with Device(a.port, "dev-1") as one, Device(b.port, "dev-2") as two, Device(b.port, "dev-3"):
        answering(one, "dev-1")
        answering(two, "dev-2")
        fleet.desire(*((f"labels/dev-{number}", {"labels": {"site": "north"}}) for number in (1, 2)))
        fleet.documents.wait(lambda docs: docs["dev-1"]["labels"] and docs["dev-2"]["labels"])
        order = {"id": "c1", "name": "reboot"}
        fleet.command(("group/site=north", order), ("group/site=north", order), ("group/no group", order))
        fleet.command(("group/all", b"["), ("group/all", {"id": "c9", "name": "x", "payload": "x" * 5000}))
        for gateway in ("gw-a", "gw-b"):
            told = summary(fleet, gateway, "site=north", "c1")
            assert (told["outcome"], told["devices"], told["counts"]) == ("succeeded", 1, {"succeeded": 1})
            assert summary(fleet, gateway, "no group", "c1")["outcome"] == "refused"
            assert "more than 4096" in summary(fleet, gateway, "all", "c9")["detail"]
            assert summary(fleet, gateway, "all", None)["outcome"] == "refused"
        assert finals(fleet)["dev-1", "gw-a", "c1"]["group"] == "site=north"
        assert {key for key, _, _ in finals(fleet)} >= {"dev-1", "dev-2"}
        assert "dev-3" not in {key for key, _, _ in fleet.outcomes()}


def test_deadline_and_taking_back_hold_for_those_that_sleep(fleet):
    gateway = fleet.start("gw-a")
    for number in range(3):
        with Device(gateway.port, f"dev-{number}"):
            pass
    fleet.documents.wait(lambda docs: len(docs) == 4)
    soon = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 6))
    fleet.command(("group/all", {"id": "late", "name": "x", "deadline": soon}))
    fleet.command(("group/all", {"id": "back", "name": "x"}))
    wait_until(lambda: ("group/all", "queued") in [(k, v["outcome"]) for k, _, v in fleet.outcomes()], "it is taken in")
    with Device(gateway.port, "dev-0") as awake:
        answering(awake, "dev-0")
        wait_until(lambda: ("dev-0", "gw-a", "back") in finals(fleet), "it is done", PATIENCE_S)
        fleet.command(("group/all", {"id": "back", "cancel": True}))
        told = summary(fleet, "gw-a", "all", "back")
    assert (told["outcome"], told["counts"]) == ("cancelled", {"succeeded": 1, "cancelled": 2})
    assert summary(fleet, "gw-a", "all", "late")["counts"] == {"succeeded": 1, "expired": 2}


@pytest.mark.parametrize("side", ["device", "bus"])
def test_killed_in_the_middle_each_device_and_the_group_have_one_final_outcome(fleet, side):
    count = 150
    gateway = fleet.start("gw-a", "group_slice = 1\n")
    names = [f"dev-{number:03d}" for number in range(count)]
    for name in names:
        with Device(gateway.port, name, keepalive_s=600):
            pass
    other = fleet.start("gw-b")
    for number in range(5):
        with Device(other.port, f"other-{number}"):
            pass
    fleet.documents.wait(lambda docs: len(docs) == count + 5 + 2)
    fleet.command(("group/all", {"id": "c1", "name": "x", "response": False}))
    cut = time.monotonic() + PATIENCE_S
    while not rows(gateway, "commands"):
        assert time.monotonic() < cut
    for _ in range(3):
        if side == "device":
            gateway.kill()
            gateway.start()
        else:
            for pid in children_of(gateway.pid):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.5)
    wait_until(lambda: rows(gateway, "commands") == count, "all are handed out", PATIENCE_S)
    for name in names[:20]:
        with Device(gateway.port, name) as device:
            device.subscribe(f"devices/{name}/commands/+", 1)
            device.message()
    fleet.command(("group/all", {"id": "c1", "cancel": True}))
    if side == "device":
        gateway.kill()
        gateway.start()
    told = summary(fleet, "gw-a", "all", "c1")
    ends = Counter(value["outcome"] for (key, _, _), value in finals(fleet).items() if key in names)
    assert told["counts"] == ends
    assert (sum(ends.values()), set(ends)) == (count, {"succeeded", "cancelled"})
    assert ends["succeeded"] >= 20
    assert summary(fleet, "gw-b", "all", "c1")["counts"] == {"cancelled": 5}


def rows(gateway, table):
    """How many the gateway's store has."""
    path = gateway.directory / "data" / "cold.sqlite"
    with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as cold:
        (found,) = cold.execute(f"SELECT COUNT(*) FROM {table}").fetchone()
    return found
