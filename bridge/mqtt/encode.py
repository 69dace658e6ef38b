"""Packets to bytes: every packet type of MQTT 3.1, 3.1.1 and 5.

It trusts its caller: a value that does not fit its field raises ValueError or OverflowError, and that is our mistake.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from bridge.message import Message
from bridge.mqtt import packets, properties, wire
from bridge.mqtt.packets import Packet, PacketType, Properties
from bridge.mqtt.reasons import return_code
from bridge.mqtt.subscription import Subscription

_T = PacketType
PINGREQ = bytes((_T.PINGREQ << 4, 0))
PINGRESP = bytes((_T.PINGRESP << 4, 0))


def encode(packet: Packet, version: int) -> bytes:
    """`packet` in the words of `version` (3, 4 or 5); what that version cannot say is left out."""
    first, body = _ENCODERS[type(packet)](packet, version)
    return bytes((first,)) + wire.varint(len(body)) + body


def _properties(values: Properties | None, version: int) -> bytes:
    if version < 5:
        return b""
    return properties.encode(values) if values else b"\0"


def _connect(packet: packets.Connect, version: int) -> tuple[int, bytes]:
    will = packet.will
    flags = packet.clean_start << 1 | (packet.username is not None) << 7 | (packet.password is not None) << 6
    if will is not None:
        flags |= 0x04 | will.qos << 3 | will.retain << 5
    out = wire.text("MQIsdp" if packet.version == 3 else "MQTT") + bytes((packet.version, flags))
    out += wire.u16(packet.keepalive_s) + _properties(packet.properties, packet.version) + wire.text(packet.client_id)
    if will is not None:
        out += _properties(packet.will_properties, packet.version) + wire.text(will.topic) + wire.binary(will.payload)
    if packet.username is not None:
        out += wire.text(packet.username)
    if packet.password is not None:
        out += wire.binary(packet.password)
    return _T.CONNECT << 4, out


def _connack(packet: packets.Connack, version: int) -> tuple[int, bytes]:
    reason = packet.reason if version >= 5 else return_code(packet.reason)
    if reason is None:
        raise ValueError(f"MQTT 3.1.1 has no return code for reason 0x{packet.reason:02x}")
    # In 3.1 the byte of the session present flag is reserved.
    present = packet.session_present and version > 3
    return _T.CONNACK << 4, bytes((present, reason)) + _properties(packet.properties, version)


def _publish(packet: Message, version: int) -> tuple[int, bytes]:
    first = _T.PUBLISH << 4 | packet.dup << 3 | packet.qos << 1 | packet.retain
    packet_id = wire.u16(packet.packet_id) if packet.qos else b""
    head = wire.text(packet.topic) + packet_id + _properties(packet.properties, version)
    return first, head + packet.payload


def _answer(first: int) -> Callable[[Any, int], tuple[int, bytes]]:
    """PUBACK, PUBREC, PUBREL and PUBCOMP; success without properties is left out (MQTT5 §3.4.2.1)."""

    def write(packet: packets.Puback, version: int) -> tuple[int, bytes]:
        body = wire.u16(packet.packet_id)
        if version >= 5 and (packet.reason or packet.properties):
            body += bytes((packet.reason,))
            if packet.properties:
                body += properties.encode(packet.properties)
        return first, body

    return write


def _subscribe(packet: packets.Subscribe, version: int) -> tuple[int, bytes]:
    filters = b"".join(wire.text(one.filter) + bytes((_options(one, version),)) for one in packet.subscriptions)
    return _T.SUBSCRIBE << 4 | 2, wire.u16(packet.packet_id) + _properties(packet.properties, version) + filters


def _options(one: Subscription, version: int) -> int:
    if version < 5:
        return one.qos
    return one.qos | one.no_local << 2 | one.retain_as_published << 3 | one.retain_handling << 4


def _suback(packet: packets.Suback, version: int) -> tuple[int, bytes]:
    reasons = packet.reasons if version >= 5 else [min(reason, 0x80) for reason in packet.reasons]
    return _T.SUBACK << 4, wire.u16(packet.packet_id) + _properties(packet.properties, version) + bytes(reasons)


def _unsubscribe(packet: packets.Unsubscribe, version: int) -> tuple[int, bytes]:
    filters = b"".join(wire.text(pattern) for pattern in packet.filters)
    return _T.UNSUBSCRIBE << 4 | 2, wire.u16(packet.packet_id) + _properties(packet.properties, version) + filters


def _unsuback(packet: packets.Unsuback, version: int) -> tuple[int, bytes]:
    reasons = bytes(packet.reasons) if version >= 5 else b""
    return _T.UNSUBACK << 4, wire.u16(packet.packet_id) + _properties(packet.properties, version) + reasons


def _pingreq(packet: packets.Pingreq, version: int) -> tuple[int, bytes]:
    return _T.PINGREQ << 4, b""


def _pingresp(packet: packets.Pingresp, version: int) -> tuple[int, bytes]:
    return _T.PINGRESP << 4, b""


def _ending(first: int) -> Callable[[Any, int], tuple[int, bytes]]:
    """DISCONNECT and AUTH; success without properties is left out (MQTT5 §3.14.2.1)."""

    def write(packet: packets.Disconnect, version: int) -> tuple[int, bytes]:
        if version < 5 or not (packet.reason or packet.properties):
            return first, b""
        return first, bytes((packet.reason,)) + (properties.encode(packet.properties) if packet.properties else b"")

    return write


_ENCODERS: dict[type, Callable[[Any, int], tuple[int, bytes]]] = {
    packets.Connect: _connect,
    packets.Connack: _connack,
    Message: _publish,
    packets.Puback: _answer(_T.PUBACK << 4),
    packets.Pubrec: _answer(_T.PUBREC << 4),
    packets.Pubrel: _answer(_T.PUBREL << 4 | 2),
    packets.Pubcomp: _answer(_T.PUBCOMP << 4),
    packets.Subscribe: _subscribe,
    packets.Suback: _suback,
    packets.Unsubscribe: _unsubscribe,
    packets.Unsuback: _unsuback,
    packets.Pingreq: _pingreq,
    packets.Pingresp: _pingresp,
    packets.Disconnect: _ending(_T.DISCONNECT << 4),
    packets.Auth: _ending(_T.AUTH << 4),
}
