"""Byte noise and mutated packets: each ends in valid events or a closed connection, never in an exception."""

from __future__ import annotations

import random
import tracemalloc
from collections.abc import Iterator

import pytest

from bridge.config import Mqtt
from bridge.message import Message
from bridge.mqtt import packets
from bridge.mqtt.encode import encode
from bridge.mqtt.events import (
    ConnectRequested,
    Disconnected,
    Event,
    Released,
    SubscribeRequested,
    UnsubscribeRequested,
)
from bridge.mqtt.packets import Packet
from bridge.mqtt.properties import Property
from bridge.mqtt.session import Session
from bridge.mqtt.session_state import SessionState
from bridge.mqtt.subscription import Subscription

LIMITS = Mqtt(max_packet_size=64 * 1024, receive_maximum=16)
COUNT = 10_000
MEMORY_MAX = 2_000_000
"""Bytes, at the worst moment of all sessions (one at a time), their test and their garbage."""

_WILL = Message("will/t", b"gone", 1, True)
_PROPERTIES: packets.Properties = {
    Property.CONTENT_TYPE: "text", Property.USER_PROPERTY: [("a", "b"), ("a", "c")], Property.RESPONSE_TOPIC: "r/t",
}  # fmt: skip
VALID: list[Packet] = [
    packets.Connect("c", True, 5, 10, _WILL, {Property.WILL_DELAY_INTERVAL: 5}, "user", b"pass"),
    packets.Connect("c", True, 4, 10, _WILL, {}, "user", b"pass"),
    Message("a/b", b"payload", 0),
    Message("a/b", b"payload" * 30, 1, packet_id=1, properties=_PROPERTIES),
    Message("a/b", b"payload", 2, packet_id=2),
    Message("a/b", b"", 1, packet_id=3, properties={Property.TOPIC_ALIAS: 1}),
    packets.Puback(1, 0x10, {Property.REASON_STRING: "why"}),
    packets.Pubrec(1),
    packets.Pubrel(2),
    packets.Pubcomp(1),
    packets.Subscribe(
        7, (Subscription("a/+/#", 2), Subscription("$share/g/b", 1)), {Property.USER_PROPERTY: [("k", "v")]}
    ),
    packets.Unsubscribe(8, ("a/+/#", "b")),
    packets.Pingreq(),
    packets.Disconnect(4, {Property.SESSION_EXPIRY_INTERVAL: 0}),
    packets.Auth(0x18, {Property.AUTHENTICATION_METHOD: "m"}),
    packets.Connack(0, True, {Property.RECEIVE_MAXIMUM: 4}),
    packets.Suback(7, (0, 1)),
]


def _mutate(data: bytes, rng: random.Random) -> bytes:
    mutated = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(mutated) + 1)
        kind = rng.randrange(4)
        if kind == 0 and at < len(mutated):
            mutated[at] = rng.randrange(256)
        elif kind == 1:
            mutated[at:at] = rng.randbytes(rng.randint(1, 4))
        elif kind == 2:
            del mutated[at : at + rng.randint(1, 4)]
        elif at < len(mutated):
            mutated[at] ^= 1 << rng.randrange(8)
    return bytes(mutated)


def _inputs(rng: random.Random) -> Iterator[tuple[int, bytes]]:
    """(version, bytes): noise, mutated packets, and packets in an order nobody sends them in."""
    for number in range(COUNT):
        version = rng.choice((4, 5))
        if number % 4 == 0:
            noise = rng.randbytes(rng.randint(1, 60))
            yield version, bytes((rng.choice(range(0x10, 0x100)), len(noise))) + noise
        elif number % 4 == 1:
            yield version, b"".join(encode(packet, version) for packet in rng.choices(VALID[2:], k=6))
        else:
            yield version, _mutate(b"".join(encode(packet, version) for packet in rng.choices(VALID, k=3)), rng)


def _respond(session: Session, event: Event, state: SessionState) -> None:
    """A broker that takes everything."""
    if isinstance(event, ConnectRequested):
        session.accept(state, present=True, now=0.0)
        session.deliver(Message("down", b"x", 2), Subscription("#", 2))
    elif isinstance(event, Message):
        session.acknowledge(event)
    elif isinstance(event, Released):
        session.complete(event.packet_id)
    elif isinstance(event, SubscribeRequested):
        session.subscribed(event.packet_id, [one.qos for one in event.subscriptions])
    elif isinstance(event, UnsubscribeRequested):
        session.unsubscribed(event.packet_id, [0] * len(event.filters))


def _run(session: Session, data: bytes, version: int, rng: random.Random) -> list[Event]:
    state = SessionState("c", version, 0, LIMITS)
    seen: list[Event] = []
    at = 0
    while at < len(data) and not session.closed:
        cut = rng.randint(1, 40)
        events = session.receive(data[at : at + cut], 0.0)
        for event in events:
            _respond(session, event, state)
        seen += events
        session.take_output()
        at += cut
    return seen


@pytest.mark.parametrize("connected", [True, False])
def test_noise_ends_in_events_or_in_a_closed_connection(connected: bool) -> None:
    rng = random.Random(20_240_117)
    closed = 0
    tracemalloc.start()
    for version, data in _inputs(rng):
        session = Session(LIMITS)
        opening = encode(packets.Connect("c", version=version), version) if connected else b""
        events = _run(session, opening + data, version, rng)
        ends = [event for event in events if isinstance(event, Disconnected)]
        assert session.closed == bool(ends) == (bool(events) and isinstance(events[-1], Disconnected))
        assert len(ends) <= 1
        if session.closed:
            closed += 1
            session.take_output()
            assert session.receive(b"\xc0\x00" * 50, 0.0) == []
            assert session.take_output() == b""
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert COUNT // 4 < closed <= COUNT
    assert peak < MEMORY_MAX
