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
    session: str = msgspec.field(name="device")
    message: Message
    delay_s: int
    due: Moment | None = None
    """None: its client is connected."""


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_Stored).decode
Publish = Callable[[str, Message, Callable[[], object]], None]
"""Takes the session's name, what it leaves, and what is to be called when nothing of that can be lost any more."""


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
        """Of the newest row of each session. One whose publication is under way may be there still."""
        self._last_number = 0
        self._waiting: dict[str, tuple[float, Message]] = {}
        """When, by the loop's clock, and what, by session."""

    def restore(self, sessions: Container[str], now: float) -> None:
        """At start: a connection that there was has ended by now; `sessions`: those that go on without it."""
        rows = [(key, _decode(value)) for key, value in self._cold.load("wills")]
        for key, stored in sorted(rows):
            self._last_number = max(self._last_number, int(key, 16))
            self._keys[stored.session] = key
            over = stored.session not in sessions
            if over or stored.due is None:
                self.left(stored.session, Will(stored.message, stored.delay_s), now, session_over=over)
            else:
                self._waiting[stored.session] = (now + self._long.until(stored.due), stored.message)

    def connected(self, session: str, will: Will | None) -> None:
        """A new connection; what is said about the last one comes before. Not yet on disk when this returns."""
        self._forget(session)
        if will is not None:
            self._last_number += 1
            self._keys[session] = f"{self._last_number:016x}"
            self._store(session, will, None)

    def discarded(self, session: str) -> None:
        """The connection ended and the will does not count [MQTT-3.1.2-10]."""
        self._forget(session)

    def left(self, session: str, will: Will, now: float, *, session_over: bool) -> None:
        """The connection ended and the will counts [MQTT-3.1.2-8]."""
        self._waiting[session] = (now + will.delay_s, will.message)
        if session_over or not will.delay_s:
            self.session_over(session)
        else:
            self._store(session, will, self._long.mark(will.delay_s))

    def resumed(self, session: str) -> None:
        """A new connection goes on with the session: the will is not sent [MQTT-3.1.3-9]."""
        if self._waiting.pop(session, None) is not None:
            self._forget(session)

    def session_over(self, session: str) -> None:
        """No new connection can go on with the session any more: what waits is published now."""
        waiting = self._waiting.pop(session, None)
        if waiting is not None:
            key = self._keys.pop(session)
            self._publish(session, waiting[1], lambda: self._cold.put("wills", key, None))

    def publish_due(self, now: float) -> None:
        """Publishes those whose delay is over."""
        for session in [session for session, (due, _) in self._waiting.items() if due <= now]:
            self.session_over(session)

    def _store(self, session: str, will: Will, due: Moment | None) -> None:
        self._cold.put("wills", self._keys[session], _encode(_Stored(session, will.message, will.delay_s, due)))

    def _forget(self, session: str) -> None:
        key = self._keys.pop(session, None)
        if key is not None:
            self._cold.put("wills", key, None)
