"""The gateway's own record and the devices' documents, as a reader finds them: held to their schemas."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

import jsonschema_rs
import msgspec

from tests.interop.conftest import NewGateway
from tests.interop.gateway import NO_SINK, Gateway, wait_until
from tests.interop.paho_device import V5, V311, Device

DOCS = Path(__file__).parents[2] / "docs"
ROUTES = """
[[routes]]
filter = "devices/{device}/telemetry/#"
topic = "telemetry"
seal = "plain"
format = "cloudevents"
[state]
topic = "device-state"
lease = "3 s"
"""


def schema(name: str) -> Any:
    return jsonschema_rs.validator_for((DOCS / name).read_text(), validate_formats=True)


def gateway_records(gateway: Gateway) -> list[dict[str, Any]]:
    """In the log, oldest first."""
    return [each for each in gateway.documents_of_all() if "device" not in each]


def test_every_document_fits_its_schema(new_gateway: NewGateway) -> None:
    gateway = new_gateway(routes=ROUTES)
    gateway.start()
    with Device(gateway.port, "dev-1", V5, clean=False, expiry_s=600) as device:
        assert device.publish("devices/dev-1/state/reported", b'{"a":{"b":null,"c":1}}', 2) == 0
        device.drop()
    with Device(gateway.port, "dev-1", V5, clean=False, expiry_s=600):
        pass
    with Device(gateway.port, "dev-2", V311):
        wait_until(lambda: gateway.presence("dev-2"), "dev-2's document")
        gateway.kill()
    gateway.start()
    assert gateway.stop() == 0
    devices, gateways = schema("device-document.schema.json"), schema("gateway-record.schema.json")
    documents = [each for each in gateway.documents_of_all() if "device" in each]
    for document in documents:
        devices.validate(document)
    for record in gateway_records(gateway):
        gateways.validate(record)
    seen = [each["presence"] for each in documents if each["device"] == "dev-1"]
    assert {(each["protocol"], each["session"], each["address"]) for each in seen} == {
        ("mqtt-5", "new", "loopback"),
        ("mqtt-5", "resumed", "loopback"),
    }
    assert [each["connected"] for each in seen] == sorted(each["connected"] for each in seen)
    assert all(each["state"] != "online" or each["since"] < each["lease_until"] for each in seen)
    assert gateway.presence("dev-2")["reason"] == "gateway-stopped"


def test_the_gateway_says_its_epoch_its_lease_and_what_flows_where(new_gateway: NewGateway) -> None:
    gateway = new_gateway(routes=ROUTES)
    gateway.start()
    wait_until(lambda: len({each["lease_until"] for each in gateway_records(gateway)}) >= 3, "the lease is renewed")
    assert gateway.stop() == 0
    gateway.start()
    assert gateway.stop() == 0
    records = gateway_records(gateway)
    first, last = records[0], records[-1]
    assert (first["gateway"], first["epoch"], last["epoch"]) == ("gw-test", 1, 2)
    assert first["at"] < first["lease_until"]
    assert last["at"] == last["lease_until"], "it was given back at the end"
    assert msgspec.json.decode(gateway.forwarded("device-state")[-1]) == last, "and Kafka knows"
    (route,) = first["routes"]
    assert (route["topic"], route["format"], first["topics"]["state"]) == ("telemetry", "cloudevents", "device-state")
    assert (route["event_type"], route["partition"], first["delivery"]) == ("busbridge.message", "key", None)


def test_while_kafka_is_away_one_renewal_waits_and_no_more(new_gateway: NewGateway) -> None:
    gateway = new_gateway(routes=ROUTES, sink=NO_SINK)
    gateway.start()
    wait_until(lambda: gateway_records(gateway), "the first")
    started = datetime.datetime.fromisoformat(gateway_records(gateway)[0]["at"])
    late = started + datetime.timedelta(seconds=3)
    with Device(gateway.port, "dev-1", V5) as device:
        wait_until(lambda: datetime.datetime.now(datetime.UTC) > late, "three renewals would have been due")
        device.publish("devices/dev-1/state/reported", b"{}", 1)
    assert len(gateway_records(gateway)) == 1
