"""Total: the bound of all lanes together, so that one long outage does not take the whole disk lane by lane."""

from __future__ import annotations

import sys
import threading


class Total:
    """Shared by the threads that make segments, one for each lane."""

    def __init__(self, max_bytes: int | None) -> None:
        """`max_bytes` of all files of all lanes; None: no such bound."""
        self.max_bytes = max_bytes
        self._lock = threading.Lock()
        self._used: dict[str, int] = {}
        self._reserved: dict[str, int] = {}

    def join(self, lane: str, reserve: int) -> None:
        """`reserve` bytes are the lane's own, whether it uses them or not: the others cannot starve it."""
        with self._lock:
            self._reserved[lane] = reserve
            self._used.setdefault(lane, 0)

    def uses(self, lane: str, size: int) -> None:
        """The lane has files of so many bytes."""
        with self._lock:
            self._used[lane] = size

    def left(self, lane: str, used: int) -> int:
        """How much the lane, which uses `used` bytes, could use besides as things are."""
        with self._lock:
            if self.max_bytes is None:
                return sys.maxsize
            return max(0, self._reserved[lane] - used, self.max_bytes - self._others(lane) - used)

    def claim(self, lane: str, used: int, more: int) -> bool:
        """Whether the lane, which uses `used` bytes, may use `more` besides; if so it counts as used."""
        with self._lock:
            own = used + more
            fits = self.max_bytes is None or own <= self._reserved[lane] or self._others(lane) + own <= self.max_bytes
            self._used[lane] = own if fits else used
            return fits

    def _others(self, lane: str) -> int:
        return sum(max(used, self._reserved[name]) for name, used in self._used.items() if name != lane)
