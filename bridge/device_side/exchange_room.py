"""ExchangeRoom: what all open QoS 2 exchanges take in the checkpoint that opens each segment, and whether more fit."""

from __future__ import annotations

from typing import Final

from bridge.device_side.obstacle import Obstacle
from bridge.units import format_size

ID_BYTES: Final = 3
"""Of a packet identifier in a checkpoint, at the most."""
SESSION_BYTES: Final = 8
"""Of a session beside its name."""


class ExchangeRoom(Obstacle):
    """One for all lanes: the exchanges of each are no more than those of all, so each lane's checkpoint fits."""

    def __init__(self, limit: int, refuse_after_s: float) -> None:
        """`limit`: bytes; see `Limits.exchanges_bytes`."""
        super().__init__(refuse_after_s)
        self.used = 0
        """Bytes."""
        self._limit = limit

    def __str__(self) -> str:
        return "new QoS 2 exchanges"

    @property
    def blocked(self) -> bool:
        return self.used >= self._limit

    @property
    def why(self) -> str:
        size = format_size(self._limit)
        return f"all devices together wait with so many for their PUBREL that a segment's checkpoint has {size} of them"

    def opened(self, session: str, *, first: bool) -> None:
        """An exchange began; `first`: the session's only one."""
        self.used += ID_BYTES + (self._of(session) if first else 0)

    def ended(self, session: str, count: int, *, last: bool) -> None:
        """So many of the session's did; `last`: it has none left."""
        self.used -= count * ID_BYTES + (self._of(session) if last else 0)

    @staticmethod
    def _of(session: str) -> int:
        return SESSION_BYTES + len(session.encode())
