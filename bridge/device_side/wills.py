"""Wills: published when a connection ends without a word, after their delay or with the session, whichever is first.

Each is on disk from before its client's CONNACK until its publication is: a gateway that is killed publishes at its
next start those of the clients that were connected then (MQTT5 §3.1.2.5 allows it to be late), and goes on waiting with
those that waited. A gateway that stops by itself has said good-bye to its clients: their wills go, as mosquitto's do.
"""

from __future__ import annotations

from collections.abc import Callable, Container

import msgspec

from bridge.device_side.cold import ColdStore
from bridge.device_side.long_clock import LongClock, Moment
from bridge.message import Message
from bridge.mqtt.events import Will


class _Stored(msgspec.Struct, frozen=True, omit_defaults=True):
    device: str
    message: Message
    delay_s: int
    due: Moment | None = None
    """None: its client is connected."""


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_Stored).decode
Publish = Callable[[str, Message, Callable[[], object]], None]
"""Takes the device, what it leaves, and what is to be called when nothing of that can be lost any more."""


class Wills:
    """Of clients that are connected, and of those that went without a word."""

    def __init__(self, publish: Publish, cold: ColdStore, long: LongClock) -> None:
        """Args:
        publish: see there.
        cold: where they are kept.
        long: delays run on while the daemon does not.
        """
        self._publish = publish
        self._cold = cold
        self._long = long
        self._keys: dict[str, str] = {}
        """Of the newest row of each device. One whose publication is under way may be there still."""
        self._last_number = 0
        self._waiting: dict[str, tuple[float, Message]] = {}
        """When, by the loop's clock, and what, by device."""

    def restore(self, sessions: Container[str], now: float) -> None:
        """At start: a connection that there was has ended by now; `sessions`: those that go on without it."""
        rows = [(key, _decode(value)) for key, value in self._cold.load("wills")]
        for key, stored in sorted(rows):
            self._last_number = max(self._last_number, int(key, 16))
            self._keys[stored.device] = key
            over = stored.device not in sessions
            if over or stored.due is None:
                self.left(stored.device, Will(stored.message, stored.delay_s), now, session_over=over)
            else:
                self._waiting[stored.device] = (now + self._long.until(stored.due), stored.message)

    def connected(self, device: str, will: Will | None) -> None:
        """A new connection; what is said about the last one comes before. Not yet on disk when this returns."""
        self._forget(device)
        if will is not None:
            self._last_number += 1
            self._keys[device] = f"{self._last_number:016x}"
            self._store(device, will, None)

    def discarded(self, device: str) -> None:
        """The connection ended and the will does not count [MQTT-3.1.2-10]."""
        self._forget(device)

    def left(self, device: str, will: Will, now: float, *, session_over: bool) -> None:
        """The connection ended and the will counts [MQTT-3.1.2-8]."""
        self._waiting[device] = (now + will.delay_s, will.message)
        if session_over or not will.delay_s:
            self.session_over(device)
        else:
            self._store(device, will, self._long.mark(will.delay_s))

    def resumed(self, device: str) -> None:
        """A new connection goes on with the session: the will is not sent [MQTT-3.1.3-9]."""
        if self._waiting.pop(device, None) is not None:
            self._forget(device)

    def session_over(self, device: str) -> None:
        """No new connection can go on with the session any more: what waits is published now."""
        waiting = self._waiting.pop(device, None)
        if waiting is not None:
            key = self._keys.pop(device)
            self._publish(device, waiting[1], lambda: self._cold.put("wills", key, None))

    def publish_due(self, now: float) -> None:
        """Publishes those whose delay is over."""
        for device in [device for device, (due, _) in self._waiting.items() if due <= now]:
            self.session_over(device)

    def _store(self, device: str, will: Will, due: Moment | None) -> None:
        self._cold.put("wills", self._keys[device], _encode(_Stored(device, will.message, will.delay_s, due)))

    def _forget(self, device: str) -> None:
        key = self._keys.pop(device, None)
        if key is not None:
            self._cold.put("wills", key, None)
