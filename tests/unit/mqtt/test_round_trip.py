"""What `encode` writes, `decode` reads: every packet type, both versions, every property where it may stand."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from bridge.message import Message
from bridge.mqtt import packets, reasons
from bridge.mqtt.decode import decode
from bridge.mqtt.encode import encode
from bridge.mqtt.framing import PacketStream, remaining_length
from bridge.mqtt.packets import Packet
from bridge.mqtt.properties import Property
from bridge.mqtt.subscription import Subscription
from bridge.mqtt.topics import is_valid_filter, is_valid_name

P = Property
_TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
_PAIRS = st.lists(st.tuples(_TEXT, _TEXT), min_size=1, max_size=3)
_NAMES = _TEXT.filter(is_valid_name)
_IDS = st.integers(1, 0xFFFF)
_U16, _U32, _FLAG = st.integers(0, 0xFFFF), st.integers(0, 0xFFFF_FFFF), st.integers(0, 1)
_BINARY = st.binary(max_size=40)
_IDENTIFIER = st.integers(1, 268_435_455)

_VALUES: dict[Property, st.SearchStrategy[Any]] = {
    P.PAYLOAD_FORMAT_INDICATOR: _FLAG,
    P.MESSAGE_EXPIRY_INTERVAL: _U32,
    P.CONTENT_TYPE: _TEXT,
    P.RESPONSE_TOPIC: _NAMES,
    P.CORRELATION_DATA: _BINARY,
    P.SESSION_EXPIRY_INTERVAL: _U32,
    P.ASSIGNED_CLIENT_IDENTIFIER: _TEXT,
    P.SERVER_KEEP_ALIVE: _U16,
    P.AUTHENTICATION_METHOD: _TEXT,
    P.REQUEST_PROBLEM_INFORMATION: _FLAG,
    P.WILL_DELAY_INTERVAL: _U32,
    P.REQUEST_RESPONSE_INFORMATION: _FLAG,
    P.RESPONSE_INFORMATION: _TEXT,
    P.SERVER_REFERENCE: _TEXT,
    P.REASON_STRING: _TEXT,
    P.RECEIVE_MAXIMUM: _IDS,
    P.TOPIC_ALIAS_MAXIMUM: _U16,
    P.TOPIC_ALIAS: _IDS,
    P.MAXIMUM_QOS: _FLAG,
    P.RETAIN_AVAILABLE: _FLAG,
    P.USER_PROPERTY: _PAIRS,
    P.MAXIMUM_PACKET_SIZE: st.integers(1, 0xFFFF_FFFF),
    P.WILDCARD_SUBSCRIPTION_AVAILABLE: _FLAG,
    P.SUBSCRIPTION_IDENTIFIER_AVAILABLE: _FLAG,
    P.SHARED_SUBSCRIPTION_AVAILABLE: _FLAG,
}
_MESSAGE = (
    P.PAYLOAD_FORMAT_INDICATOR,
    P.MESSAGE_EXPIRY_INTERVAL,
    P.CONTENT_TYPE,
    P.RESPONSE_TOPIC,
    P.CORRELATION_DATA,
)
_OPENING = (
    P.SESSION_EXPIRY_INTERVAL, P.RECEIVE_MAXIMUM, P.MAXIMUM_PACKET_SIZE, P.TOPIC_ALIAS_MAXIMUM, P.AUTHENTICATION_METHOD,
)  # fmt: skip


def _properties(*allowed: Property) -> st.SearchStrategy[dict[int, Any]]:
    return st.fixed_dictionaries({}, optional={one: _VALUES[one] for one in (*allowed, P.USER_PROPERTY)})


@st.composite
def _publishes(draw: st.DrawFn) -> Message:
    qos = draw(st.integers(0, 2))
    packet_id, dup = (draw(_IDS), draw(st.booleans())) if qos else (0, False)
    options = draw(_properties(*_MESSAGE, P.TOPIC_ALIAS))
    return Message(draw(_NAMES), draw(_BINARY), qos, draw(st.booleans()), dup, packet_id, options or None)


@st.composite
def _connects(draw: st.DrawFn) -> packets.Connect:
    version = draw(st.sampled_from((3, 4, 5)))
    will = draw(st.none() | st.builds(Message, _NAMES, _BINARY, st.integers(0, 2), st.booleans()))
    username, password = draw(st.none() | _TEXT), draw(st.none() | _BINARY)
    return packets.Connect(
        client_id=draw(_TEXT),
        clean_start=draw(st.booleans()),
        version=version,
        keepalive_s=draw(_U16),
        will=will,
        will_properties=draw(_properties(*_MESSAGE, P.WILL_DELAY_INTERVAL)) if will and version == 5 else {},
        username=username,
        password=password if version == 5 or username is not None else None,
        properties=draw(_properties(*_OPENING, P.REQUEST_PROBLEM_INFORMATION)) if version == 5 else {},
    )


@st.composite
def _subscribes(draw: st.DrawFn) -> packets.Subscribe:
    options = draw(_properties())
    identifiers = draw(st.just(()) | st.tuples(_IDENTIFIER))
    if identifiers:
        options[P.SUBSCRIPTION_IDENTIFIER] = list(identifiers)
    filters = st.sampled_from(["+", "a/#", "$share/g/a/+", "a/ü"]) | _TEXT.filter(is_valid_filter)
    made = []
    for pattern in draw(st.lists(filters, min_size=1, max_size=4)):
        no_local = draw(st.booleans()) and not pattern.startswith("$share/")
        qos, handling = draw(st.integers(0, 2)), draw(st.integers(0, 2))
        made.append(Subscription(pattern, qos, no_local, draw(st.booleans()), handling, identifiers))
    return packets.Subscribe(draw(_IDS), tuple(made), options)


def _codes(allowed: frozenset[int]) -> st.SearchStrategy[int]:
    return st.sampled_from(sorted(allowed))


def _lists(allowed: frozenset[int]) -> st.SearchStrategy[tuple[int, ...]]:
    return st.lists(_codes(allowed), min_size=1, max_size=5).map(tuple)


_ANSWER = _properties(P.REASON_STRING)
_PACKETS: st.SearchStrategy[Packet] = st.one_of(
    _connects(),
    st.builds(
        packets.Connack,
        _codes(reasons.CONNACK),
        st.booleans(),
        _properties(
            *_OPENING, P.MAXIMUM_QOS, P.RETAIN_AVAILABLE, P.ASSIGNED_CLIENT_IDENTIFIER, P.REASON_STRING,
            P.WILDCARD_SUBSCRIPTION_AVAILABLE, P.SUBSCRIPTION_IDENTIFIER_AVAILABLE, P.SHARED_SUBSCRIPTION_AVAILABLE,
            P.SERVER_KEEP_ALIVE, P.RESPONSE_INFORMATION, P.SERVER_REFERENCE,
        ),
    ),
    _publishes(),
    st.builds(packets.Puback, _IDS, _codes(reasons.PUBLISH_ANSWER), _ANSWER),
    st.builds(packets.Pubrec, _IDS, _codes(reasons.PUBLISH_ANSWER), _ANSWER),
    st.builds(packets.Pubrel, _IDS, _codes(reasons.RELEASE), _ANSWER),
    st.builds(packets.Pubcomp, _IDS, _codes(reasons.RELEASE), _ANSWER),
    _subscribes(),
    st.builds(packets.Suback, _IDS, _lists(reasons.SUBACK), _ANSWER),
    st.builds(
        packets.Unsubscribe,
        _IDS,
        st.lists(_TEXT.filter(is_valid_filter), min_size=1, max_size=4).map(tuple),
        _properties(),
    ),
    st.builds(packets.Unsuback, _IDS, _lists(reasons.UNSUBACK), _ANSWER),
    st.just(packets.Pingreq()),
    st.just(packets.Pingresp()),
    st.builds(
        packets.Disconnect,
        _codes(reasons.DISCONNECT),
        _properties(P.SESSION_EXPIRY_INTERVAL, P.REASON_STRING, P.SERVER_REFERENCE),
    ),
    st.builds(packets.Auth, _codes(reasons.AUTH), _properties(P.AUTHENTICATION_METHOD, P.REASON_STRING)),
)  # fmt: skip


def _read(data: bytes, version: int) -> Packet:
    header = remaining_length(data, 1, len(data), version)
    assert header is not None
    size, start = header
    assert start + size == len(data)
    return decode(data[0], data[start:], version)


@given(_PACKETS)
def test_every_packet_of_version_5_comes_back_as_it_went(packet: Packet) -> None:
    assert _read(encode(packet, 5), 5) == packet


def _plain(packet: Packet) -> Packet | None:
    """What MQTT 3.1.1 can say of a packet; None: nothing."""
    if isinstance(packet, packets.Auth):
        return None
    if isinstance(packet, packets.Connack):
        code = reasons.return_code(packet.reason)
        return None if code is None else packets.Connack(code, packet.session_present)
    if isinstance(packet, Message):
        return Message(packet.topic, packet.payload, packet.qos, packet.retain, packet.dup, packet.packet_id)
    if isinstance(packet, packets.Subscribe):
        asked = tuple(Subscription(one.filter, one.qos) for one in packet.subscriptions)
        return packets.Subscribe(packet.packet_id, asked)
    if isinstance(packet, packets.Suback):
        return packets.Suback(packet.packet_id, tuple(min(reason, 0x80) for reason in packet.reasons))
    if isinstance(packet, packets.Unsubscribe):
        return packets.Unsubscribe(packet.packet_id, packet.filters)
    if isinstance(packet, packets.Disconnect):
        return packets.Disconnect()
    if isinstance(packet, packets.Puback | packets.Pubrec | packets.Pubrel | packets.Pubcomp | packets.Unsuback):
        return type(packet)(packet.packet_id)
    return packet


@given(_PACKETS)
def test_version_3_1_1_says_what_it_can(packet: Packet) -> None:
    plain = _plain(packet)
    if plain is None:
        return
    assert _read(encode(packet, 4), 4) == plain


@given(st.lists(_PACKETS, min_size=1, max_size=6), st.integers(1, 60))
def test_a_stream_cut_anywhere_gives_the_same_packets(sent: list[Packet], piece: int) -> None:
    data = b"".join(encode(packet, 5) for packet in sent)
    stream = PacketStream(5)
    got = [packet for at in range(0, len(data), piece) for packet in stream.feed(data[at : at + piece])]
    assert got == sent
