"""Bytes to packets: every packet type of MQTT 3.1, 3.1.1 and 5.

What one packet alone can tell is checked here; what depends on the session is checked by `Session`. All functions
raise `PeerError` and nothing else, whatever the bytes.
"""

from __future__ import annotations

from collections.abc import Callable

from bridge.message import Message
from bridge.mqtt import packets, properties, reasons, topics
from bridge.mqtt.errors import PeerError, malformed, protocol_error
from bridge.mqtt.packets import Packet, PacketType, Properties
from bridge.mqtt.properties import Property
from bridge.mqtt.reasons import Reason
from bridge.mqtt.subscription import Subscription
from bridge.mqtt.wire import Reader

_VERSIONS = {("MQIsdp", 3): 3, ("MQTT", 4): 4, ("MQTT", 5): 5}


def decode(first: int, body: bytes, version: int) -> Packet:
    """The packet with the fixed header byte `first`; `version` (3, 4, 5) is ignored by CONNECT, which names its own.

    PeerError 0x81 for what cannot be parsed, 0x82 and others for what MUST NOT be sent.
    """
    row = _DECODERS.get(first >> 4)
    if row is None or (first >> 4 == PacketType.AUTH and version < 5):
        raise malformed(f"packet type {first >> 4} is reserved")
    function, flags = row
    if flags is not None and first & _flags_used(flags, version) != flags:
        raise malformed(f"flags 0x{first & 0x0F:x} of {PacketType(first >> 4).name} are reserved [MQTT-2.1.3-1]")
    reader = Reader(body)
    packet = function(reader, first, version)
    if reader.more():
        raise malformed(f"{PacketType(first >> 4).name} is longer than its content")
    return packet


def _flags_used(flags: int, version: int) -> int:
    """3.1 leaves flags without a use to the sender, and repeats PUBREL, SUBSCRIBE and UNSUBSCRIBE with DUP."""
    return 0x0F if version != 3 else flags


def answering_version(body: bytes) -> int:
    """In which version the sender of this CONNECT body understands an answer; 0: it is not MQTT, answer nothing.

    A bridge's private bit (0x80) on the level of 3.1.1 is answered in 3.1.1, so that it tries again without it.
    """
    try:
        reader = Reader(body)
        name, level = reader.text(), reader.u8()
    except PeerError:
        return 0
    if name not in ("MQTT", "MQIsdp"):
        return 0
    return _VERSIONS.get((name, level), 5 if 5 < level < 0x80 else 4)


def _properties(reader: Reader, version: int, where: PacketType) -> Properties:
    return properties.decode(reader, where) if version >= 5 else {}


def _packet_id(reader: Reader) -> int:
    packet_id = reader.u16()
    if not packet_id:
        raise protocol_error("packet identifier 0 [MQTT-2.2.1-3]")
    return packet_id


def _reason(reader: Reader, allowed: frozenset[int]) -> int:
    reason = reader.u8()
    if reason not in allowed:
        raise protocol_error(f"reason code 0x{reason:02x} has no place here")
    return reason


def _connect(reader: Reader, first: int, version: int) -> packets.Connect:
    named = _VERSIONS.get((reader.text(), reader.u8()))
    if named is None:
        raise PeerError(Reason.UNSUPPORTED_PROTOCOL_VERSION, "neither MQTT 3.1, 3.1.1 nor 5 [MQTT-3.1.2-2]")
    flags = reader.u8()
    _check_connect_flags(flags, named)
    keepalive_s = reader.u16()
    options = _properties(reader, named, PacketType.CONNECT)
    if Property.AUTHENTICATION_DATA in options and Property.AUTHENTICATION_METHOD not in options:
        raise protocol_error("authentication data without a method (MQTT5 §3.1.2.11.10)")
    client_id = reader.text()
    will, will_properties = _will(reader, flags, named) if flags & 0x04 else (None, {})
    return packets.Connect(
        client_id=client_id,
        clean_start=bool(flags & 0x02),
        version=named,
        keepalive_s=keepalive_s,
        will=will,
        will_properties=will_properties,
        username=reader.text() if flags & 0x80 else None,
        password=reader.binary() if flags & 0x40 else None,
        properties=options,
    )


