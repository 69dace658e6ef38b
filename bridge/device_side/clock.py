"""The clocks of this machine: wall, monotonic, which boot it is, and whether the wall clock can be believed."""

from __future__ import annotations

import ctypes
import datetime
import time
from pathlib import Path

from bridge.log.boot_clocks import BootClock

_STA_UNSYNC = 0x0040
"""adjtimex(2): the clock is not synchronised."""
_TIME_ERROR = 5
"""adjtimex(2), return value: the clock is not synchronised."""
_TIMEX_BYTES = 208
"""Of the kernel's struct timex, with its padding."""
_NS_PER_US = 1000
_TRIES = 5
"""Of a reading of both clocks, for one that nothing came between."""


class _Timex(ctypes.Structure):
    """The beginning of struct timex (adjtimex(2))."""

    _fields_ = (
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),
        ("esterror", ctypes.c_long),
        ("status", ctypes.c_int),
        ("rest", ctypes.c_char * _TIMEX_BYTES),
    )


class Clock:
    """Readings in nanoseconds."""

    def __init__(self) -> None:
        self.boot_id = bytes.fromhex(Path("/proc/sys/kernel/random/boot_id").read_text().strip().replace("-", ""))
        self.wall_ns = time.time_ns
        """Since the Unix epoch."""
        self.mono_ns = time.monotonic_ns
        """CLOCK_MONOTONIC, to be read together with `boot_id`."""
        self._adjtimex = ctypes.CDLL(None, use_errno=True).adjtimex
        self._synchronised: bool | None = None
        """As the kernel said last; None: not asked yet."""
        self._max_error_ns = 0

    def synchronised(self) -> bool:
        """As the kernel said (adjtimex(2)) when it was last asked: the `Timekeeper` asks every second."""
        return self.look() if self._synchronised is None else self._synchronised

    def look(self) -> bool:
        """Asks the kernel now."""
        told = _Timex()
        state = self._adjtimex(ctypes.byref(told))
        self._synchronised = 0 <= state < _TIME_ERROR and not told.status & _STA_UNSYNC
        self._max_error_ns = max(0, told.maxerror) * _NS_PER_US
        return self._synchronised

    def reading(self) -> tuple[BootClock, int]:
        """What the wall clock is ahead of the monotonic one, and when the monotonic one was read."""
        readings = []
        for _ in range(_TRIES):
            before, wall, after = self.mono_ns(), self.wall_ns(), self.mono_ns()
            readings.append((after - before, wall, (before + after) // 2))
        apart, wall, mono = min(readings)
        return BootClock(wall - mono, self._max_error_ns + apart), mono

    def instant(self) -> str:
        """Now, as the documents write it."""
        return rfc3339(self.wall_ns())


def rfc3339(wall_ns: int) -> str:
    """UTC with milliseconds, RFC 3339."""
    moment = datetime.datetime.fromtimestamp(wall_ns // 1_000_000 / 1000, datetime.UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def wall_ns_of(instant: str) -> int:
    """The Unix nanoseconds of an RFC 3339 instant. Raises ValueError: it is none."""
    moment = datetime.datetime.fromisoformat(instant)
    if moment.tzinfo is None:
        raise ValueError(f"{instant!r} has no offset from UTC")
    return round(moment.timestamp() * 1000) * 1_000_000
