"""Inbound: messages from the client on one connection (MQTT5 §3.3, §4.3, §4.9).

It keeps the client's window, its topic aliases and both ends of QoS 2. Nothing is acknowledged before the broker says
so. What must survive the connection is in `SessionState`.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

from bridge.config import Mqtt
from bridge.message import Message
from bridge.mqtt import packets, topics
from bridge.mqtt.answers import Answers
from bridge.mqtt.encode import encode
from bridge.mqtt.errors import PeerError, protocol_error
from bridge.mqtt.events import Event, Released, Repeated
from bridge.mqtt.packets import PacketType
from bridge.mqtt.properties import Property
from bridge.mqtt.reasons import Reason
from bridge.mqtt.session_state import Exchange, SessionState, Stage

_pack = struct.Struct(">BBH").pack
"""First byte, remaining length 2, packet id: an acknowledgement that says success, in every version."""
_PUBACK, _PUBREC, _PUBCOMP = PacketType.PUBACK << 4, PacketType.PUBREC << 4, PacketType.PUBCOMP << 4

Shape = tuple[int, bool, bool, int]
"""QoS, RETAIN, DUP of a PUBLISH, and the bytes between its topic and its payload when it has no properties."""


def shapes(version: int) -> dict[int, Shape]:
    """By first byte: every valid PUBLISH [MQTT-3.3.1-2] [MQTT-3.3.1-4]."""
    extra = 1 if version >= 5 else 0
    found = {0x30 | retain: (0, bool(retain), False, extra) for retain in (0, 1)}
    for bits in range(16):
        qos = bits >> 1 & 3
        if qos in (1, 2):
            found[0x30 | bits] = (qos, bool(bits & 1), bool(bits & 8), 2 + extra)
    return found


_SHAPES = {version: shapes(version) for version in (3, 4, 5)}


class Inbound:
    """Takes messages in, at most `window` unacknowledged ones, and acknowledges them when told to."""

    __slots__ = (
        "_aliases", "_answers", "_closed", "_limits", "_output", "_state", "_version", "alias_bytes", "awaited",
        "shapes", "topics", "unanswered", "window",
    )  # fmt: skip

    def __init__(self, state: SessionState, version: int, window: int, limits: Mqtt, output: list[bytes]) -> None:
        self.window = window
        self.unanswered = 0
        """The client's use of the window as the client counts it, from PUBLISH to PUBACK or PUBCOMP (MQTT5 §4.9)."""
        self.shapes = _SHAPES[version]
        self.topics: dict[bytes, str] = {}
        """Topic names of this connection that passed every check."""
        self._closed = False
        self._version = version
        self._state = state
        self._limits = limits
        self._output = output
        self._answers = Answers(output)
        self.awaited = self._answers.awaited
        self.alias_bytes = 0
        """What the client's aliases hold: each may stand for a topic of 64 KiB."""
        self._aliases: dict[int, str] = {}

    def publish(self, message: Message, events: list[Event]) -> None:
        """A PUBLISH whose topic is not yet known to be good."""
        if message.properties is not None:
            if Property.SUBSCRIPTION_IDENTIFIER in message.properties:
                raise protocol_error("a subscription identifier from a client [MQTT-3.3.4-6]")
            if Property.TOPIC_ALIAS in message.properties:
                self._resolve_alias(message)
        raw = message.topic.encode()
        if raw not in self.topics:
            topics.check_name(message.topic, self._limits.topic_max_bytes, self._limits.topic_levels_max)
            if len(raw) <= topics.REMEMBERED_MAX:
                if len(self.topics) >= self._limits.topic_cache_max:
                    self.topics.clear()
                self.topics[raw] = message.topic
        if self._limits.check_payload_format and not is_as_said(message):
            self._refuse_format(message)
        else:
            self.admit(message, events)

    def _refuse_format(self, message: Message) -> None:
        """(MQTT5 §3.3.2.3.2). At QoS 0 there is no answer but the connection's end (MQTT5 §4.13.1)."""
        if not message.qos:
            raise PeerError(Reason.PAYLOAD_FORMAT_INVALID, "a payload that is called UTF-8 is not")
        fresh: list[Event] = []
        self.admit(message, fresh)
        if fresh:
            self.acknowledge(message, Reason.PAYLOAD_FORMAT_INVALID)

    def admit(self, message: Message, events: list[Event]) -> None:
        """Reports a message, unless it is one of QoS 2 that was reported before."""
        if message.qos:
            if not message.packet_id:
                raise protocol_error("packet identifier 0 [MQTT-2.2.1-3]")
            if message.qos == 2 and (exchange := self._state.incoming.get(message.packet_id)) is not None:
                self._repeated(message, exchange, events)
                return
            self._take_room()
            self.awaited.append(message.packet_id)
            if message.qos == 2:
                self._state.incoming[message.packet_id] = Exchange(Stage.RECEIVED, self)
        events.append(message)

    def _resolve_alias(self, message: Message) -> None:
        properties = message.properties or {}
        alias = properties.pop(Property.TOPIC_ALIAS)
        message.properties = properties or None
        if not isinstance(alias, int) or alias > self._limits.topic_alias_maximum:
            raise PeerError(Reason.TOPIC_ALIAS_INVALID, f"topic alias {alias} is above the maximum [MQTT-3.3.2-9]")
        if message.topic:
            before = self._aliases.get(alias)
            self.alias_bytes += message.topic.__sizeof__() - (before.__sizeof__() if before is not None else 0)
            self._aliases[alias] = message.topic
        elif alias in self._aliases:
            message.topic = self._aliases[alias]
        else:
            raise protocol_error(f"topic alias {alias} was never set (MQTT5 §3.3.2.3.4)")

    def _take_room(self) -> None:
        if self.unanswered >= self.window:
            raise PeerError(Reason.RECEIVE_MAXIMUM_EXCEEDED, f"over {self.window} unacknowledged [MQTT-3.3.4-9]")
        self.unanswered += 1

    def _repeated(self, message: Message, exchange: Exchange, events: list[Event]) -> None:
        """A QoS 2 publication that came before: answered as far as it may be answered [MQTT-4.3.3-10]."""
        if exchange.connection is not self:
            # A repetition on a new connection counts against that connection's window (MQTT5 §4.9).
            self._take_room()
            exchange.connection = self
            self.awaited.append(message.packet_id)
        elif exchange.stage != Stage.RECEIVED:
            self.awaited.append(message.packet_id)
        if exchange.stage == Stage.UNTOLD:
            exchange.stage = Stage.RECEIVED
            events.append(Repeated(message))
        elif exchange.stage != Stage.RECEIVED:
            self.pubrec(message.packet_id, 0)

    def released(self, packet: packets.Pubrel, events: list[Event]) -> None:
        """PUBREL: reported once; for an unknown id answered at once, so that the client can finish."""
        exchange = self._state.incoming.get(packet.packet_id)
        if exchange is None:
            self._settle()
            unknown = packets.Pubcomp(packet.packet_id, Reason.PACKET_IDENTIFIER_NOT_FOUND)
            self._output.append(encode(unknown, self._version))
            return
        if exchange.stage == Stage.RECEIVED:
            raise protocol_error("PUBREL before PUBREC [MQTT-4.3.3-4]")
        exchange.connection = self
        if exchange.stage in (Stage.DURABLE, Stage.UNTOLD):
            exchange.stage = Stage.RELEASED
            events.append(Released(packet.packet_id))

    def acknowledge(self, message: Message, reason: int) -> None:
        """See `Session.acknowledge`."""
        if message.qos == 1:
            if self._closed:
                return
            self.unanswered -= 1
            refusal = packets.Puback(message.packet_id, reason)
            answer = encode(refusal, self._version) if reason else _pack(_PUBACK, 2, message.packet_id)
            self._answers.give(message.packet_id, answer)
        elif message.qos == 2:
            self._acknowledge_exchange(message.packet_id, reason)

    def durable(self, messages: Sequence[Message]) -> None:
        """See `Session.durable`."""
        for message in messages:
            if message.qos == 2:
                self._acknowledge_exchange(message.packet_id, 0)
            elif not self._closed:
                self.unanswered -= 1
                self._answers.give(message.packet_id, _pack(_PUBACK, 2, message.packet_id))

    def _acknowledge_exchange(self, packet_id: int, reason: int) -> None:
        exchange = self._state.incoming.get(packet_id)
        if exchange is None or exchange.connection is None:
            return
        if reason >= 0x80:
            del self._state.incoming[packet_id]
        else:
            exchange.stage = Stage.DURABLE
        exchange.connection.pubrec(packet_id, reason)

    def complete(self, packet_id: int) -> None:
        """See `Session.complete`."""
        exchange = self._state.incoming.pop(packet_id, None)
        if exchange is not None and exchange.connection is not None:
            exchange.connection.pubcomp(packet_id)

    def pubrec(self, packet_id: int, reason: int) -> None:
        """PUBREC. A failure ends the exchange in MQTT 5 only; in 3.1.1 PUBREL and PUBCOMP still follow."""
        if self._closed:
            return
        if reason >= 0x80 and self._version >= 5:
            self._settle()
        refusal = packets.Pubrec(packet_id, reason)
        answer = encode(refusal, self._version) if reason else _pack(_PUBREC, 2, packet_id)
        self._answers.give(packet_id, answer)

    def pubcomp(self, packet_id: int) -> None:
        """PUBCOMP."""
        if not self._closed:
            self._settle()
            self._output.append(_pack(_PUBCOMP, 2, packet_id))

    def _settle(self) -> None:
        # PUBCOMP of an exchange whose PUBLISH came by an earlier connection opens the client's window too, unless that
        # is wide open when it arrives (MQTT5 §4.9). That is not seen here: so below zero, in the client's favour.
        self.unanswered -= 1

    def close(self) -> None:
        """Nothing more goes out, and what only this connection needed is let go."""
        self._closed = True
        self.topics, self._aliases = {}, {}
        self._answers.forget()


def is_as_said(message: Message) -> bool:
    """Whether a payload with Payload Format Indicator 1 is UTF-8 (MQTT5 §3.3.2.3.2)."""
    if not message.properties or not message.properties.get(Property.PAYLOAD_FORMAT_INDICATOR):
        return True
    try:
        message.payload.decode()
    except UnicodeDecodeError:
        return False
    return True