def _check_connect_flags(flags: int, version: int) -> None:
    if flags & 0x01 and version > 3:  # 3.1 has no use for it and no rule
        raise malformed("the reserved flag of CONNECT is set [MQTT-3.1.2-3]")
    if flags & 0x18 == 0x18:
        raise malformed("will QoS 3 [MQTT-3.1.2-12]")
    if not flags & 0x04 and flags & 0x38:
        raise malformed("will QoS or will retain without a will [MQTT-3.1.2-11]")
    if version < 5 and flags & 0xC0 == 0x40:
        raise malformed("a password without a user name [MQTT-3.1.2-22]")


def _will(reader: Reader, flags: int, version: int) -> tuple[Message, Properties]:
    options = _properties(reader, version, PacketType.WILL)
    _check_response_topic(options)
    topic = reader.text()
    topics.check_name(topic)
    return Message(topic, reader.binary(), flags >> 3 & 3, bool(flags & 0x20)), options


def _check_response_topic(options: Properties) -> None:
    response = options.get(Property.RESPONSE_TOPIC, "a")
    if not isinstance(response, str) or not topics.is_valid_name(response):
        raise protocol_error("the response topic is empty or holds a wildcard [MQTT-3.3.2-14]")


def _connack(reader: Reader, first: int, version: int) -> packets.Connack:
    flags = reader.u8()
    if flags > 1:
        raise malformed("reserved flags of CONNACK are set [MQTT-3.2.2-1]")
    reason = _reason(reader, reasons.CONNACK if version >= 5 else frozenset(range(6)))
    return packets.Connack(reason, bool(flags), _properties(reader, version, PacketType.CONNACK))


def _publish(reader: Reader, first: int, version: int) -> Message:
    qos, dup = first >> 1 & 3, bool(first & 0x08)
    if qos == 3:
        raise malformed("PUBLISH with QoS 3 [MQTT-3.3.1-4]")
    if dup and not qos:
        raise malformed("PUBLISH with DUP and QoS 0 [MQTT-3.3.1-2]")
    topic = reader.text()
    packet_id = _packet_id(reader) if qos else 0
    options = _properties(reader, version, PacketType.PUBLISH)
    _check_response_topic(options)
    if topic or version < 5:
        topics.check_name(topic)
    elif Property.TOPIC_ALIAS not in options:
        raise protocol_error("PUBLISH with neither a topic name nor a topic alias (MQTT5 §3.3.2.1)")
    return Message(topic, reader.rest(), qos, bool(first & 0x01), dup, packet_id, options or None)


def _answer(
    make: Callable[[int, int, Properties], Packet], where: PacketType, allowed: frozenset[int]
) -> Callable[[Reader, int, int], Packet]:
    """PUBACK, PUBREC, PUBREL and PUBCOMP: reason and properties may be left out (MQTT5 §3.4.2.1, §3.4.2.2.1)."""

    def read(reader: Reader, first: int, version: int) -> Packet:
        packet_id = _packet_id(reader)
        if version < 5 or not reader.more():
            return make(packet_id, 0, {})
        reason = _reason(reader, allowed)
        return make(packet_id, reason, properties.decode(reader, where) if reader.more() else {})

    return read


def _subscribe(reader: Reader, first: int, version: int) -> packets.Subscribe:
    packet_id = _packet_id(reader)
    options = _properties(reader, version, PacketType.SUBSCRIBE)
    listed = options.get(Property.SUBSCRIPTION_IDENTIFIER)
    identifiers = tuple(listed) if isinstance(listed, list) else ()
    subscriptions = []
    while reader.more():
        subscriptions.append(_subscription(reader, version, identifiers))
    if not subscriptions:
        raise protocol_error("SUBSCRIBE without a filter [MQTT-3.8.3-2]")
    return packets.Subscribe(packet_id, tuple(subscriptions), options)


