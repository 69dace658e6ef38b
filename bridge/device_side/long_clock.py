"""The long clock: counts on over restarts, for what is to end after one; nobody can set it, and it never steps back.

Sessions, messages and wills that are kept end by it. The wall clock would not do: a gateway without a battery starts
in 1970, and would keep what has long expired, or, once set, throw away what has not. Within a boot CLOCK_MONOTONIC
counts truly, whatever the daemon does. Between two boots counts what is known: all of it, where the wall clock of both
is known to be right, be it later on; else nothing, so that what is kept is given the time that the gateway runs.

What was read at a start is judged once. Where the clock is set only after that, the next start judges it better.
"""

from __future__ import annotations

import msgspec

from bridge.device_side.clock import Clock
from bridge.device_side.cold import ColdStore

_KEY = "boots"
_BOOTS_MAX = 256
"""Remembered; what was marked in an older one ends as if it had been marked in the oldest of them."""
_SAVE_S = 600.0
"""What a boot may be counted too short by, if the power is cut and the wall clock was never right."""
_STEP_S = 0.1
"""Less is no news of the wall clock."""
_NS = 1e9


class Moment(msgspec.Struct, frozen=True, array_like=True):
    """A reading of CLOCK_MONOTONIC in some boot, past or to come."""

    boot: bytes
    """16 bytes, the kernel's."""
    mono_s: float


class _Boot(msgspec.Struct, array_like=True):
    id: bytes
    ahead_s: float
    """What the long clock is ahead of the boot's CLOCK_MONOTONIC."""
    seen_s: float
    """The gateway ran then, by CLOCK_MONOTONIC."""
    wall_ahead_s: float | None = None
    """What the right wall clock was ahead; None: it never was known to be right."""


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[_Boot]).decode


class LongClock:
    """Of one gateway; for one thread, the event loop's."""

    def __init__(self, clock: Clock, cold: ColdStore) -> None:
        """Takes up what the store knows of earlier boots and writes this one down; only at start (`ColdStore.write`).

        Raises:
            ColdStoreFailure: it cannot be read or written.
        """
        self._clock = clock
        self._cold = cold
        boots = _decode(cold.get("meta", _KEY) or _encode([]))
        self._saved_s = mono_s = self._mono_s()
        if not boots or boots[-1].id != clock.boot_id:
            ahead_s = boots[-1].ahead_s + boots[-1].seen_s - mono_s if boots else 0.0
            boots = [each for each in boots if each.id != clock.boot_id]
            boots.append(_Boot(clock.boot_id, ahead_s, mono_s))
        self._boots = boots[-_BOOTS_MAX:]
        self._boots[-1].seen_s = mono_s
        self._by_id = {each.id: each for each in self._boots}
        self._learn()
        cold.write("meta", _KEY, _encode(self._boots))

    def mark(self, in_s: float = 0.0) -> Moment:
        """The moment `in_s` seconds from now, to be kept."""
        return Moment(self._clock.boot_id, self._mono_s() + in_s)

    def until(self, moment: Moment) -> float:
        """How many seconds from now it is; below zero: it is past."""
        boot, now = self._by_id.get(moment.boot, self._boots[0]), self._boots[-1]
        return boot.ahead_s + moment.mono_s - now.ahead_s - self._mono_s()

    def look(self) -> None:
        """Asks whether the wall clock is right, and has written down what the next start needs; every few seconds."""
        if self._learn() or self._mono_s() - self._saved_s >= _SAVE_S:
            self.save()

    def save(self) -> None:
        """Has written down how things are now."""
        self._boots[-1].seen_s = self._saved_s = self._mono_s()
        self._cold.put("meta", _KEY, _encode(self._boots))

    def _learn(self) -> bool:
        """True: it is news what the wall clock says."""
        if not self._clock.synchronised():
            return False
        boot, wall_ahead_s = self._boots[-1], self._clock.reading()[0].offset_ns / _NS
        if boot.wall_ahead_s is not None and abs(boot.wall_ahead_s - wall_ahead_s) <= _STEP_S:
            return False
        boot.wall_ahead_s = wall_ahead_s
        self._catch_up(wall_ahead_s)
        return True

    def _catch_up(self, wall_ahead_s: float) -> None:
        """The wall clock is known: counts what is missing since the last boot of which it is too.

        Between boots of which it is not, nobody knows where that belongs: before them, so that nothing ends too early.
        """
        now = self._boots[-1]
        behind: list[_Boot] = []
        for boot in reversed(self._boots):
            if boot is not now and boot.wall_ahead_s is not None:
                missing_s = wall_ahead_s - boot.wall_ahead_s - (now.ahead_s - boot.ahead_s)
                for each in behind:
                    each.ahead_s += max(0.0, missing_s)
                return
            behind.append(boot)

    def _mono_s(self) -> float:
        return self._clock.mono_ns() / _NS
