"""Sessions on disk: what of a session that outlives its connection is there after a restart (MQTT5 §4.1).

A session's row has its subscriptions and since when it is alone; each message it has to be sent is a row of its own.
Whoever published it has its acknowledgement when that row is on disk, or is not needed any more: while one batch is
written, the next gathers, and what subscribers acknowledge meanwhile never touches the disk. A row that is gone too
late repeats a QoS 1 message after a kill, or a PUBREL; neither is more than MQTT allows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import msgspec

from bridge.config import Mqtt
from bridge.device_side.cold import Changes, ColdStore, Table
from bridge.device_side.long_clock import LongClock, Moment
from bridge.message import Message
from bridge.mqtt.queue_room import QueueRoom
from bridge.mqtt.session_state import Outgoing, SessionState
from bridge.mqtt.subscription import Subscription


class _StoredSession(msgspec.Struct, frozen=True):
    version: int
    expiry_s: int
    subscriptions: list[Subscription]
    alone_since: Moment | None = None
    """None: it was connected."""


class _StoredMessage(msgspec.Struct, frozen=True, omit_defaults=True):
    message: Message
    qos: int
    retain: bool
    identifiers: tuple[int, ...] = ()
    packet_id: int = 0
    released: bool = False
    expires: Moment | None = None
    share: str = ""


_encode = msgspec.msgpack.Encoder().encode
_decode_session = msgspec.msgpack.Decoder(_StoredSession).decode
_decode_message = msgspec.msgpack.Decoder(_StoredMessage).decode
Soon = Callable[[Callable[[], object]], object]
"""Has something called on the loop's thread when it is free; may be called on any."""
_SEPARATOR = "\0"
"""Between a session's name and the number in the key of a message; in the name it may stand, too."""


