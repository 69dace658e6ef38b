"""What is desired of groups, on a real Kafka with two gateways: who is in a group is told, whenever that begins."""

from __future__ import annotations

import json
import shutil

import jsonschema_rs
import pytest

from tests.interop.gateway import wait_until
from tests.interop.paho_device import Device
from tests.support.kafka.fetch import CHECKOUT
from tests.support.kafka.fleet_site import Fleet

SCHEMA = CHECKOUT / "docs" / "device-document.schema.json"


@pytest.fixture
def fleet(kafka, tmp_path, read):
    fleet = Fleet(tmp_path, kafka, read)
    yield fleet
    fleet.end()


def desired(documents, device):
    return documents[device]["desired"]["state"]


def test_a_group_is_told_on_every_gateway_and_who_comes_or_goes_follows(fleet):
    a, b = fleet.start("gw-a"), fleet.start("gw-b")
    with Device(a.port, "dev-1") as one, Device(b.port, "dev-2") as two:
        one.subscribe("devices/dev-1/state/desired", 1)
        two.subscribe("devices/dev-2/state/desired", 1)
        fleet.desire(
            ("labels/dev-1", {"labels": {"site": "north"}}),
            ("labels/dev-2", {"labels": {"site": "north", "model": "x1"}}),
            ("labels/dev-3", {"labels": {"site": "north"}}),
            ("dev-1", {"version": 4, "state": {"mine": 1, "shared": "own"}}),
            ("group/all", {"version": 1, "state": {"all": True, "shared": "all"}}),
            ("group/site=north", {"version": 7, "state": {"site": "n", "shared": "site"}}),
            ("group/no such", {"version": 7, "state": {}}),
            ("group/model=x1", b"["),
        )
        whole = {"all": True, "shared": "own", "site": "n", "mine": 1}
        documents = fleet.documents.wait(
            lambda docs: desired(docs, "dev-1") == whole and desired(docs, "dev-2").get("site") == "n"
        )
        origins = [{"group": "all", "version": 1}, {"group": "site=north", "version": 7}]
        assert documents["dev-1"]["desired"]["groups"] == origins
        assert documents["dev-1"]["desired"]["own"]["version"] == 4
        assert documents["dev-2"]["desired"]["own"] is None
        assert desired(documents, "dev-2") == {"all": True, "shared": "site", "site": "n"}
        with Device(b.port, "dev-3") as three:
            three.subscribe("devices/dev-3/state/desired", 1)
            fleet.documents.wait(lambda docs: desired(docs, "dev-3") == {"all": True, "shared": "site", "site": "n"})
        fleet.desire(("labels/dev-2", {"labels": {}}), ("group/all", None))
        fleet.documents.wait(lambda docs: docs["dev-2"]["desired"] is None)
        documents = fleet.documents.wait(lambda docs: "all" not in desired(docs, "dev-1"))
        assert desired(documents, "dev-1") == {"shared": "own", "site": "n", "mine": 1}
        told = [json.loads(message.payload) for message in one.messages.queue]
    fits = jsonschema_rs.validator_for(SCHEMA.read_text(), validate_formats=True)
    for record in fleet.read(f"{fleet.name}-state"):
        if not record.key().startswith(b"gateway/"):
            fits.validate(json.loads(record.value()))
    versions = [each["version"] for each in told]
    assert versions == sorted(set(versions)), "each version once, and never an older one"
    assert told[-1]["state"] == {"shared": "own", "site": "n", "mine": 1}


def test_a_gateway_with_a_new_disk_knows_the_groups_again_and_a_device_moves_with_its_own_part(fleet):
    a, b = fleet.start("gw-a"), fleet.start("gw-b")
    fleet.desire(("group/all", {"state": {"all": 1}}), ("dev-1", {"version": 2, "state": {"own": 1}}))
    with Device(a.port, "dev-1"):
        before = fleet.documents.wait(lambda docs: desired(docs, "dev-1") == {"all": 1, "own": 1})["dev-1"]["desired"]
    a.kill()
    shutil.rmtree(a.directory / "data")
    with Device(b.port, "dev-1"):
        documents = fleet.documents.wait(
            lambda docs: docs["dev-1"]["presence"]["gateway"] == "gw-b" and docs["dev-1"]["presence"]["state"]
        )
        assert documents["dev-1"]["desired"]["version"] == before["version"], "nothing new is desired"
    a.start()
    with Device(a.port, "dev-2") as new, Device(a.port, "dev-1"):
        new.subscribe("devices/dev-2/state/desired", 1)
        assert json.loads(new.message()[1])["state"] == {"all": 1}
        fleet.documents.wait(lambda docs: docs["dev-1"]["presence"]["gateway"] == "gw-a")
        fleet.desire(("group/all", {"state": {"all": 2}}))
        documents = fleet.documents.wait(lambda docs: desired(docs, "dev-1") == {"all": 2, "own": 1})
    assert documents["dev-1"]["desired"]["own"]["version"] == 2
    assert fleet.documents.replaced() == []


def test_a_group_survives_a_kill_in_the_middle_of_its_devices(fleet):
    gateway = fleet.start("gw-a", "group_slice = 1\n")
    count = 40
    for number in range(count):
        with Device(gateway.port, f"dev-{number}"):
            pass
    fleet.documents.wait(lambda docs: len(docs) > count)
    fleet.desire(("group/all", {"version": 3, "state": {"interval_s": 9}}))
    wait_until(
        lambda: any((each.get("desired") or {}).get("version") for each in gateway.documents_of_all()), "it began"
    )
    gateway.kill()
    gateway.start()
    names = [f"dev-{number}" for number in range(count)]
    documents = fleet.documents.wait(lambda docs: all(docs[name]["desired"] is not None for name in names))
    assert {documents[name]["desired"]["groups"][0]["version"] for name in names} == {3}
