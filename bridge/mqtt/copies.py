"""Copies: one message on its way to many clients, encoded once for all whose packets differ in the packet id at most.

They live as long as one fan-out: what has to wait is encoded when it is sent.
"""

from __future__ import annotations

from typing import Any

from bridge.message import Message
from bridge.mqtt.encode import encode
from bridge.mqtt.properties import Property
from bridge.mqtt.session_state import Outgoing, outgoing
from bridge.mqtt.subscription import Subscription
from bridge.mqtt.wire import u16

_SHORT_MAX = 0x7F
"""The greatest remaining length of one byte; each further byte holds seven bits more (MQTT5 §1.5.5)."""

Alias = tuple[int, bool]
"""Topic alias, 0: none; whether the client knows it."""
NO_ALIAS: Alias = (0, False)


class Copies:
    """The packets of one message, by what they differ in."""

    __slots__ = ("_made", "_simple")

    def __init__(self) -> None:
        self._made: dict[tuple[int, int, bool, tuple[int, ...], int | None, Alias], tuple[bytes, bytes]] = {}
        """Before the packet id and behind it."""
        self._simple: dict[tuple[int, bool, tuple[int, ...]], bytes] = {}

    def packet(self, item: Outgoing, version: int, left_s: int | None, alias: Alias = NO_ALIAS) -> bytes:
        """As `publish` without DUP; every `item` must be of the same message."""
        key = (version, item.qos, item.retain, item.identifiers, left_s, alias)
        made = self._made.get(key)
        if made is None:
            made = self._made[key] = _parted(publish(item, version, left_s, alias), item)
        return made[0] + u16(item.packet_id) + made[1] if item.qos else made[0]

    def simple(self, message: Message, subscription: Subscription, version: int) -> bytes:
        """The packet at QoS 0, of a message that does not expire, to who has no aliases."""
        key = (version, subscription.retain_as_published, subscription.identifiers)
        made = self._simple.get(key)
        if made is None:
            item = outgoing(message, subscription, retained=False, expires=None)
            made = self._simple[key] = self.packet(item, version, None)
        return made


def publish(item: Outgoing, version: int, left_s: int | None, alias: Alias = NO_ALIAS, *, dup: bool = False) -> bytes:
    """The PUBLISH of `item`.

    `left_s`: of its Message Expiry Interval [MQTT-3.3.2-6], None: it has none. `alias`: of its topic, and whether the
    client knows it, so that the name is left out (MQTT5 §3.3.2.3.4).
    """
    message = item.message
    number, known = alias
    properties: dict[int, Any] | None = message.properties
    if item.identifiers or left_s is not None or number:
        properties = dict(properties or {})
        if number:
            properties[Property.TOPIC_ALIAS] = number
        if item.identifiers:
            properties[Property.SUBSCRIPTION_IDENTIFIER] = list(item.identifiers)
        if left_s is not None:
            properties[Property.MESSAGE_EXPIRY_INTERVAL] = left_s
    topic = "" if known else message.topic
    packet = Message(topic, message.payload, item.qos, item.retain, dup, item.packet_id, properties)
    return encode(packet, version)


def _parted(packet: bytes, item: Outgoing) -> tuple[bytes, bytes]:
    if not item.qos:
        return packet, b""
    at = 2
    while packet[at - 1] > _SHORT_MAX:
        at += 1
    at += 2 + (packet[at] << 8 | packet[at + 1])
    return packet[:at], packet[at + 2 :]
