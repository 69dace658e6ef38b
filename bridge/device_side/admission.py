"""Admission: how many connections and handshakes there may be, for all listeners together."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable

from bridge.config import Limits
from bridge.device_side.antechamber import Antechamber
from bridge.device_side.rates import Rates
from bridge.device_side.seldom import Seldom

_log = logging.getLogger(__name__)
FULL = "connections"
STALLED = "stalled"
_DISPLACED_AT_ONCE = 8
_DISPLACE_PAUSE_S = 0.005
"""Between so many and the next: others have their turn."""


class Displaced(Exception):
    """A handshake stood still while others waited for its place."""


class Admission:
    """Places, and who waits for one."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, limits: Limits, connections: Callable[[], int], rates: Rates
    ) -> None:
        """Args:
        loop: the process's event loop.
        limits: how many of each.
        connections: how many there are behind the handshake.
        rates: how often somebody may come.
        """
        self.rates = rates
        self.handshakes = 0
        """In progress."""
        self._by_address: Counter[str] = Counter()
        """The same, of each address."""
        self.antechamber = Antechamber(
            loop, limits, lambda: self.handshakes < limits.handshakes, self._by_address.__getitem__, self._displace
        )
        self.refused: Counter[str] = Counter()
        """Connections turned away without a look at who they are, by reason, since the start."""
        self.seldom = Seldom(loop.time)
        self._loop = loop
        self._limits = limits
        self._connections = connections
        self._still: dict[asyncio.Future[None], tuple[float, str]] = {}
        """Handshakes that wait for their peer: since when (loop time, seconds), and from which address. The oldest
        first."""

    def refusal(self, host: str) -> tuple[str, str] | None:
        """Why no connection is taken from there (the reason as it is counted, and in words); None: it is."""
        return self.full() or self.rates.connect(host)

    def full(self) -> tuple[str, str] | None:
        """There are as many connections as there may be: said as in `refusal`."""
        if self._connections() + self.handshakes >= self._limits.connections:
            return FULL, f"limits.connections of {self._limits.connections} is reached"
        return None

    def turned_away(self, reason: str, peer: str, why: str) -> None:
        """Counts it, and says so once a minute for each reason."""
        self.refused[reason] += 1
        if (times := self.seldom.due(reason)) > 0:
            _log.warning("refused peer=%s: %s (%d such since this was last said)", peer, why, times)

    def stands_still(self, until_ready: asyncio.Future[None], where: str) -> None:
        """A handshake waits for its peer, who is at this address; may be ended by Displaced."""
        self._still[until_ready] = self._loop.time(), where

    def moves_on(self, until_ready: asyncio.Future[None]) -> None:
        """It does not any more."""
        self._still.pop(until_ready, None)

    def handshake_begins(self, where: str) -> None:
        """A caller from this address (`neighbourhood`) has a place."""
        self.handshakes += 1
        self._by_address[where] += 1

    def handshake_over(self, where: str) -> None:
        """It is free."""
        self.handshakes -= 1
        self._by_address[where] -= 1
        if not self._by_address[where]:
            del self._by_address[where]
        self.antechamber.fill_soon()

    def _displace_more(self) -> None:
        if self.antechamber.waiting:
            self._displace(self.antechamber.waiting)

    def _displace(self, wanted: int) -> None:
        """A peer has `limits.handshake_stall` for an answer while others wait: it has cost us a signature already.

        Those go first whose address has the most places: a slow peer does not pay for a flood from elsewhere. A few at
        a time: each is a line in the log, and lets somebody begin.
        """
        since = self._loop.time() - self._limits.handshake_stall
        slow = [
            (-self._by_address[where], each)
            for each, (began, where) in self._still.items()
            if began <= since and not each.done()
        ]
        at_once = min(wanted, _DISPLACED_AT_ONCE)
        if min(wanted, len(slow)) > at_once:
            self._loop.call_later(_DISPLACE_PAUSE_S, self._displace_more)
        for _, until_ready in sorted(slow, key=lambda one: one[0])[:at_once]:
            self.refused[STALLED] += 1
            until_ready.set_exception(Displaced(f"it stood still for {self._limits.handshake_stall:g} s"))
