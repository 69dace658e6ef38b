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
        self.antechamber = Antechamber(loop, limits, lambda: self.handshakes < limits.handshakes, self._displace)
        self.refused: Counter[str] = Counter()
        """Connections turned away without a look at who they are, by reason, since the start."""
        self.seldom = Seldom(loop.time)
        self._loop = loop
        self._limits = limits
        self._connections = connections
        self._still: dict[asyncio.Future[None], float] = {}
        """Handshakes that wait for their peer, and since when (loop time, seconds); the oldest first."""

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

    def stands_still(self, until_ready: asyncio.Future[None]) -> None:
        """A handshake waits for its peer; may be ended by Displaced."""
        self._still[until_ready] = self._loop.time()

    def moves_on(self, until_ready: asyncio.Future[None]) -> None:
        """It does not any more."""
        self._still.pop(until_ready, None)

    def handshake_over(self) -> None:
        """A place is free."""
        self.handshakes -= 1
        self.antechamber.fill_places()

    def _displace(self, wanted: int) -> None:
        """A peer has `limits.handshake_stall` for an answer while others wait: it has cost us a signature already."""
        since = self._loop.time() - self._limits.handshake_stall
        for until_ready, began in list(self._still.items())[:wanted]:
            if began <= since and not until_ready.done():
                self.refused[STALLED] += 1
                until_ready.set_exception(Displaced(f"it stood still for {self._limits.handshake_stall:g} s"))
