"""How fast something goes on, per minute, over the last 1, 5 and 15 minutes: the averages of `uptime` and mosquitto."""

from __future__ import annotations

import math

MINUTES = (1, 5, 15)


class LoadAverage:
    """Of one counter. What is older weighs less, exponentially."""

    def __init__(self) -> None:
        self.per_minute = dict.fromkeys(MINUTES, 0.0)
        """By the minutes that count."""
        self._count = 0

    def update(self, count: int, elapsed_s: float) -> None:
        """`count`: of all time; `elapsed_s`: since the last call. The first may have none."""
        fresh, self._count = count - self._count, count
        if elapsed_s <= 0:
            return
        rate = fresh * 60 / elapsed_s
        for minutes, before in self.per_minute.items():
            weight = math.exp(-elapsed_s / (60 * minutes))
            self.per_minute[minutes] = rate + weight * (before - rate)
