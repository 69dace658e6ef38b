"""Replay: records that were forwarded once, or never could be, go to Kafka again, marked with a header `replay`.

The same records are built in the same way, but under a transactional id of their own (`GATEWAY.replay`), so that the
gateway's daemon is never fenced, and with positions of their own, so that a transaction whose end nobody heard of is
not repeated.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Final

import msgspec

from bridge.bus_side.access import Access
from bridge.bus_side.backoff import Backoff
from bridge.bus_side.forms import Forms
from bridge.bus_side.kafka import KafkaSink, Run
from bridge.bus_side.lanes import Budget
from bridge.bus_side.letter import Letter
from bridge.bus_side.newest import NewestDocuments, OnlyNewest
from bridge.bus_side.noise import Noise
from bridge.bus_side.producer import hasten_transactions
from bridge.bus_side.refusals import know_invalid_records
from bridge.bus_side.sink import LaneBatch, SinkAgain, SinkAway
from bridge.config import Config, Kafka
from bridge.log.record import Record

_BACKOFF_FIRST_S: Final = 0.1


class Origin(msgspec.Struct, frozen=True):
    """Where records come from; readers find it in their headers."""

    gateway: str
    lane: str
    log_id: bytes
    """16 bytes."""


class Sent(msgspec.Struct):
    """What was done so far."""

    records: int = 0
    """That went out, dead letters among them."""
    dead_letters: dict[str, int] = {}
    """By reason, those that went to the dead-letter topic instead, or nowhere."""
    left_out: int = 0
    """Documents that are older than what Kafka has."""
    refused: list[Letter] = []
    """Those that no topic took, the dead-letter topic among them: they are nowhere but where they were."""


class Replay:
    """One run."""

    def __init__(
        self,
        config: Config,
        kafka: Kafka,
        run: str,
        noise: Noise,
        *,
        away: Callable[[str], None],
        gone: Callable[[Sequence[Record], Sequence[Letter]], None],
    ) -> None:
        """Args:
        config: of the gateway in whose name it is done; records keep the name of their own.
        run: the value of the header `replay`.
        away: is told why Kafka cannot be used, at each try.
        gone: is told after each transaction what records it had, and which of all so far were taken by nobody.
        """
        self.sent = Sent()
        self._config = config
        self._kafka = kafka
        self._run = run
        self._noise = noise
        self._away = away
        self._gone = gone
        self._backoff = Backoff(_BACKOFF_FIRST_S, kafka.reconnect_backoff_max, random.random)
        self._budget = Budget(kafka.transaction_records, kafka.transaction_bytes)

    async def forward(self, origin: Origin, records: Iterable[Record]) -> None:
        """All of them, in their order. Waits while Kafka is away; cancel it at any time.

        Raises:
            SinkFenced: another replay of this gateway has begun.
        """
        hasten_transactions(self._kafka.retry_backoff)
        know_invalid_records()
        refused = _Refused()
        sink = self._sink(origin, refused)
        try:
            await self._forward(sink, origin, iter(records), refused)
        finally:
            await sink.stop()
        self.sent.left_out += sink.left_out
        self.sent.refused += refused.letters.values()

    async def _forward(self, sink: OnlyNewest, origin: Origin, records: Iterator[Record], refused: _Refused) -> None:
        await self._start(sink, origin)
        done = 0
        while chunk := self._chunk(records):
            done += len(chunk)
            await self._write(sink, origin, LaneBatch(origin.lane, chunk, done))
            self._gone(chunk, list(refused.letters.values()))

    def _chunk(self, records: Iterator[Record]) -> list[Record]:
        chunk: list[Record] = []
        size = 0
        for record in islice(records, self._budget.records):
            chunk.append(record)
            size += len(record.payload)
            if size >= self._budget.bytes:
                break
        return chunk

    async def _write(self, sink: OnlyNewest, origin: Origin, batch: LaneBatch) -> None:
        while True:
            try:
                written = await sink.write([batch])
            except SinkAgain:
                pass
            except SinkAway as error:
                await self._pause(error)
            else:
                self.sent.records += sum(written.records.values())
                for reason, count in written.dead_letters.items():
                    self.sent.dead_letters[reason] = self.sent.dead_letters.get(reason, 0) + count
                self._backoff.reset()
                return
            if await self._start(sink, origin) == batch.position:
                self.sent.records += len(batch.records)  # it was committed after all
                return

    async def _start(self, sink: OnlyNewest, origin: Origin) -> int | None:
        """Connects; returns the position that Kafka has of this run."""
        while True:
            try:
                return (await sink.start((origin.lane,), origin.log_id)).get(origin.lane)
            except SinkAway as error:
                await self._pause(error)

    async def _pause(self, error: SinkAway) -> None:
        self._away(str(error))
        await asyncio.sleep(self._backoff.next_s())

    def _sink(self, origin: Origin, refused: _Refused) -> OnlyNewest:
        config = self._config
        compacted = frozenset([config.state.topic]) if config.state is not None else frozenset[str]()
        run = Run(f"{config.gateway.id}.replay", self._run)
        forms = Forms(config.routes)
        access = Access(self._kafka)
        sink = KafkaSink(origin.gateway, self._kafka, access, self._noise, compacted, refused, forms, run)
        return OnlyNewest(sink, NewestDocuments(self._kafka, None))


class _Refused:
    """Keeps nothing: what nobody takes stays where it was, and is told. See `letter.LetterBox`."""

    def __init__(self) -> None:
        self.letters: dict[tuple[bytes, str, int], Letter] = {}

    def holds(self, log_id: bytes, lane: str, seq: int) -> bool:
        return (log_id, lane, seq) in self.letters

    async def keep(self, letters: Sequence[Letter]) -> list[tuple[str, Record]]:
        self.letters |= {letter.mark: letter for letter in letters}
        return []

    def forget(self, batches: Sequence[LaneBatch]) -> None:
        pass
