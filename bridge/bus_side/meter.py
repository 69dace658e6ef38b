"""Meter: a bound on what goes over the link, as a token bucket over what was really sent. Pure: clock readings in.

A batch cannot be cut and its size is known only when it is compressed, so it is paid afterwards: what was sent beyond
the bound is waited for before the next. No transaction is open while it waits, and each carries about one second's
worth, so an alarm never waits behind more than that.
"""

from __future__ import annotations

from typing import Final

_BURST_S: Final = 1.0
_SMOOTHING: Final = 0.25


class Meter:
    """Of one link, `rate` bytes a second."""

    def __init__(self, rate: int, now_s: float) -> None:
        """`now_s`: of a clock that only rises, as everywhere here."""
        self._rate = rate
        self._level = rate * _BURST_S
        self._at = now_s
        self._squeeze = 1.0
        """Bytes on disk for one on the wire."""

    def wait_s(self, now_s: float) -> float:
        """How long nothing may be sent yet."""
        self._fill(now_s)
        return max(0.0, -self._level / self._rate)

    def bytes_max(self) -> int:
        """How many bytes on disk one transaction may take, to be about a second's worth on the wire."""
        return max(1, int(self._rate * _BURST_S * self._squeeze))

    def spend(self, now_s: float, wire_bytes: int, disk_bytes: int) -> None:
        """So much was sent, and so much was it on disk."""
        self._fill(now_s)
        self._level -= wire_bytes
        if wire_bytes and disk_bytes:
            self._squeeze += _SMOOTHING * (disk_bytes / wire_bytes - self._squeeze)

    def _fill(self, now_s: float) -> None:
        self._level = min(self._rate * _BURST_S, self._level + (now_s - self._at) * self._rate)
        self._at = now_s
