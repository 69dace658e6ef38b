"""What `Session.receive` reports. A PUBLISH is reported as `bridge.message.Message` itself."""

from __future__ import annotations

import msgspec

from bridge.message import Message
from bridge.mqtt.subscription import Subscription


class Will(msgspec.Struct, frozen=True):
    """The message a client leaves for the case that it goes without a word (MQTT5 §3.1.2.5)."""

    message: Message
    delay_s: int = 0
    """Between the connection's end and its publication (MQTT5 §3.1.3.2.2)."""


class ConnectRequested(msgspec.Struct, frozen=True):
    """CONNECT: the broker answers with `Session.accept` or `Session.refuse`."""

    client_id: str
    """Empty: the broker assigns one."""
    clean_start: bool
    version: int
    """3 (MQTT 3.1), 4 (3.1.1) or 5."""
    keepalive_s: int
    """In force, after the server's maximum; 0: none."""
    expiry_s: int
    """In force, after the server's maximum; 0: the session ends with the connection."""
    will: Will | None
    username: str | None
    password: bytes | None
    properties: dict[int, object]


class Repeated(msgspec.Struct, frozen=True):
    """A QoS 2 message that was durable before a restart, said again: subscribers may have missed it.

    The broker tells them and calls `Session.acknowledge`; it is not to be made durable a second time.
    """

    message: Message


class Released(msgspec.Struct, frozen=True):
    """PUBREL of a durable QoS 2 message: the broker calls `Session.complete` when that is durable too."""

    packet_id: int


class SubscribeRequested(msgspec.Struct, frozen=True):
    """SUBSCRIBE: the broker answers with `Session.subscribed`, one reason for each subscription."""

    packet_id: int
    subscriptions: tuple[Subscription, ...]
    properties: dict[int, object]


class UnsubscribeRequested(msgspec.Struct, frozen=True):
    """UNSUBSCRIBE: the broker answers with `Session.unsubscribed`, one reason for each filter."""

    packet_id: int
    filters: tuple[str, ...]


class Disconnected(msgspec.Struct, frozen=True):
    """The client said DISCONNECT, or it broke the protocol; the session is closed and takes no more bytes."""

    reason: int
    will: bool
    """Whether its will is to be published."""
    text: str = ""
    """In plain words, for the log."""
    by_client: bool = True
    """False: the engine ended it; a DISCONNECT or CONNACK with the reason waits in the output where MQTT has one."""


Event = Message | Repeated | ConnectRequested | Released | SubscribeRequested | UnsubscribeRequested | Disconnected
