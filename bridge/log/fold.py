"""Fold: state that lives in the log and nowhere else, rebuilt from the last segment alone."""

from __future__ import annotations

from typing import Protocol

from bridge.log.record import Record


class Fold(Protocol):
    """What a segment's checkpoint holds (on the uplink: the QoS 2 hand-shakes). Called on the commit thread only."""

    def apply(self, effect: object) -> None:
        """An appended record's effect, after its frame was written."""

    def checkpoint(self) -> bytes:
        """The state now, as the payload of the CHECKPOINT record that opens a segment (at most half a segment)."""

    def restore(self, payload: bytes) -> None:
        """Recovery: the state is what `checkpoint` once returned."""

    def replay(self, record: Record) -> None:
        """Recovery: one record behind the checkpoint."""


class NoFold:
    """For a log that carries no state."""

    def apply(self, effect: object) -> None:
        """Nothing depends on it."""

    def checkpoint(self) -> bytes:
        """Empty."""
        return b""

    def restore(self, payload: bytes) -> None:
        """Nothing to restore."""

    def replay(self, record: Record) -> None:
        """Nothing depends on it."""
