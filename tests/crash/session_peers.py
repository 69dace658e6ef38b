"""A publisher and a subscriber that keep their books as MQTT says, over any number of connections to a gateway.

The books are in this process: it is the gateway that is killed, not its clients.
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod

from tests.interop.wire import PUBACK, PUBCOMP, PUBLISH, PUBREC, PUBREL, SUBACK, Wire, packet, publish, pubrel

Stream = tuple[str, int]
"""Topic and QoS."""
_EXPIRY_S = 3600
_WINDOW = 20
_TURN_S = 0.02
_UNKNOWN = 0x92
"""Reason of a PUBCOMP: packet identifier not found."""


class Peer(ABC):
    """One client with a session that stays."""

    def __init__(self, client_id: str, port: int) -> None:
        self.client_id = client_id
        self.port = port
        self.go_away = threading.Event()
        """Ends the present connection."""

    def live(self, over: threading.Event) -> None:
        """One connection, until `go_away` or `over`, or until the gateway is gone."""
        self.go_away.clear()
        try:
            with Wire(self.port, self.client_id, version=5, clean=False, expiry_s=_EXPIRY_S) as wire:
                self.begin(wire, present=wire.connected())
                while not (self.go_away.is_set() or over.is_set()):
                    self.offer(wire)
                    try:
                        self.take(wire, *wire.receive(_TURN_S))
                    except TimeoutError:
                        continue
        except OSError:
            return

    @abstractmethod
    def begin(self, wire: Wire, *, present: bool) -> None:
        """CONNACK has come."""

    @abstractmethod
    def offer(self, wire: Wire) -> None:
        """What it has to say by itself."""

    @abstractmethod
    def take(self, wire: Wire, kind: int, body: bytes) -> None:
        """A packet has come."""


class Publisher(Peer):
    """Publishes numbers, each stream counting for itself, a window of them at a time."""

    def __init__(self, client_id: str, port: int, streams: list[Stream]) -> None:
        super().__init__(client_id, port)
        self.published = dict.fromkeys(streams, 0)
        self.acknowledged = 0
        self.more = True
        """Whether it begins new ones."""
        self.in_flight: dict[int, tuple[Stream, int]] = {}
        """Stream and number by packet id."""
        self._released: set[int] = set()
        self._last_id = 0

    def begin(self, wire: Wire, *, present: bool) -> None:
        assert present or not self.acknowledged, "the publisher's session is gone"
        for packet_id, ((topic, qos), number) in self.in_flight.items():
            if packet_id in self._released:
                wire.send(pubrel(packet_id))
            else:
                wire.send(publish(topic, b"%d" % number, qos, packet_id, version=5, dup=True))

    def offer(self, wire: Wire) -> None:
        streams = list(self.published)
        while self.more and len(self.in_flight) < _WINDOW:
            stream = streams[sum(self.published.values()) % len(streams)]
            number, packet_id = self.published[stream], self._next_id()
            self.published[stream] += 1
            self.in_flight[packet_id] = (stream, number)
            wire.send(publish(stream[0], b"%d" % number, stream[1], packet_id, version=5))

    def take(self, wire: Wire, kind: int, body: bytes) -> None:
        packet_id = int.from_bytes(body[:2], "big")
        if kind == PUBREC:
            assert len(body) == 2, body
            self._released.add(packet_id)
            wire.send(pubrel(packet_id))
            return
        assert kind in (PUBACK, PUBCOMP), (kind, body)
        assert len(body) == 2 or (kind == PUBCOMP and body[2] == _UNKNOWN), body
        del self.in_flight[packet_id]
        self._released.discard(packet_id)
        self.acknowledged += 1

    def _next_id(self) -> int:
        """Few, so that they come round soon: a stale one would take a message for a repetition."""
        while True:
            self._last_id = self._last_id % (4 * _WINDOW) + 1
            if self._last_id not in self.in_flight:
                return self._last_id


class Subscriber(Peer):
    """Writes down what it gets, by stream; a QoS 2 message once, as its packet id says."""

    def __init__(self, client_id: str, port: int, topic_filter: str) -> None:
        super().__init__(client_id, port)
        self.received: dict[Stream, list[int]] = {}
        self.subscribed = threading.Event()
        self._filter = topic_filter
        self._unreleased: set[int] = set()

    def begin(self, wire: Wire, *, present: bool) -> None:
        assert present or not self.subscribed.is_set(), "the subscriber's session is gone"
        if not present:
            name = self._filter.encode()
            wire.send(packet(0x82, b"\0\x01\0" + len(name).to_bytes(2, "big") + name + b"\x02"))

    def offer(self, wire: Wire) -> None:
        """Nothing."""

    def take(self, wire: Wire, kind: int, body: bytes) -> None:
        if kind == SUBACK:
            self.subscribed.set()
        elif kind == PUBREL:
            self._unreleased.discard(int.from_bytes(body[:2], "big"))
            wire.send(packet(PUBCOMP, body[:2]))
        else:
            assert kind == PUBLISH, (kind, body)
            self._take_message(wire, body)

    def _take_message(self, wire: Wire, body: bytes) -> None:
        size = int.from_bytes(body[:2], "big")
        topic, packet_id = body[2 : 2 + size].decode(), body[2 + size : 4 + size]
        assert body[4 + size] == 0, "properties, where none were sent"
        # Wire keeps no flags: the name of a topic ends with the QoS that it is published with.
        qos, number = int(topic[-1]), int(body[5 + size :])
        if qos == 1:
            wire.send(packet(PUBACK, packet_id))
            self._write_down(topic, qos, number)
            return
        wire.send(packet(PUBREC, packet_id))
        if int.from_bytes(packet_id, "big") not in self._unreleased:
            self._unreleased.add(int.from_bytes(packet_id, "big"))
            self._write_down(topic, qos, number)

    def _write_down(self, topic: str, qos: int, number: int) -> None:
        self.received.setdefault((topic, qos), []).append(number)
