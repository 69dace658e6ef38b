"""A value per MQTT control packet (MQTT5 §3), the same for all versions of the protocol.

`decode` makes them from bytes, `encode` bytes from them. What a version cannot say (properties, reasons in 3.1.1) is
left out by `encode` and has its default after `decode`.
"""

from __future__ import annotations

from enum import IntEnum

import msgspec

from bridge.message import Message
from bridge.mqtt.subscription import Subscription

Properties = dict[int, object]
"""By identifier; repeatable ones (user properties, subscription identifiers) as a list."""


class PacketType(IntEnum):
    """The four upper bits of the first byte (MQTT5 §2.1.2)."""

    CONNECT = 1
    CONNACK = 2
    PUBLISH = 3
    PUBACK = 4
    PUBREC = 5
    PUBREL = 6
    PUBCOMP = 7
    SUBSCRIBE = 8
    SUBACK = 9
    UNSUBSCRIBE = 10
    UNSUBACK = 11
    PINGREQ = 12
    PINGRESP = 13
    DISCONNECT = 14
    AUTH = 15
    WILL = 16
    """Not a packet: where will properties may stand."""


Publish = Message
"""PUBLISH says no more and no less than a message."""


class Connect(msgspec.Struct):
    """MQTT5 §3.1."""

    client_id: str
    clean_start: bool = True
    version: int = 5
    keepalive_s: int = 0
    will: Message | None = None
    will_properties: Properties = {}
    username: str | None = None
    password: bytes | None = None
    properties: Properties = {}


class Connack(msgspec.Struct):
    """MQTT5 §3.2; `reason` is the reason code of MQTT 5 on the way out and what stood there on the way in."""

    reason: int = 0
    session_present: bool = False
    properties: Properties = {}


class Puback(msgspec.Struct):
    """MQTT5 §3.4."""

    packet_id: int
    reason: int = 0
    properties: Properties = {}


class Pubrec(msgspec.Struct):
    """MQTT5 §3.5."""

    packet_id: int
    reason: int = 0
    properties: Properties = {}


class Pubrel(msgspec.Struct):
    """MQTT5 §3.6."""

    packet_id: int
    reason: int = 0
    properties: Properties = {}


class Pubcomp(msgspec.Struct):
    """MQTT5 §3.7."""

    packet_id: int
    reason: int = 0
    properties: Properties = {}


class Subscribe(msgspec.Struct):
    """MQTT5 §3.8; the subscription identifier stands in the properties and in each subscription."""

    packet_id: int
    subscriptions: tuple[Subscription, ...]
    properties: Properties = {}


class Suback(msgspec.Struct):
    """MQTT5 §3.9."""

    packet_id: int
    reasons: tuple[int, ...]
    properties: Properties = {}


class Unsubscribe(msgspec.Struct):
    """MQTT5 §3.10."""

    packet_id: int
    filters: tuple[str, ...]
    properties: Properties = {}


class Unsuback(msgspec.Struct):
    """MQTT5 §3.11; 3.1.1 has no reasons."""

    packet_id: int
    reasons: tuple[int, ...] = ()
    properties: Properties = {}


class Pingreq(msgspec.Struct):
    """MQTT5 §3.12."""


class Pingresp(msgspec.Struct):
    """MQTT5 §3.13."""


class Disconnect(msgspec.Struct):
    """MQTT5 §3.14."""

    reason: int = 0
    properties: Properties = {}


class Auth(msgspec.Struct):
    """MQTT5 §3.15."""

    reason: int = 0
    properties: Properties = {}


Packet = (
    Connect | Connack | Publish | Puback | Pubrec | Pubrel | Pubcomp | Subscribe | Suback
    | Unsubscribe | Unsuback | Pingreq | Pingresp | Disconnect | Auth
)  # fmt: skip
