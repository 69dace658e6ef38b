"""Clocks that a test sets, and the long clock over them."""

from __future__ import annotations

from bridge.device_side.clock import Clock
from bridge.device_side.cold import ColdStore
from bridge.device_side.long_clock import LongClock

RIGHT_S = 1.8e9


class HandClock(Clock):
    """A machine's clocks, `mono` seconds after it was started as its `boot`th time."""

    def __init__(self, mono: float = 5000.0, *, wall: float = RIGHT_S, boot: int = 1, right: bool = True) -> None:
        super().__init__()
        self.boot_id = bytes([boot]) * 16
        self.mono, self.wall, self.right = mono, wall, right
        self.mono_ns = lambda: int(self.mono * 1e9)
        self.wall_ns = lambda: int(self.wall * 1e9)

    def look(self) -> bool:
        return self.right

    def synchronised(self) -> bool:
        return self.right

    def pass_by(self, seconds: float) -> None:
        """Both clocks run on."""
        self.mono += seconds
        self.wall += seconds


def long_clock(cold: ColdStore, clock: Clock | None = None) -> LongClock:
    """One that stands still, if nothing else is said."""
    return LongClock(clock or HandClock(), cold)
