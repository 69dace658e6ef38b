"""A client that keeps the standard, for the state machine: the simplest thing that can be right.

Its `flash` (what it still has to publish, what it has received) survives connections, as in a good device.
"""

from __future__ import annotations

from collections import deque

from bridge.message import Message
from bridge.mqtt import packets
from bridge.mqtt.encode import encode
from bridge.mqtt.framing import PacketStream
from bridge.mqtt.packets import Packet
from bridge.mqtt.properties import Property

RECEIVE_MAXIMUM = 2
PACKET_IDS = 100
"""So few that they are soon used again, so many that some are free: PUBREL of earlier connections holds them too."""


class Device:
    """Publishes and receives numbered messages; QoS and number are the payload."""

    def __init__(self, version: int) -> None:
        self.version = version
        self.outbox: deque[Message] = deque()
        self.in_flight: dict[int, Message | None] = {}
        """By packet id; None once PUBREC has come."""
        self.acknowledged: list[bytes] = []
        self.received: list[bytes] = []
        self.unreleased: set[int] = set()
        """QoS 2 ids received and not yet released."""
        self.connected = False
        self.sent = bytearray()
        self._stream = PacketStream(version)
        self._repeat: deque[Message] = deque()
        self._quota = 0
        self._maximum = 0
        self._last_id = 0

    def connect(self) -> None:
        """CONNECT; the rest follows CONNACK."""
        self._stream = PacketStream(self.version)
        self.sent = bytearray()
        options: packets.Properties = {
            Property.SESSION_EXPIRY_INTERVAL: 1000,
            Property.RECEIVE_MAXIMUM: RECEIVE_MAXIMUM,
        }
        self._send(packets.Connect("d", False, self.version, properties=options))

    def lose(self) -> None:
        """The connection is gone."""
        self.connected = False

    def publish(self, message: Message) -> None:
        """Sends it as soon as the server's window allows."""
        self.outbox.append(message)
        self._pump()

    def take(self, data: bytes) -> None:
        """Bytes from the server."""
        for packet in self._stream.feed(data):
            self._on(packet)
            self._pump()

    def _send(self, packet: Packet) -> None:
        self.sent += encode(packet, self.version)

    def _pump(self) -> None:
        while self.connected and self._quota and (self._repeat or self.outbox):
            self._quota -= 1
            if self._repeat:
                self._send(self._repeat.popleft())
                continue
            message = self.outbox.popleft()
            while message.packet_id in self.in_flight or not message.packet_id:
                self._last_id = message.packet_id = self._last_id % PACKET_IDS + 1
            self.in_flight[message.packet_id] = message
            self._send(message)

    def _on(self, packet: Packet) -> None:
        if isinstance(packet, packets.Connack):
            self._resume(packet)
        elif isinstance(packet, Message):
            self._receive(packet)
        elif isinstance(packet, packets.Puback):
            self._done(packet.packet_id)
        elif isinstance(packet, packets.Pubrec):
            self._pubrec(packet)
        elif isinstance(packet, packets.Pubrel):
            self.unreleased.discard(packet.packet_id)
            self._send(packets.Pubcomp(packet.packet_id))
        elif isinstance(packet, packets.Pubcomp):
            del self.in_flight[packet.packet_id]
            self._quota = min(self._quota + 1, self._maximum)
        else:
            raise AssertionError(f"the server sent {packet}")

    def _resume(self, packet: packets.Connack) -> None:
        assert packet.reason == 0
        maximum = packet.properties.get(Property.RECEIVE_MAXIMUM, 3)
        assert isinstance(maximum, int)
        self.connected = True
        self._quota = self._maximum = maximum
        self._repeat.clear()
        for packet_id, message in self.in_flight.items():
            if message is None:
                self._send(packets.Pubrel(packet_id))
            else:
                message.dup = True
                self._repeat.append(message)

    def _receive(self, message: Message) -> None:
        if message.qos < 2 or message.packet_id not in self.unreleased:
            self.received.append(message.payload)
        if message.qos == 1:
            self._send(packets.Puback(message.packet_id))
        elif message.qos == 2:
            self.unreleased.add(message.packet_id)
            self._send(packets.Pubrec(message.packet_id))

    def _pubrec(self, packet: packets.Pubrec) -> None:
        message = self.in_flight.pop(packet.packet_id)
        if message is not None:
            self.acknowledged.append(message.payload)
        self.in_flight[packet.packet_id] = None
        self._send(packets.Pubrel(packet.packet_id))

    def _done(self, packet_id: int) -> None:
        message = self.in_flight.pop(packet_id)
        assert message is not None
        self.acknowledged.append(message.payload)
        self._quota += 1
