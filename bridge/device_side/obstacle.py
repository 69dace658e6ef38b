"""Obstacle: what a message waits for. A lane that takes nothing now is one, and so is a device's own share of it."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod

_log = logging.getLogger(__name__)
_WORTH_A_LINE_S = 1.0
"""A segment that is being written out, or a disk that hesitates, is over sooner."""


class Obstacle(ABC):
    """It is in the way or it is not, and if so for how long. Times are those of `time.monotonic`."""

    __slots__ = ("_refuse_after_s", "_since", "_told")

    def __init__(self, refuse_after_s: float) -> None:
        """`refuse_after_s`: how long somebody who can be told of it waits before he is."""
        self._refuse_after_s = refuse_after_s
        self._since: float | None = None
        self._told = False

    @property
    @abstractmethod
    def blocked(self) -> bool:
        """Nothing gets past it now."""

    @property
    @abstractmethod
    def why(self) -> str:
        """What is the matter, for the log."""

    def waited(self, now: float) -> float:
        """How long it has been in the way, seconds; somebody waits for it."""
        if self._since is None:
            self._since = now
        return now - self._since

    def tells(self, now: float) -> bool:
        """Whether it has been in the way for so long that who can be told of it is; somebody waits for it."""
        return self.waited(now) >= self._refuse_after_s

    def look(self, now: float) -> None:
        """Says in the log, once, that it has been in the way for long, and that it is not any more."""
        if not self.blocked:
            if self._told:
                _log.info("goes on: %s: taken in again after %.0f s", self, self.waited(now))
            self._since, self._told = None, False
        elif self.waited(now) >= _WORTH_A_LINE_S and not self._told:
            self._told = True
            _log.warning("waiting: %s: %s; what is published there is not acknowledged", self, self.why)
