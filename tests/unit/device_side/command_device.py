"""A device as the standards want it, for commands: what its program was given, and what it has in its books."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from bridge.message import Message
from bridge.mqtt import packets
from tests.unit.device_side.local import Peer


class CommandDevice:
    """One device through all its connections. Its program has a message of QoS 2 when that comes (MQTT5 §4.3.3)."""

    def __init__(self, given: Callable[[str, Message], None]) -> None:
        """`given`: told of each command that its program gets, by id."""
        self.peer: Peer | None = None
        self.got: list[str] = []
        """Ids, oldest first."""
        self.session = 0
        """Rises when the gateway has forgotten the last one."""
        self._given = given
        self._books: set[int] = set()
        """Packet ids at QoS 2 that are not released."""
        self._to_say: list[packets.Packet] = []
        self._deaf = False

    def connected(self, peer: Peer) -> None:
        """A new connection, its CONNACK read."""
        self.peer, self._deaf, self._to_say = peer, False, []
        if not peer.connack.session_present:  # type: ignore[union-attr]
            self._books.clear()
            self.session += 1

    def lose(self) -> None:
        """From now on nothing crosses any more, in either direction, which nobody notices yet."""
        self._deaf = True

    def gone(self) -> None:
        """The connection has ended."""
        self.peer, self._to_say = None, []

    def listen(self) -> None:
        """Takes what has come."""
        if self.peer is None:
            return
        for packet in self.peer.answers():
            if not self._deaf:
                self._take(packet)

    def say(self, count: int) -> None:
        """Sends the oldest `count` of its acknowledgements."""
        said, self._to_say = self._to_say[:count], self._to_say[count:]
        if self.peer is not None and not self._deaf and said:
            self.peer.send(*said)

    @property
    def hears(self) -> bool:
        """It is connected, and what it says arrives."""
        return self.peer is not None and not self._deaf

    @property
    def owes(self) -> int:
        """Acknowledgements that it has not sent."""
        return len(self._to_say)

    def _take(self, packet: packets.Packet) -> None:
        if isinstance(packet, packets.Pubrel):
            self._books.discard(packet.packet_id)
            self._to_say.append(packets.Pubcomp(packet.packet_id))
        elif isinstance(packet, Message):
            if packet.qos < 2 or packet.packet_id not in self._books:
                self._program(packet)
            if packet.qos == 1:
                self._to_say.append(packets.Puback(packet.packet_id))
            elif packet.qos == 2:
                self._books.add(packet.packet_id)
                self._to_say.append(packets.Pubrec(packet.packet_id))

    def _program(self, message: Message) -> None:
        head, _, name = message.topic.rpartition("/")
        if head.endswith("/commands"):
            assert msgspec.json.decode(message.payload)["id"] == name
            self.got.append(name)
            self._given(name, message)
