"""CatchUp: whether a backlog is being worked off, and when that will be done. Pure: readings in, seconds out."""

from __future__ import annotations

import math
from typing import Final

_BEGINS_S: Final = 3.0
"""A backlog that takes longer than this to send is one worth a word; what is on its way anyway takes less."""
_ENDS_S: Final = 1.0
_SMOOTHING_S: Final = 5.0


class CatchUp:
    """Rates are of bytes: records of several lanes differ too much in size."""

    def __init__(self) -> None:
        self.active = False
        """There is a backlog to be caught up with."""
        self.seconds: float | None = None
        """Until it is gone at the present rates; None: it is not active, or does not shrink."""
        self.active_s = 0.0
        """For how long it has been."""
        self._last: tuple[float, int, int] | None = None
        self._elapsed = 0.0
        self._out = 0.0
        self._in = 0.0

    def observe(self, now_s: float, waiting: int, forwarded: int) -> None:
        """A reading.

        Args:
            now_s: of a clock that only rises.
            waiting: bytes not forwarded yet.
            forwarded: bytes forwarded so far.
        """
        last, self._last = self._last, (now_s, waiting, forwarded)
        if last is None or now_s <= last[0]:
            return
        self._smooth(now_s - last[0], max(0, forwarded - last[2]), waiting - last[1])
        limit = _ENDS_S if self.active else _BEGINS_S
        self.active = self._out > 0 and waiting > limit * self._out
        self.active_s = self.active_s + now_s - last[0] if self.active else 0.0
        shrinks = self._out - self._in
        self.seconds = waiting / shrinks if self.active and shrinks > 0 else None

    def pause(self) -> None:
        """The sink is away: what was known of the rates holds no more."""
        self.active, self.seconds, self._last = False, None, None
        self._elapsed = self._out = self._in = self.active_s = 0.0

    def _smooth(self, seconds: float, went: int, grown: int) -> None:
        self._elapsed += seconds
        # The plain mean at first: one burst at the beginning is not taken for the rate.
        part = max(1 - math.exp(-seconds / _SMOOTHING_S), seconds / self._elapsed)
        self._out += part * (went / seconds - self._out)
        self._in += part * (max(0, grown + went) / seconds - self._in)
