"""Stage: a sink before another one, which passes everything on. What a stage does otherwise it says itself."""

from __future__ import annotations

from collections.abc import Sequence

from bridge.bus_side.sink import LaneBatch, Sink, Written
from bridge.log.record import DOCUMENT


def without_documents(batches: Sequence[LaneBatch]) -> list[LaneBatch]:
    """Those that need not wait for a topic that documents are compared with."""
    return [batch for batch in batches if not any(record.kind == DOCUMENT for record in batch.records)]


class Stage:
    """See `sink.Sink`."""

    def __init__(self, inner: Sink) -> None:
        """`inner`: what stands behind it."""
        self._inner = inner

    @property
    def holds_positions(self) -> bool:
        return self._inner.holds_positions

    async def start(self, lanes: Sequence[str], log_id: bytes) -> dict[str, int]:
        """See `Sink.start`."""
        return await self._inner.start(lanes, log_id)

    async def write(self, batches: Sequence[LaneBatch]) -> Written:
        """See `Sink.write`."""
        return await self._inner.write(batches)

    async def probe(self) -> None:
        """See `Sink.probe`."""
        await self._inner.probe()

    async def stop(self) -> None:
        """See `Sink.stop`."""
        await self._inner.stop()
