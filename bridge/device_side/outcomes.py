"""Outcomes: what was said of which command, and so which are over. They follow the log, never lead it.

An outcome is a record in the state lane; the cold store follows when that is durable, and the log gives no record up
that the store does not have. At start the store catches up from the log: so a final outcome is said exactly once, and
of a command that comes again later it is known that it is over, as long as it is remembered.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterable

import msgspec

from bridge.config import Downlink
from bridge.device_side.clock import Clock
from bridge.device_side.cold import Changes, ColdStore
from bridge.device_side.command import FINAL, Outcome, Verdict
from bridge.device_side.devices import POSITION_KEY
from bridge.device_side.handshakes import Opened
from bridge.device_side.tallies import Key, Tallies, key_of_row, row_of_key
from bridge.device_side.uplink import Lane
from bridge.log.record import CLOCK_SYNCHRONISED, OUTCOME, Record, decode_context, encode, encode_context
from bridge.orders import Order

_log = logging.getLogger(__name__)


class Told(msgspec.Struct, frozen=True):
    """The last that was said of a command."""

    word: str
    at_ns: int


class _Said(msgspec.Struct):
    outcome: str
    group: str = ""


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Told).decode
_decode_said = msgspec.json.Decoder(_Said).decode


class Outcomes:
    """Command → what was said of it last."""

    def __init__(
        self,
        settings: Downlink,
        lane: Lane,
        cold: ColdStore,
        clock: Clock,
        tallies: Tallies,
        *,
        log_id: bytes,
        kick: Callable[[], None],
    ) -> None:
        """Args:
        settings: the outcome topic, and how much is remembered.
        lane: that of the device documents, whose position in the store these share.
        cold: where they are kept.
        clock: for `at`.
        tallies: count what becomes of commands to groups.
        log_id: of the uplink log.
        kick: called after appends.
        """
        self.lane = lane
        self._settings = settings
        self._cold = cold
        self._clock = clock
        self._tallies = tallies
        self._log_id = log_id
        self._kick = kick
        self._open: dict[Key, str] = {}
        self._over: dict[Key, None] = {}
        """Oldest first."""
        self._on_their_way: dict[Key, list[Callable[[], object]]] = {}
        """Final ones that are not durable yet, and who else waits for that."""
        self.watchers: set[Callable[[Key, str, bytes], None]] = set()
        """Each is called with what was said of a command, a word and a record's value, when that is durable."""
        self.counts: Counter[str] = Counter()
        """What was said since the start, by word."""

    def restore(self, tail: Iterable[Record]) -> None:
        """At start: what the store has, and what only the log has: `tail`, from the store's position on."""
        rows = [(_decode(value), key) for key, value in self._cold.load("outcomes")]
        for told, row in sorted(rows, key=lambda each: each[0].at_ns):
            self._remember(key_of_row(row), told.word)
        for record in tail:
            if record.kind == OUTCOME:
                device, name, _ = decode_context(record.context)
                said = _decode_said(record.payload)
                self._remember((device, name), said.outcome)
                self._cold.put("outcomes", row_of_key((device, name)), _encode(Told(said.outcome, record.wall_ns)))
                if said.group and said.outcome in FINAL:
                    self._cold.put_all(self._tallies.count(said.group, name, said.outcome, record.seq + 1))
        self._cold.put_all(self._forget())

    def last(self, key: Key) -> str | None:
        """The last that was said of it, so far as it is remembered."""
        return self._open.get(key)

    def over(self, key: Key) -> bool:
        """A final outcome was said of it."""
        return key in self._over

    def when_durable(self, key: Key, done: Callable[[], object]) -> None:
        """Calls `done` when a final outcome that was said is durable: at once where it is."""
        waiting = self._on_their_way.get(key)
        if waiting is None:
            done()
        else:
            waiting.append(done)

    def say(
        self,
        key: Key,
        order: Order,
        verdict: Verdict,
        done: Callable[[], object],
        *,
        packet_id: int = 0,
        effect: Opened | None = None,
    ) -> None:
        """Tells Kafka; `done` when that is durable here. `packet_id`, `effect`: of the QoS 2 message that caused it.

        Raises:
            LogFull: nothing was said.
            RecordTooLarge: it never can be.
        """
        wall_ns = self._clock.wall_ns()
        flags = CLOCK_SYNCHRONISED if self._clock.synchronised() else 0
        outcome = Outcome(
            order.id or None, verdict.word, self._clock.instant(), verdict.payload, verdict.detail or None,
            order.record, order.group or msgspec.UNSET, verdict.devices, verdict.counts,
        )  # fmt: skip
        body = msgspec.json.encode(outcome)
        record = encode(
            OUTCOME,
            flags | (2 if packet_id else 0),
            packet_id,
            wall_ns,
            self._clock.mono_ns(),
            encode_context(*key, self._settings.outcome_topic),
            effect.headers if effect is not None else b"",
            body,
        )
        position = self.lane.writer.next_seq + 1
        counted: Changes = {}

        def durable() -> None:
            changes: Changes = counted | {("outcomes", row_of_key(key)): _encode(Told(verdict.word, wall_ns))}
            changes[("meta", POSITION_KEY)] = f"{self._log_id.hex()}:{position}".encode()
            self._cold.put_all(changes | self._forget())
            done()
            for each in self._on_their_way.pop(key, ()) if verdict.word in FINAL else ():
                each()
            for tell in self.watchers:
                tell(key, verdict.word, body)

        self.lane.append(record, durable, effect)
        if verdict.word in FINAL:
            self._on_their_way[key] = []
        if order.group and verdict.word in FINAL:
            counted.update(self._tallies.count(order.group, order.id, verdict.word, position))
        self._remember(key, verdict.word)
        if verdict.devices is msgspec.UNSET:
            self.counts[verdict.word] += 1
        self._kick()
        if verdict.word in FINAL:
            _log.info("command device=%s id=%s %s: %s", key[0], order.id, verdict.word, verdict.detail)

    def _remember(self, key: Key, word: str) -> None:
        if word in FINAL:
            self._open.pop(key, None)
            self._over[key] = None
        elif key not in self._over:
            self._open[key] = word

    def _forget(self) -> Changes:
        """The oldest, beyond what is to be remembered."""
        gone = [
            key for key, _ in zip(self._over, range(len(self._over) - self._settings.commands_remembered), strict=False)
        ]
        for key in gone:
            del self._over[key]
        return {("outcomes", row_of_key(key)): None for key in gone}
