"""The properties of MQTT 5 (§2.2.2): one table says what each is called, how it is written and where it may stand."""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum
from typing import Any

from bridge.mqtt import wire
from bridge.mqtt.errors import PeerError, malformed, protocol_error
from bridge.mqtt.packets import PacketType, Properties
from bridge.mqtt.reasons import Reason
from bridge.mqtt.wire import Reader


class Property(IntEnum):
    """Property identifiers (MQTT5 table 2-4)."""

    PAYLOAD_FORMAT_INDICATOR = 0x01
    MESSAGE_EXPIRY_INTERVAL = 0x02
    CONTENT_TYPE = 0x03
    RESPONSE_TOPIC = 0x08
    CORRELATION_DATA = 0x09
    SUBSCRIPTION_IDENTIFIER = 0x0B
    SESSION_EXPIRY_INTERVAL = 0x11
    ASSIGNED_CLIENT_IDENTIFIER = 0x12
    SERVER_KEEP_ALIVE = 0x13
    AUTHENTICATION_METHOD = 0x15
    AUTHENTICATION_DATA = 0x16
    REQUEST_PROBLEM_INFORMATION = 0x17
    WILL_DELAY_INTERVAL = 0x18
    REQUEST_RESPONSE_INFORMATION = 0x19
    RESPONSE_INFORMATION = 0x1A
    SERVER_REFERENCE = 0x1C
    REASON_STRING = 0x1F
    RECEIVE_MAXIMUM = 0x21
    TOPIC_ALIAS_MAXIMUM = 0x22
    TOPIC_ALIAS = 0x23
    MAXIMUM_QOS = 0x24
    RETAIN_AVAILABLE = 0x25
    USER_PROPERTY = 0x26
    MAXIMUM_PACKET_SIZE = 0x27
    WILDCARD_SUBSCRIPTION_AVAILABLE = 0x28
    SUBSCRIPTION_IDENTIFIER_AVAILABLE = 0x29
    SHARED_SUBSCRIPTION_AVAILABLE = 0x2A


def _read_pair(reader: Reader) -> tuple[str, str]:
    return reader.text(), reader.text()


def _read_flag(reader: Reader) -> int:
    value = reader.u8()
    if value > 1:
        raise protocol_error(f"a property that is 0 or 1 is {value}")
    return value


def _positive(read: Callable[[Reader], int]) -> Callable[[Reader], int]:
    def checked(reader: Reader) -> int:
        value = read(reader)
        if not value:
            raise protocol_error("a property that must not be 0 is 0")
        return value

    return checked


def _read_alias(reader: Reader) -> int:
    alias = reader.u16()
    if not alias:
        raise PeerError(Reason.TOPIC_ALIAS_INVALID, "topic alias 0 [MQTT-3.3.2-8]")
    return alias


def _write_pair(pair: tuple[str, str]) -> bytes:
    return wire.text(pair[0]) + wire.text(pair[1])


def _write_byte(value: int) -> bytes:
    return bytes((value,))


Codec = tuple[Callable[[Reader], object], Callable[[Any], bytes]]
_FLAG: Codec = (_read_flag, _write_byte)
_U16: Codec = (Reader.u16, wire.u16)
_U16_POSITIVE: Codec = (_positive(Reader.u16), wire.u16)
_U32: Codec = (Reader.u32, wire.u32)
_U32_POSITIVE: Codec = (_positive(Reader.u32), wire.u32)
_VARINT_POSITIVE: Codec = (_positive(Reader.varint), wire.varint)
_TEXT: Codec = (Reader.text, wire.text)
_BINARY: Codec = (Reader.binary, wire.binary)
_PAIR: Codec = (_read_pair, _write_pair)
_ALIAS: Codec = (_read_alias, wire.u16)

_T = PacketType
_MESSAGE = frozenset((_T.PUBLISH, _T.WILL))
_CONNECT, _CONNACK, _PUBLISH = frozenset((_T.CONNECT,)), frozenset((_T.CONNACK,)), frozenset((_T.PUBLISH,))
_OPENING = _CONNECT | _CONNACK
_AUTHENTICATION = _OPENING | {_T.AUTH}
_ANSWERS = frozenset((
    _T.CONNACK, _T.PUBACK, _T.PUBREC, _T.PUBREL, _T.PUBCOMP, _T.SUBACK, _T.UNSUBACK, _T.DISCONNECT, _T.AUTH,
))  # fmt: skip
_ANYWHERE = frozenset(_T) - {_T.PINGREQ, _T.PINGRESP}

