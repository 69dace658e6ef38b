"""What is said of devices that no gateway knows yet, and of those that move: each gets it when it connects."""

from __future__ import annotations

import json

import pytest

from tests.interop.gateway import wait_until
from tests.interop.paho_device import Device
from tests.support.curl import curl
from tests.support.kafka.fleet_site import Fleet


@pytest.fixture
def fleet(kafka, tmp_path, read):
    fleet = Fleet(tmp_path, kafka, read)
    yield fleet
    fleet.end()


def desired_of(device, name):
    """What the device finds retained, once it is there."""
    assert device.subscribe(f"devices/{name}/state/desired", 1) == 1
    _, payload, _, _ = device.message()
    return json.loads(payload)


def passed(fleet, gateway):
    """Waits until the gateway has taken in all that the desired topic had: a mark's document shows it."""
    mark = f"mark-{gateway.port}"
    with Device(gateway.port, mark):
        fleet.desire(*((mark, {"version": number, "state": {}}) for number in (1, 2)))
        fleet.documents.wait(lambda docs: docs[mark]["desired"]["version"] == 2)


def test_a_device_that_nobody_knew_gets_what_was_meant_for_it(fleet):
    a, b = fleet.start("gw-a"), fleet.start("gw-b")
    fleet.desire(
        ("dev-1", {"version": 4, "state": {"interval_s": 10}}),
        ("labels/dev-1", {"version": 2, "labels": {"site": "north"}}),
        ("dev-2", {"version": 9, "state": {}}),
        ("dev-2", None),
        ("labels/dev-1", b"{"),
        ("labels/dev-3", {"labels": {"no good": "x"}}),
    )
    for gateway in (a, b):
        passed(fleet, gateway)
    assert fleet.documents.latest().keys() & {"dev-1", "dev-2", "dev-3"} == set(), "nobody keeps the whole fleet"
    with Device(b.port, "dev-1") as device, Device(b.port, "dev-2"), Device(b.port, "dev-3"):
        assert desired_of(device, "dev-1") == {"version": 4, "state": {"interval_s": 10}}
        documents = fleet.documents.wait(lambda docs: docs["dev-1"]["desired"] and docs["dev-2"] and docs["dev-3"])
    assert documents["dev-1"]["desired"]["version"] == 4
    assert (documents["dev-2"]["desired"], "labels" in documents["dev-3"]) == (None, False)


def test_labels_go_where_the_device_goes(fleet):
    a, b = fleet.start("gw-a"), fleet.start("gw-b")
    with Device(a.port, "dev-1"):
        fleet.desire(("labels/dev-1", {"labels": {"site": "north"}}))
        fleet.documents.wait(lambda docs: docs["dev-1"]["labels"] == {"site": "north"})
    a.kill()
    fleet.desire(("labels/dev-1", {"labels": {"site": "south", "model": "x1"}}))
    passed(fleet, b)
    with Device(b.port, "dev-1"):
        fleet.documents.wait(
            lambda docs: (
                docs["dev-1"]["labels"] == {"site": "south", "model": "x1"}
                and docs["dev-1"]["presence"]["gateway"] == "gw-b"
            )
        )
        fleet.desire(("labels/dev-1", None))
        fleet.documents.wait(lambda docs: "labels" not in docs["dev-1"])
    assert fleet.documents.replaced() == []


def test_what_is_desired_while_the_device_moves_is_not_lost(fleet):
    a, b = fleet.start("gw-a"), fleet.start("gw-b")
    for number in range(1, 6):
        here = (a, b)[number % 2]
        fleet.desire(("dev-1", {"version": number, "state": {"n": number}}))
        with Device(here.port, "dev-1"):
            fleet.documents.wait(lambda docs, number=number: docs["dev-1"]["desired"]["version"] == number)
    wait_until(lambda: fleet.documents.latest()["dev-1"]["desired"]["state"] == {"n": 5}, "the last one stays")
    assert fleet.documents.replaced() == []


def test_nobody_keeps_the_whole_fleet_and_one_of_many_gets_its_own(fleet):
    others = 100_000
    fleet.desire(*((f"other-{number}", b'{"version":1,"state":{"n":%d}}' % number) for number in range(others)))
    gateway = fleet.start("gw-a")
    with Device(gateway.port, "other-4711") as device, Device(gateway.port, "nobody"):
        fleet.documents.wait(lambda docs: docs["other-4711"]["desired"])
        assert desired_of(device, "other-4711") == {"version": 1, "state": {"n": 4711}}
        fleet.desire(("other-4711", {"version": 2, "state": {}}))
        assert json.loads(device.message()[1])["version"] == 2
    said = curl("http://gateway/status", socket=gateway.directory / "data" / "admin.sock").body
    assert said["status"]["documents"]["kept"] == 2
    assert gateway.stop() == 0
