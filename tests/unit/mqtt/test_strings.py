"""Strings (MQTT5 §1.5.4, §1.5.7): kept byte by byte where they are good, the connection's end where they are not."""

from __future__ import annotations

import pytest

from bridge.message import Message
from bridge.mqtt import packets
from bridge.mqtt.events import Disconnected, SubscribeRequested
from bridge.mqtt.reasons import Reason
from bridge.mqtt.session import Session
from bridge.mqtt.subscription import Subscription
from tests.unit.mqtt.support import LIMITS, Link

MARK = "\ufeff"
BAD = [b"\xff", b"a\xed\xa0\x80", b"a\0b", b"\xc0\xaf"]
"""No UTF-8, a surrogate, U+0000, a slash in more bytes than it needs."""


def string(raw: bytes) -> bytes:
    return len(raw).to_bytes(2, "big") + raw


def packet(first: int, body: bytes) -> bytes:
    assert len(body) < 128
    return bytes((first, len(body))) + body


def properties(version: int, body: bytes = b"") -> bytes:
    return bytes((len(body),)) + body if version == 5 else b""


@pytest.mark.mqtt("MQTT-1.5.4-3")
def test_a_byte_order_mark_stays_wherever_it_stands(version: int) -> None:
    link, name = Link(version).connect(), f"{MARK}a/{MARK}"
    link.answers()
    published, asked = link.send(Message(name, b""), packets.Subscribe(1, (Subscription(name),)))
    assert isinstance(published, Message)
    assert isinstance(asked, SubscribeRequested)
    assert (published.topic, asked.subscriptions[0].filter) == (name, name)
    link.session.deliver(Message(name, b""), Subscription("#"))
    assert link.answers() == [Message(name, b"")]


@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize("first", [0x30, 0x82, 0xA2], ids=["topic name", "filter", "filter to leave"])
@pytest.mark.mqtt(
    "MQTT-1.5.4-1", "MQTT-1.5.4-2", "MQTT-3.3.2-1", "MQTT-3.8.3-1", "MQTT-3.10.3-1", "MQTT-4.7.3-2", "MQTT-4.13.1-1"
)
def test_a_topic_that_is_no_good_string_ends_the_connection(version: int, first: int, bad: bytes) -> None:
    body = {
        0x30: string(bad) + properties(version),
        0x82: b"\0\x01" + properties(version) + string(bad) + b"\0",
        0xA2: b"\0\x01" + properties(version) + string(bad),
    }[first]
    link = Link(version).connect()
    (event,) = link.send_bytes(packet(first, body))
    assert isinstance(event, Disconnected)
    assert (event.reason, link.session.closed) == (Reason.MALFORMED_PACKET, True)


@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize(
    ("before", "behind"),
    [(b"\x26", string(b"value")), (b"\x26" + string(b"name"), b""), (b"\x08", b""), (b"\x03", b"")],
    ids=["name of a user property", "value of a user property", "response topic", "content type"],
)
@pytest.mark.mqtt("MQTT-1.5.7-1", "MQTT-3.3.2-13", "MQTT-3.3.2-19")
def test_a_property_that_is_no_good_string_ends_the_connection(before: bytes, behind: bytes, bad: bytes) -> None:
    link = Link(5).connect()
    (event,) = link.send_bytes(packet(0x30, string(b"t") + properties(5, before + string(bad) + behind)))
    assert isinstance(event, Disconnected)
    assert event.reason == Reason.MALFORMED_PACKET


@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize("place", ["client id", "will topic", "user name"])
@pytest.mark.mqtt("MQTT-3.1.3-4", "MQTT-3.1.3-11", "MQTT-3.1.3-12", "MQTT-3.1.4-1")
def test_a_connect_with_no_good_string_is_not_let_in(version: int, place: str, bad: bytes) -> None:
    """3.1.1 hears nothing, 5 a CONNACK with the reason."""
    texts = {each: bad if each == place else b"x" for each in ("client id", "will topic", "user name")}
    will = properties(version) + string(texts["will topic"]) + string(b"message")
    payload = string(texts["client id"]) + will + string(texts["user name"])
    head = string(b"MQTT") + bytes((version, 0x86)) + b"\0\0" + properties(version)
    session = Session(LIMITS)
    (event,) = session.receive(packet(0x10, head + payload), 0.0)
    assert isinstance(event, Disconnected)
    assert (event.reason, event.will, session.closed) == (Reason.MALFORMED_PACKET, False, True)
    assert session.take_output()[:1] == (b"\x20" if version == 5 else b"")
