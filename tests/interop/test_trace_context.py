"""Trace context from a device's MQTT 5 user properties to the record's headers, through a real daemon."""

from __future__ import annotations

import re

import msgspec
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from tests.interop.conftest import NewGateway
from tests.interop.gateway import Gateway, wait_until
from tests.interop.paho_device import V311, Device

PARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
ROUTES = """
[[routes]]
filter = "devices/{device}/telemetry/#"
topic = "telemetry"
seal = "plain"
[[routes]]
filter = "devices/{device}/traced/#"
topic = "telemetry"
seal = "plain"
trace = "start"
"""


def headers(gateway: Gateway) -> dict[str, dict[str, str]]:
    """By payload, the headers of what was forwarded."""
    found = {}
    for path in sorted((gateway.directory / "out").rglob("*.jsonl")):
        for line in path.read_bytes().split(b"\n")[:-1]:
            record = msgspec.json.decode(line)
            found[record["value"]] = dict(record["headers"])
    return found


def user(*pairs: tuple[str, str]) -> Properties:
    properties = Properties(PacketTypes.PUBLISH)
    properties.UserProperty = list(pairs)
    return properties


def test_carried_dropped_and_begun(new_gateway: NewGateway) -> None:
    gateway = new_gateway(routes=ROUTES).start()
    plain, traced = "devices/d/telemetry/t", "devices/d/traced/t"
    with Device(gateway.port, "d") as device:
        device.publish(plain, b"both", 1, properties=user(("traceparent", PARENT), ("tracestate", "a=1"), ("x", "y")))
        device.publish(plain, b"bad", 1, properties=user(("traceparent", PARENT.upper()), ("tracestate", "a=1")))
        device.publish(plain, b"none", 1)
        device.publish(traced, b"own", 1, properties=user(("traceparent", PARENT)))
        device.publish(traced, b"bad, begun", 1, properties=user(("traceparent", "nonsense"), ("tracestate", "a=1")))
    with Device(gateway.port, "old", V311) as device:
        for number in range(3):
            device.publish("devices/old/traced/t", b"begun %d" % number, 1)
    wait_until(lambda: len(headers(gateway)) == 8, "eight records")
    found = headers(gateway)
    assert (found["both"]["traceparent"], found["both"]["tracestate"]) == (PARENT, "a=1")
    assert found["both"]["user-x"] == "y"
    for name in ("bad", "none"):
        assert not [each for each in found[name] if "trace" in each]
    assert found["own"]["traceparent"] == PARENT
    begun = [found[name] for name in ("bad, begun", "begun 0", "begun 1", "begun 2")]
    assert len({each["traceparent"] for each in begun}) == 4
    assert all(re.fullmatch("00-[0-9a-f]{32}-[0-9a-f]{16}-01", each["traceparent"]) for each in begun)
    assert not any("tracestate" in each for each in begun)
