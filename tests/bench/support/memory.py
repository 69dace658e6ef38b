"""Resident memory of processes over their lives, and whether it grows."""

from __future__ import annotations

import os
import statistics
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec

_PAGE: Final = os.sysconf("SC_PAGE_SIZE")
_MIB: Final = 1 << 20
_LIFE_S: Final = 300.0
"""A shorter life says nothing about growth: caches are being filled."""
_ALLOWED: Final = 1.15


class Life(msgspec.Struct):
    """One process."""

    side: str
    pid: int
    samples: list[tuple[float, int]] = []
    """Time and bytes."""

    @property
    def seconds(self) -> float:
        return self.samples[-1][0] - self.samples[0][0]

    def quarter(self, number: int) -> float:
        """The median of one quarter of its life (0 to 3), MiB."""
        size = max(1, len(self.samples) // 4)
        part = self.samples[number * size : (number + 1) * size] or self.samples[-1:]
        return statistics.median(resident for _, resident in part) / _MIB

    @property
    def grows(self) -> bool:
        """More than a settled process should between its second quarter and its last."""
        return self.seconds >= _LIFE_S and self.quarter(3) > _ALLOWED * self.quarter(1)


class Memory:
    """Of all lives of both sides."""

    def __init__(self) -> None:
        self.lives: list[Life] = []

    def sample(self, now_s: float, pids: Mapping[str, int | None]) -> None:
        """Takes one reading of each side that runs."""
        for side, pid in pids.items():
            resident = _resident(pid) if pid is not None else None
            if pid is None or resident is None:
                continue
            life = next((life for life in self.lives if life.pid == pid), None)
            if life is None:
                life = Life(side, pid)
                self.lives.append(life)
            life.samples.append((now_s, resident))

    def longest(self, side: str) -> Life | None:
        """The life that tells most."""
        return max((life for life in self.lives if life.side == side), key=lambda life: life.seconds, default=None)


def _resident(pid: int) -> int | None:
    """Bytes (proc(5), statm); None: it is gone."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE
    except (OSError, IndexError):
        return None
