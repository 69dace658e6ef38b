"""Backoff: how long to wait before the next try. Doubles up to a bound, with jitter, so that gateways that lost the
same Kafka do not come back in step.
"""

from __future__ import annotations

from collections.abc import Callable


class Backoff:
    """Durations in seconds; `draw` gives numbers from 0 to 1."""

    def __init__(self, first_s: float, longest_s: float, draw: Callable[[], float]) -> None:
        self._first = first_s
        self._longest = longest_s
        self._draw = draw
        self._next = first_s

    def next_s(self) -> float:
        """The next wait: between half and all of what it has grown to."""
        wait = min(self._next, self._longest)
        self._next = min(wait * 2, self._longest)
        return wait * (0.5 + self._draw() / 2)

    def reset(self) -> None:
        """It went well: begin small again."""
        self._next = self._first