_P = Property
_TABLE: dict[int, tuple[Codec, frozenset[PacketType]]] = {
    _P.PAYLOAD_FORMAT_INDICATOR: (_FLAG, _MESSAGE),
    _P.MESSAGE_EXPIRY_INTERVAL: (_U32, _MESSAGE),
    _P.CONTENT_TYPE: (_TEXT, _MESSAGE),
    _P.RESPONSE_TOPIC: (_TEXT, _MESSAGE),
    _P.CORRELATION_DATA: (_BINARY, _MESSAGE),
    _P.SUBSCRIPTION_IDENTIFIER: (_VARINT_POSITIVE, frozenset((_T.PUBLISH, _T.SUBSCRIBE))),
    _P.SESSION_EXPIRY_INTERVAL: (_U32, _OPENING | {_T.DISCONNECT}),
    _P.ASSIGNED_CLIENT_IDENTIFIER: (_TEXT, _CONNACK),
    _P.SERVER_KEEP_ALIVE: (_U16, _CONNACK),
    _P.AUTHENTICATION_METHOD: (_TEXT, _AUTHENTICATION),
    _P.AUTHENTICATION_DATA: (_BINARY, _AUTHENTICATION),
    _P.REQUEST_PROBLEM_INFORMATION: (_FLAG, _CONNECT),
    _P.WILL_DELAY_INTERVAL: (_U32, frozenset((_T.WILL,))),
    _P.REQUEST_RESPONSE_INFORMATION: (_FLAG, _CONNECT),
    _P.RESPONSE_INFORMATION: (_TEXT, _CONNACK),
    _P.SERVER_REFERENCE: (_TEXT, _CONNACK | {_T.DISCONNECT}),
    _P.REASON_STRING: (_TEXT, _ANSWERS),
    _P.RECEIVE_MAXIMUM: (_U16_POSITIVE, _OPENING),
    _P.TOPIC_ALIAS_MAXIMUM: (_U16, _OPENING),
    _P.TOPIC_ALIAS: (_ALIAS, _PUBLISH),
    _P.MAXIMUM_QOS: (_FLAG, _CONNACK),
    _P.RETAIN_AVAILABLE: (_FLAG, _CONNACK),
    _P.USER_PROPERTY: (_PAIR, _ANYWHERE),
    _P.MAXIMUM_PACKET_SIZE: (_U32_POSITIVE, _OPENING),
    _P.WILDCARD_SUBSCRIPTION_AVAILABLE: (_FLAG, _CONNACK),
    _P.SUBSCRIPTION_IDENTIFIER_AVAILABLE: (_FLAG, _CONNACK),
    _P.SHARED_SUBSCRIPTION_AVAILABLE: (_FLAG, _CONNACK),
}
_REPEATABLE = frozenset((_P.USER_PROPERTY, where) for where in _ANYWHERE) | {(_P.SUBSCRIPTION_IDENTIFIER, _T.PUBLISH)}
_LISTED = frozenset((_P.USER_PROPERTY, _P.SUBSCRIPTION_IDENTIFIER))
"""Their value is a list wherever they stand."""


def decode(reader: Reader, where: PacketType) -> Properties:
    """The properties of a packet of type `where`.

    PeerError 0x81 for an unknown or misplaced one (MQTT5 §2.2.2.2), 0x82 for one that must not be repeated.
    """
    size = reader.varint()
    if not size:
        return {}
    fields = Reader(reader.data, reader.at, reader.at + size)
    reader.take(size)
    found: Properties = {}
    while fields.more():
        _decode_one(fields, where, found)
    return found


def _decode_one(fields: Reader, where: PacketType, found: Properties) -> None:
    identifier = fields.varint()
    rule = _TABLE.get(identifier)
    if rule is None or where not in rule[1]:
        raise malformed(f"property 0x{identifier:02x} has no place in {where.name}")
    value = rule[0][0](fields)
    if identifier not in found:
        found[identifier] = [value] if identifier in _LISTED else value
        return
    listed = found[identifier]
    if (identifier, where) not in _REPEATABLE or not isinstance(listed, list):
        raise protocol_error(f"{Property(identifier).name.lower()} stands twice in {where.name}")
    listed.append(value)


def encode(properties: Properties) -> bytes:
    """`properties` with their length in front; KeyError for an identifier that is none, ValueError for a bad value."""
    out = bytearray()
    for identifier, value in properties.items():
        write = _TABLE[identifier][0][1]
        for one in value if isinstance(value, list) else (value,):
            out += wire.varint(identifier) + write(one)
    return wire.varint(len(out)) + out
