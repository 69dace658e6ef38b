"""The timekeeper: tells the logs when the wall clock comes right, or jumps.

Records that were taken in before that get their true time when they are forwarded: see `bridge.log.boot_clocks`.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable

from bridge.device_side.clock import Clock, rfc3339
from bridge.log.boot_clocks import BootClock, BootClocks
from bridge.log.errors import LogError
from bridge.log.writer import LogWriter

_log = logging.getLogger(__name__)
STEP_NS = 100_000_000
"""Less is no step: both clocks are slewed alike, so what is ahead of the other only changes by steps, and by how
long two readings take."""


class Timekeeper:
    """One for all lanes of a gateway; `look` every few seconds."""

    def __init__(self, clock: Clock, lanes: Iterable[LogWriter]) -> None:
        """What one lane knows of earlier boots, all know from now on."""
        self.known = BootClocks()
        """Of all boots that any lane knows of."""
        self._clock = clock
        self._lanes = tuple(lanes)
        for lane in self._lanes:
            self.known.merge(lane.clocks)
        for lane in self._lanes:
            lane.clocks.merge(self.known)
        self._last = clock.reading()[0] if clock.look() else None
        """The wall clock when it was last seen to be right."""

    def look(self) -> bool:
        """Asks the kernel; True: there is something new in `known`."""
        if not self._clock.look():
            self._doubt()
            return False
        reading, mono_ns = self._clock.reading()
        last, self._last = self._last, reading
        if last is not None and abs(reading.offset_ns - last.offset_ns) > STEP_NS:
            seconds = (reading.offset_ns - last.offset_ns) / 1e9
            _log.warning("the clock was set by %+.1f s although it counted as synchronised", seconds)
            self._doubt()
        told = [self._tell(lane, reading, mono_ns) for lane in self._lanes]
        return any(told)

    def _doubt(self) -> None:
        """Records are made, or were, whose time may have to be corrected."""
        for lane in self._lanes:
            lane.clocks.doubt(self._clock.boot_id)

    def _tell(self, lane: LogWriter, reading: BootClock, mono_ns: int) -> bool:
        """Writes it down where the lane has records that wait for it. A full lane is told at the next look."""
        boot = self._clock.boot_id
        if boot not in lane.clocks.known:
            return False
        known = lane.clocks.known[boot]
        if known is not None and abs(known.offset_ns - reading.offset_ns) <= STEP_NS:
            return False
        try:
            lane.tell_clock(boot, reading, mono_ns)
        except LogError:
            return False
        if self.known.known.get(boot) != reading:
            self.known.learn(boot, reading)
            now = rfc3339(reading.offset_ns + mono_ns)
            _log.info("the clock is set, it is %s: messages taken in before that get their true time", now)
        return True
