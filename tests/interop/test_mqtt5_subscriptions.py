"""Subscriptions of MQTT 5 on the wire, with paho-mqtt: shared, overlapping, identifiers, options."""

from __future__ import annotations

from contextlib import ExitStack

import pytest
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions

from tests.interop.gateway import Gateway, wait_until
from tests.interop.paho_device import Device


@pytest.mark.paho("shared")
def test_a_shared_subscription(meeting: Gateway) -> None:
    with ExitStack() as stack:
        members = [stack.enter_context(Device(meeting.port, f"member-{n}")) for n in range(3)]
        for member in members:
            assert member.subscribe("$share/team/open/jobs/+", 1) == 1
        publisher = stack.enter_context(Device(meeting.port, "boss"))
        for number in range(30):
            publisher.publish(f"open/jobs/{number}", b"%d" % number, 1)
        got = [int(member.message()[1]) for member in members for _ in range(10)]
        assert sorted(got) == list(range(30))
        assert all(member.messages.empty() for member in members)


def _subscribe(device: Device, topic_filter: str, *, identifier: int = 0, **options: int | bool) -> None:
    properties = Properties(PacketTypes.SUBSCRIBE)
    if identifier:
        properties.SubscriptionIdentifier = identifier
    _, mid = device.client.subscribe(topic_filter, options=SubscribeOptions(**options), properties=properties)
    wait_until(lambda: mid in device.subscribed, "SUBACK")


@pytest.mark.paho("subscription identifiers")
@pytest.mark.mqtt("MQTT-3.3.4-2", "MQTT-3.3.4-4")
def test_overlapping_subscriptions_give_one_copy_with_every_identifier(meeting: Gateway) -> None:
    """[MQTT-3.3.4-2] [MQTT-3.3.4-4]."""
    with Device(meeting.port, "both") as device:
        _subscribe(device, "open/over/#", identifier=2, qos=2)
        _subscribe(device, "open/over/+", identifier=1, qos=1)
        device.publish("open/over/lap", b"x", 2)
        got = device.messages.get(timeout=10)
        assert got.properties is not None
        assert (got.qos, sorted(got.properties.SubscriptionIdentifier)) == (2, [1, 2])
        assert device.publish("open/over", b"y", 2) == 0
        got = device.messages.get(timeout=10)
        assert got.properties is not None
        assert (got.payload, got.properties.SubscriptionIdentifier) == (b"y", [2])
        assert device.messages.empty()


@pytest.mark.paho("subscribe options")
def test_subscribe_options(meeting: Gateway) -> None:
    """No Local, Retain As Published and Retain Handling (MQTT5 §3.8.3.1)."""
    with Device(meeting.port, "one") as one, Device(meeting.port, "two") as two:
        _subscribe(one, "open/options", qos=1, noLocal=True)
        _subscribe(two, "open/options", qos=1, retainAsPublished=True)
        one.publish("open/options", b"from one", 1, retain=True)
        two.publish("open/options", b"from two", 1, retain=True)
        assert one.message() == ("open/options", b"from two", 1, False)
        assert [two.message()[1::2] for _ in range(2)] == [(b"from one", True), (b"from two", True)]
        for handling, sent in ((0, True), (1, False), (2, False)):
            _subscribe(one, "open/options", qos=1, noLocal=True, retainHandling=handling)
            if sent:
                assert one.message() == ("open/options", b"from two", 1, True)
        one.client.unsubscribe("open/options")
        _subscribe(one, "open/options", qos=1, retainHandling=1)
        assert one.message() == ("open/options", b"from two", 1, True)
        two.publish("open/options", b"", 1, retain=True)
        assert one.message() == ("open/options", b"", 1, False)
        assert one.messages.empty()


def test_the_figures_under_sys(meeting: Gateway) -> None:
    with Device(meeting.port, "curious") as device:
        assert device.subscribe("$SYS/broker/#") == 0
        wanted = {f"$SYS/broker/{name}" for name in ("version", "uptime", "clients/connected", "publish/messages/sent")}
        told: dict[str, bytes] = {}
        while not wanted <= told.keys():
            topic, payload = device.message()[:2]
            told[topic] = payload
        assert told["$SYS/broker/version"].startswith(b"busbridge version ")
        assert told["$SYS/broker/uptime"].endswith(b" seconds")
        assert int(told["$SYS/broker/clients/connected"]) >= 0
