"""QueueRoom: what the queues of all sessions together may take.

When it is used up, whoever holds the most gives way, to within a factor of two: so one client that collects much while
it is away costs itself, and those that wait for little lose nothing. What it gives is what its queue's policy says, the
newest or the oldest. Nothing is searched: sessions stand in ranks by the powers of two of what they hold.
"""

from __future__ import annotations

import math
from typing import Protocol

_RANKS = 64


class Holder(Protocol):
    """A session with a queue."""

    @property
    def keeps_oldest(self) -> bool:
        """Its policy: what it does not get is the newest."""

    def give_way(self) -> None:
        """Drops one message of its queue, as its policy says."""


class QueueRoom:
    """Who holds how much. Costs the same however many there are."""

    def __init__(self, max_bytes: float = math.inf) -> None:
        self.bytes = 0
        """That all of them hold."""
        self._max_bytes = max_bytes
        self._ranks: list[dict[Holder, None]] = [{} for _ in range(_RANKS)]

    def resized(self, holder: Holder, before: int, after: int) -> None:
        """`holder` held `before` bytes and now holds `after`."""
        self.bytes += after - before
        old, new = before.bit_length(), after.bit_length()
        if old != new:
            self._ranks[old].pop(holder, None)
            if after:
                self._ranks[new][holder] = None

    def admits(self, holder: Holder, size: int) -> bool:
        """Makes room for `size` bytes more of `holder`'s; False: it holds the most itself, or there is not so much."""
        if size > self._max_bytes:
            return False
        while self.bytes + size > self._max_bytes:
            most = next(rank for rank in reversed(self._ranks) if rank)
            giver = holder if holder in most else next(iter(most))
            if giver is holder and holder.keeps_oldest:
                return False
            giver.give_way()
        return True

    def trim(self) -> None:
        """The bound holds from now on, whatever was restored."""
        while self.bytes > self._max_bytes:
            next(iter(next(rank for rank in reversed(self._ranks) if rank))).give_way()
