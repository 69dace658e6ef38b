"""µs of CPU to decode and answer one packet of each kind that a client sends."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import msgspec

from bridge.config import Mqtt
from bridge.message import Message
from bridge.mqtt import packets
from bridge.mqtt.encode import encode
from bridge.mqtt.events import ConnectRequested, Event, Released, SubscribeRequested, UnsubscribeRequested
from bridge.mqtt.packets import Packet
from bridge.mqtt.session import Session
from bridge.mqtt.session_state import SessionState
from bridge.mqtt.subscription import Subscription

BLOCK = 100
"""Packets timed in one go; what must come before them is done outside the clock."""
LIMITS = Mqtt(receive_maximum=BLOCK, inflight_max=BLOCK, topic_cache_max=BLOCK)
TOPIC = "devices/dev-00001/telemetry/temperature"
Block = list[tuple[Session, bytes]]


class Kind(msgspec.Struct, frozen=True):
    """A packet and its price."""

    version: int
    packet: str
    us: float


def measure(payload: bytes, runs: int) -> list[Kind]:
    """Every kind in both versions, the best of `runs` of ten blocks each."""
    return [
        Kind(version, name, min(_run(make, version, payload) for _ in range(runs)))
        for version in (4, 5)
        for name, make in KINDS.items()
    ]


def _run(make: Callable[[int, bytes], Block], version: int, payload: bytes) -> float:
    spent = 0.0
    for _ in range(10):
        block = make(version, payload)
        start = time.thread_time()
        for session, data in block:
            for event in session.receive(data, 1.0):
                _answer(session, event)
            session.take_output()
        spent += time.thread_time() - start
    return spent / (10 * BLOCK) * 1e6


def _answer(session: Session, event: Event) -> None:
    """As a broker would that takes everything."""
    if isinstance(event, Message):
        session.acknowledge(event)
    elif isinstance(event, Released):
        session.complete(event.packet_id)
    elif isinstance(event, SubscribeRequested):
        session.subscribed(event.packet_id, [one.qos for one in event.subscriptions])
    elif isinstance(event, UnsubscribeRequested):
        session.unsubscribed(event.packet_id, [0] * len(event.filters))
    elif isinstance(event, ConnectRequested):
        session.accept(SessionState("c", event.version, 0, LIMITS), present=False, now=1.0)


def _connected(version: int) -> Session:
    session = Session(LIMITS)
    (request,) = session.receive(encode(packets.Connect("c", version=version), version), 1.0)
    _answer(session, request)
    session.take_output()
    return session


def _of_one_session(version: int, sent: Callable[[int], Packet], session: Session | None = None) -> Block:
    session = session or _connected(version)
    return [(session, encode(sent(number), version)) for number in range(1, BLOCK + 1)]


def _connect(version: int, _payload: bytes) -> Block:
    data = encode(packets.Connect("c", version=version), version)
    return [(Session(LIMITS), data) for _ in range(BLOCK)]


def _disconnect(version: int, _payload: bytes) -> Block:
    data = encode(packets.Disconnect(), version)
    return [(_connected(version), data) for _ in range(BLOCK)]


def _publish(qos: int) -> Callable[[int, bytes], Block]:
    def make(version: int, payload: bytes) -> Block:
        return _of_one_session(version, lambda number: Message(TOPIC, payload, qos, packet_id=number if qos else 0))

    return make


def _pubrel(version: int, payload: bytes) -> Block:
    block = _publish(2)(version, payload)
    for session, data in block:
        for event in session.receive(data, 1.0):
            _answer(session, event)
    return _of_one_session(version, packets.Pubrel, block[0][0])


def _delivered(version: int, payload: bytes, qos: int) -> Session:
    """A session with BLOCK messages on their way to it, with packet identifiers 1 to BLOCK."""
    session = _connected(version)
    for _ in range(BLOCK):
        session.deliver(Message(TOPIC, payload, qos), Subscription("#", 2))
    session.take_output()
    return session


def _puback(version: int, payload: bytes) -> Block:
    return _of_one_session(version, packets.Puback, _delivered(version, payload, 1))


def _pubrec(version: int, payload: bytes) -> Block:
    return _of_one_session(version, packets.Pubrec, _delivered(version, payload, 2))


def _pubcomp(version: int, payload: bytes) -> Block:
    block = _pubrec(version, payload)
    for session, data in block:
        session.receive(data, 1.0)
    return _of_one_session(version, packets.Pubcomp, block[0][0])


def _subscribe(version: int, _payload: bytes) -> Block:
    return _of_one_session(version, lambda number: packets.Subscribe(number, (Subscription(f"{TOPIC}/{number}", 1),)))


def _unsubscribe(version: int, _payload: bytes) -> Block:
    return _of_one_session(version, lambda number: packets.Unsubscribe(number, (f"{TOPIC}/{number}",)))


def _pingreq(version: int, _payload: bytes) -> Block:
    return _of_one_session(version, lambda _: packets.Pingreq())


KINDS: dict[str, Callable[[int, bytes], Block]] = {
    "CONNECT": _connect,
    "PUBLISH, QoS 0": _publish(0),
    "PUBLISH, QoS 1": _publish(1),
    "PUBLISH, QoS 2": _publish(2),
    "PUBREL": _pubrel,
    "PUBACK": _puback,
    "PUBREC": _pubrec,
    "PUBCOMP": _pubcomp,
    "SUBSCRIBE": _subscribe,
    "UNSUBSCRIBE": _unsubscribe,
    "PINGREQ": _pingreq,
    "DISCONNECT": _disconnect,
}


def by_packet(kinds: list[Kind]) -> Iterator[tuple[str, float, float]]:
    """The packet, µs in 3.1.1, µs in 5."""
    found = {(kind.packet, kind.version): kind.us for kind in kinds}
    for packet in KINDS:
        yield packet, found[packet, 4], found[packet, 5]
