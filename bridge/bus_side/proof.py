"""Proof: whether what a transaction claims still held when its records came to stand in the log.

Asked between the last acknowledgement and the commit. Of two transactions that write of one key the later in the
partition can see the other one, committed or not, so an older document never gets behind a newer one unseen. It costs
nothing where nothing stands in between, and else one fetch of each partition.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeAlias

import msgspec

from bridge.bus_side.claims import Between, Chunk, Claims, GoneError
from bridge.bus_side.sink import LaneBatch

ReadLog: TypeAlias = Callable[[str, int, range, Callable[[Chunk], None]], Awaitable[None]]


class Stretch(msgspec.Struct, gc=False):
    """Where the transaction's records stand in a partition."""

    first: int
    end: int
    records: int


class Proof:
    """Of one transaction."""

    def __init__(self, batches: Sequence[LaneBatch]) -> None:
        self._claims: dict[str, Claims] = {}
        for claims in (claims for batch in batches for claims in batch.claims):
            known = self._claims.setdefault(claims.topic, Claims(claims.topic, claims.looked, {}))
            known.refuted |= claims.refuted
        self._stretches: dict[tuple[str, int], Stretch] = {}

    def sent(self, topic: str, partition: int, offset: int, records: int) -> None:
        """A batch is acknowledged; it begins at that offset."""
        if topic not in self._claims:
            return
        end = offset + records
        known = self._stretches.setdefault((topic, partition), Stretch(offset, end, 0))
        known.first, known.end = min(known.first, offset), max(known.end, end)
        known.records += records

    async def contested(self, read: ReadLog, own: int) -> dict[int, int]:
        """By partition, the offset of the last record that refutes what is claimed; empty: all holds.

        Waits until the logs are read: the caller sets the time limit.

        Args:
            read: see `log_fetch.read_log`.
            own: the producer's id.

        Raises:
            KafkaError: they cannot be read.
        """
        asked = [
            self._read(read, own, self._claims[topic], partition, stretch)
            for (topic, partition), stretch in self._stretches.items()
            if not self._stands_alone(topic, partition, stretch)
        ]
        found = await asyncio.gather(*asked)
        return {partition: offset for partition, offset in found if offset is not None}

    def _stands_alone(self, topic: str, partition: int, stretch: Stretch) -> bool:
        looked = self._claims[topic].looked.get(partition)
        return looked == stretch.first and stretch.end - stretch.first == stretch.records

    async def _read(
        self, read: ReadLog, own: int, claims: Claims, partition: int, stretch: Stretch
    ) -> tuple[int, int | None]:
        looked = claims.looked.get(partition, 0)
        if stretch.first < 0:  # (Kafka has it from an earlier try, and does not say where)
            return partition, looked - 1
        between = Between(own, looked, claims.refuted)
        try:
            await read(claims.topic, partition, range(looked, stretch.end), between.take)
        except GoneError:
            return partition, looked - 1  # nobody knows what it was: only another look helps
        return partition, between.contested()