class KeptSessions:
    """The two tables, which messages of which session are in them, and who waits for that."""

    def __init__(
        self,
        cold: ColdStore,
        limits: Mqtt,
        now: Callable[[], float],
        soon: Soon,
        on_stored: Callable[[SessionState], None],
        long: LongClock,
        room: QueueRoom | None = None,
    ) -> None:
        """Args:
        cold: the store.
        limits: of the sessions.
        now: the loop's clock, seconds.
        soon: for what is to be written, and what follows.
        on_stored: told of each session that waited (`Keeper.awaited`) when it is on disk.
        long: clocks of sessions and messages run on while the daemon does not.
        room: what the queues of all sessions may take; None: no bound.
        """
        self._cold = cold
        self._limits = limits
        self._now = now
        self._soon = soon
        self._on_stored = on_stored
        self._long = long
        self._room = room
        self._changed: dict[SessionState, list[Outgoing]] = {}
        """Messages that may be other than on disk, in the order in which that came about."""
        self._changes: Changes = {}
        """To be written with them."""
        self._written: list[tuple[Outgoing, int, bool]] = []
        """Messages in flight that wait for the disk, with packet id and stage, that no commit has been seen of."""
        self._awaited: dict[SessionState, None] = {}
        self._callbacks: list[Callable[[], object]] = []
        self._committing = False
        self._rows: dict[str, dict[int, tuple[str, int, bool]]] = {}
        """By session and number of a message: its key, and the packet id and stage it was written with."""
        self._last_number = 0

    def load(self) -> Iterator[tuple[SessionState, float]]:
        """At start: each session, and the reading of the loop's clock (in the past) since which it is alone."""
        states: dict[str, SessionState] = {}
        alone: dict[str, float] = {}
        for name, body in self._cold.load("sessions"):
            stored = _decode_session(body)
            state = states[name] = SessionState(name, stored.version, stored.expiry_s, self._limits, self._room)
            state.subscriptions.update((one.filter, one) for one in stored.subscriptions)
            state.keeper = self
            self._rows[name] = {}
            since = stored.alone_since
            alone[name] = self._now() + (min(0.0, self._long.until(since)) if since else 0.0)
        for key, body in sorted(self._cold.load("queues")):
            self._load_message(states, key, _decode_message(body))
        for name, state in states.items():
            yield state, alone[name]

    def store(self, state: SessionState, *, gone: bool) -> None:
        """Writes the session; `gone`: its connection has just ended. To be called when its subscriptions change too."""
        if state.keeper is None:
            state.keeper = self
            self._changed[state] = [*state.in_flight.values(), *state.queue]
        self._rows.setdefault(state.name, {})
        since = self._long.mark() if gone else None
        body = _StoredSession(state.version, state.expiry_s, list(state.subscriptions.values()), since)
        self._cold.put("sessions", state.name, _encode(body))

    def forget(self, state: SessionState) -> None:
        """The session is over, or is to end with its connection from now on.

        What others took over from it is written at the same moment.
        """
        state.keeper = None
        self._changed.pop(state, None)
        rows = self._rows.pop(state.name, None)
        if rows is None:
            return
        self.put("sessions", state.name, None)
        for key, _, _ in rows.values():
            self.put("queues", key, None)
        self.write_messages()

    def put(self, table: Table, key: str, value: bytes | None) -> None:
        """Something that is to be on disk together with the messages that sessions have got just now."""
        self._changes[(table, key)] = value

    def changed(self, state: SessionState, item: Outgoing) -> None:
        """It has a message to send that it had not, or one is not as it was, or over."""
        self._changed.setdefault(state, []).append(item)

    def awaited(self, state: SessionState) -> None:
        """It has something that is to be on disk before it is said."""
        self._awaited[state] = None
        self._commit_soon()

    def when_kept(self, callback: Callable[[], object]) -> None:
        """Calls back, on the loop's thread, when all that sessions hold now, and all that was `put`, is on disk."""
        self._callbacks.append(callback)
        self._commit_soon()

    def after_commit(self, callback: Callable[[], object]) -> None:
        """Calls back, on the store's thread, when all that was stored before is on disk."""
        self._cold.after_commit(callback)

    def write_messages(self) -> None:
        """Brings the rows up to what sessions hold, at the cost of what has changed."""
        changed, self._changed = self._changed, {}
        for state, items in changed.items():
            rows = self._rows.setdefault(state.name, {})
            for item in items:
                self._write(state, rows, item)
        if self._changes:
            changes, self._changes = self._changes, {}
            self._cold.put_all(changes)

    def _commit_soon(self) -> None:
        if not self._committing:
            self._committing = True
            self._soon(self._commit)

    def _commit(self) -> None:
        self.write_messages()
        written, self._written = self._written, []
        awaited, self._awaited = self._awaited, {}
        callbacks, self._callbacks = self._callbacks, []

        def committed() -> None:
            self._committing = False
            for item, packet_id, released in written:
                item.stored = (item.packet_id, item.released) == (packet_id, released)
            for callback in callbacks:
                callback()
            for state in awaited:
                self._on_stored(state)
            if self._awaited or self._callbacks:
                self._commit_soon()

        self._cold.after_commit(lambda: self._soon(committed))

    def _write(self, state: SessionState, rows: dict[int, tuple[str, int, bool]], item: Outgoing) -> None:
        row = rows.get(item.number)
        if item.over:
            if row is not None:
                self.put("queues", row[0], None)
                del rows[item.number]
        elif row is None or row[1:] != (item.packet_id, item.released):
            if row is not None and item.released:
                # PUBREL is repeated in the order of PUBREC [MQTT-4.6.0-4]: it goes behind the others.
                self.put("queues", row[0], None)
                del rows[item.number]
                item.number = 0
            self._put(state, rows, item)

    def _put(self, state: SessionState, rows: dict[int, tuple[str, int, bool]], item: Outgoing) -> None:
        if not item.number:
            self._last_number += 1
            item.number = self._last_number
        key = f"{state.name}{_SEPARATOR}{item.number:016x}"
        rows[item.number] = (key, item.packet_id, item.released)
        expires = None if item.expires is None else self._long.mark(item.expires - self._now())
        stored = _StoredMessage(
            item.message, item.qos, item.retain, item.identifiers, item.packet_id, item.released, expires, item.share
        )
        self.put("queues", key, _encode(stored))
        if (item.qos == 2 or item.behind) and item.packet_id:
            self._written.append((item, item.packet_id, item.released))

    def _load_message(self, states: dict[str, SessionState], key: str, stored: _StoredMessage) -> None:
        name, _, number = key.rpartition(_SEPARATOR)
        self._last_number = max(self._last_number, int(number, 16))
        state = states.get(name)
        if state is None:
            self._cold.put("queues", key, None)
            return
        expires = None if stored.expires is None else self._now() + self._long.until(stored.expires)
        item = Outgoing(
            stored.message, stored.qos, stored.retain, stored.identifiers, stored.packet_id, stored.released, expires,
            stored.share, int(number, 16), stored=True,
        )  # fmt: skip
        self._rows.setdefault(name, {})[item.number] = (key, item.packet_id, item.released)
        state.restore_outgoing(item)
