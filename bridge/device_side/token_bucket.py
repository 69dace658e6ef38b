"""Token buckets, and a bounded table of what is known of each of many: addresses, devices."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class TokenBucket:
    """So many tokens a second, no more saved up than `burst`. It may be in debt; that is paid first."""

    __slots__ = ("_at", "_tokens", "burst", "rate")

    def __init__(self, rate: float, burst: float, now: float) -> None:
        """Full. `now`: a monotonic clock, seconds."""
        self.rate = rate
        self.burst = burst
        self._tokens = burst
        self._at = now

    def level(self, now: float) -> float:
        """Tokens that are there; below zero: what is owed. A `now` that lies behind an earlier one changes nothing."""
        if now > self._at:
            self._tokens = min(self.burst, self._tokens + (now - self._at) * self.rate)
            self._at = now
        return self._tokens

    def spend(self, count: float) -> None:
        """Takes them, whether they are there or not; a negative number gives them back."""
        self._tokens -= count

    def take_one(self, now: float) -> bool:
        """Takes one if it is there."""
        if self.level(now) < 1:
            return False
        self._tokens -= 1
        return True


class Bounded(Generic[T]):
    """What is known of each; beyond `most` the least recently asked for is forgotten, which is in its favour."""

    def __init__(self, most: int, make: Callable[[], T]) -> None:
        self._most = most
        self._make = make
        self._known: OrderedDict[str, T] = OrderedDict()

    def __len__(self) -> int:
        return len(self._known)

    def of(self, key: str) -> T:
        """Made where it is not known."""
        found = self._known.get(key)
        if found is None:
            found = self._known[key] = self._make()
            if len(self._known) > self._most:
                self._known.popitem(last=False)
        else:
            self._known.move_to_end(key)
        return found

    def known(self, key: str) -> T | None:
        """What is known of it, if anything is."""
        return self._known.get(key)
