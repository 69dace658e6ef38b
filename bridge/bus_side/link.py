"""Link: how the way to the sink is, told once per change to the log, and to the device side as it goes."""

from __future__ import annotations

import logging
from collections.abc import Callable

from bridge.bus_side.bell import Bell
from bridge.log.doorbell import Health

_log = logging.getLogger(__name__)


class Link:
    """One for the process. `now_s` reads the wall clock, in seconds since the epoch."""

    def __init__(self, name: str, bell: Bell, now_s: Callable[[], float]) -> None:
        self.forwarded_records = 0
        self._name = name
        self._bell = bell
        self._now_s = now_s
        self._state = "starting"
        self._since = now_s()
        self._detail = ""
        self._told: Health | None = None

    def connected(self) -> None:
        self._enter("connected", "", logging.INFO, f"{self._name} is connected")

    def away(self, detail: str) -> None:
        """It is tried again by itself."""
        words = f"{self._name} is away, the queue grows and it is tried again: {detail}"
        self._enter("away", detail, logging.WARNING, words)

    def fenced(self, detail: str) -> None:
        """It is not tried again."""
        self._enter("fenced", detail, logging.ERROR, detail)

    def tell(self) -> None:
        """Tells the device side, if there is anything new."""
        health = Health(self._state, self._since, self._detail, self.forwarded_records)
        if health != self._told:
            self._told = health
            self._bell.tell_health(health)

    def _enter(self, state: str, detail: str, level: int, words: str) -> None:
        if state != self._state:
            self._state, self._since = state, self._now_s()
            _log.log(level, "%s", words)
        self._detail = detail
        self.tell()
