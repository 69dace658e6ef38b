"""The clocks of this machine: wall, monotonic, which boot it is, and whether the wall clock can be believed."""

from __future__ import annotations

import ctypes
import datetime
import time
from pathlib import Path

_STA_UNSYNC = 0x0040
"""adjtimex(2): the clock is not synchronised."""
_TIME_ERROR = 5
"""adjtimex(2), return value: the clock is not synchronised."""
_TIMEX_BYTES = 208
_STATUS_OFFSET = 40
_RECHECK_NS = 30 * 1_000_000_000


class Clock:
    """Readings in nanoseconds."""

    def __init__(self) -> None:
        self.boot_id = bytes.fromhex(Path("/proc/sys/kernel/random/boot_id").read_text().strip().replace("-", ""))
        self.wall_ns = time.time_ns
        """Since the Unix epoch."""
        self.mono_ns = time.monotonic_ns
        """CLOCK_MONOTONIC, to be read together with `boot_id`."""
        self._adjtimex = ctypes.CDLL(None, use_errno=True).adjtimex
        self._checked_ns = 0
        self._synchronised = False

    def synchronised(self) -> bool:
        """As the kernel says (adjtimex(2)), asked at most every 30 seconds."""
        now = self.mono_ns()
        if now - self._checked_ns > _RECHECK_NS or not self._checked_ns:
            self._checked_ns = now
            self._synchronised = self._ask_kernel()
        return self._synchronised

    def _ask_kernel(self) -> bool:
        buffer = ctypes.create_string_buffer(_TIMEX_BYTES)
        state = self._adjtimex(buffer)
        status = int.from_bytes(buffer.raw[_STATUS_OFFSET : _STATUS_OFFSET + 4], "little")
        return 0 <= state < _TIME_ERROR and not status & _STA_UNSYNC

    def instant(self) -> str:
        """Now, as the documents write it."""
        return rfc3339(self.wall_ns())


def rfc3339(wall_ns: int) -> str:
    """UTC with milliseconds, RFC 3339."""
    moment = datetime.datetime.fromtimestamp(wall_ns // 1_000_000 / 1000, datetime.UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
