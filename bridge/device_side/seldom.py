"""Seldom: keeps what would be said thousands of times to one line a minute each, that tells how often it happened."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable

INTERVAL_S = 60.0
_KEYS_MAX = 1024


class Seldom:
    """For any number of things; of those remembered, the least recently said go first."""

    def __init__(self, now: Callable[[], float]) -> None:
        """`now`: a monotonic clock, seconds."""
        self._now = now
        self._said: OrderedDict[Hashable, tuple[float, int]] = OrderedDict()
        """When it was said last, and how often it happened since."""

    def due(self, what: Hashable) -> int:
        """It happened once more: how often since it was said last, if it is to be said now; else 0."""
        now = self._now()
        said_at, count = self._said.get(what, (float("-inf"), 0))
        if now - said_at < INTERVAL_S:
            self._said[what] = said_at, count + 1
            return 0
        self._said[what] = now, 0
        self._said.move_to_end(what)
        if len(self._said) > _KEYS_MAX:
            self._said.popitem(last=False)
        return count + 1