def _subscription(reader: Reader, version: int, identifiers: tuple[int, ...]) -> Subscription:
    pattern, options = reader.text(), reader.u8()
    topics.check_filter(pattern)
    if options & (0xC0 if version >= 5 else 0xFC):
        raise malformed("reserved bits of the subscription options are set [MQTT-3.8.3-5]")
    qos, handling, no_local = options & 3, options >> 4 & 3, bool(options & 4)
    if qos == 3 or handling == 3:
        raise protocol_error("a subscription with QoS 3 or retain handling 3 (MQTT5 §3.8.3.1)")
    if no_local and topics.is_shared(pattern):
        raise protocol_error("no local on a shared subscription [MQTT-3.8.3-4]")
    return Subscription(pattern, qos, no_local, bool(options & 8), handling, identifiers)


def _suback(reader: Reader, first: int, version: int) -> packets.Suback:
    packet_id = _packet_id(reader)
    options = _properties(reader, version, PacketType.SUBACK)
    allowed = reasons.SUBACK if version >= 5 else frozenset((0, 1, 2, 0x80))
    return packets.Suback(packet_id, _reasons(reader, allowed), options)


def _reasons(reader: Reader, allowed: frozenset[int]) -> tuple[int, ...]:
    found = []
    while reader.more():
        found.append(_reason(reader, allowed))
    if not found:
        raise protocol_error("an answer without a reason code")
    return tuple(found)


def _unsubscribe(reader: Reader, first: int, version: int) -> packets.Unsubscribe:
    packet_id = _packet_id(reader)
    options = _properties(reader, version, PacketType.UNSUBSCRIBE)
    filters = []
    while reader.more():
        filters.append(reader.text())
        topics.check_filter(filters[-1])
    if not filters:
        raise protocol_error("UNSUBSCRIBE without a filter [MQTT-3.10.3-2]")
    return packets.Unsubscribe(packet_id, tuple(filters), options)


def _unsuback(reader: Reader, first: int, version: int) -> packets.Unsuback:
    packet_id = _packet_id(reader)
    if version < 5:
        return packets.Unsuback(packet_id)
    options = properties.decode(reader, PacketType.UNSUBACK)
    return packets.Unsuback(packet_id, _reasons(reader, reasons.UNSUBACK), options)


def _pingreq(reader: Reader, first: int, version: int) -> packets.Pingreq:
    return packets.Pingreq()


def _pingresp(reader: Reader, first: int, version: int) -> packets.Pingresp:
    return packets.Pingresp()


def _disconnect(reader: Reader, first: int, version: int) -> packets.Disconnect:
    if version < 5 or not reader.more():
        return packets.Disconnect()
    reason = _reason(reader, reasons.DISCONNECT)
    return packets.Disconnect(reason, properties.decode(reader, PacketType.DISCONNECT) if reader.more() else {})


def _auth(reader: Reader, first: int, version: int) -> packets.Auth:
    if not reader.more():
        return packets.Auth()
    reason = _reason(reader, reasons.AUTH)
    return packets.Auth(reason, properties.decode(reader, PacketType.AUTH) if reader.more() else {})


_T = PacketType
_DECODERS: dict[int, tuple[Callable[[Reader, int, int], Packet], int | None]] = {
    _T.CONNECT: (_connect, 0),
    _T.CONNACK: (_connack, 0),
    _T.PUBLISH: (_publish, None),
    _T.PUBACK: (_answer(packets.Puback, _T.PUBACK, reasons.PUBLISH_ANSWER), 0),
    _T.PUBREC: (_answer(packets.Pubrec, _T.PUBREC, reasons.PUBLISH_ANSWER), 0),
    _T.PUBREL: (_answer(packets.Pubrel, _T.PUBREL, reasons.RELEASE), 2),
    _T.PUBCOMP: (_answer(packets.Pubcomp, _T.PUBCOMP, reasons.RELEASE), 0),
    _T.SUBSCRIBE: (_subscribe, 2),
    _T.SUBACK: (_suback, 0),
    _T.UNSUBSCRIBE: (_unsubscribe, 2),
    _T.UNSUBACK: (_unsuback, 0),
    _T.PINGREQ: (_pingreq, 0),
    _T.PINGRESP: (_pingresp, 0),
    _T.DISCONNECT: (_disconnect, 0),
    _T.AUTH: (_auth, 0),
}
"""By packet type: the reader of its body and the flags its first byte must have (MQTT5 table 2-2); None: any."""
