"""Settled: never a newer device document replaced by an older one, though devices move between gateways.

A stage between the forwarder and Kafka. Before each write that has documents the state topic is read to its end. A
document against which something there speaks is left out, and what is there goes to the device side, which makes one
document of the two and sends that. Between the look and the write another gateway may write: so the documents go out
with what they claim of the topic (`claims`), and the sink takes the transaction back where that did not hold. Then the
same is done again, from the look on; while what is in the way is not decided yet, or a look takes its time (the first
reads the whole topic), documents wait and the rest goes on.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Final

import msgspec

from bridge.bus_side.claims import any_word
from bridge.bus_side.judge import Judge
from bridge.bus_side.known import Known, News
from bridge.bus_side.sink import LaneBatch, Sink, SinkAway, SinkContested, Written
from bridge.bus_side.sketch import swept
from bridge.bus_side.stage import Stage, without_documents
from bridge.log.record import EVENT, KNOWN, TOMBSTONE, encode, encode_context

_log = logging.getLogger(__name__)
_TRIES: Final = 3
"""Of one write, one right after the other; then the documents are given back and the rest goes out alone."""


class Settled(Stage):
    """See `sink.Sink`."""

    def __init__(
        self,
        inner: Sink,
        known: Known,
        judge: Judge,
        tell: Callable[[list[bytes]], Awaitable[None]],
        *,
        pause: Callable[[], Awaitable[None]],
        patience_s: float,
        instant: Callable[[float], str],
        sweep_margin_s: float | None,
    ) -> None:
        """Args:
        known: what the topic has.
        judge: decides what goes out.
        tell: brings downlink records to the device side; returns when they are durable. What finds no room may be
            dropped: the next document of the device asks again.
        pause: waits a short and random time, so that two that took each other's write back do not meet again.
        patience_s: a look that takes longer goes on beside the writes, without documents until it is done.
        instant: the time so many seconds ago, RFC 3339 in UTC with milliseconds.
        sweep_margin_s: what clocks may differ; None: devices of dead gateways are left as they are.
        """
        super().__init__(inner)
        self._known = known
        self._judge = judge
        self._tell = tell
        self._pause = pause
        self._patience_s = patience_s
        self._looking: asyncio.Future[None] | None = None
        """A look that goes on."""
        self._instant = instant
        self._sweep_margin_s = sweep_margin_s
        self._contested: dict[int, int] = {}
        """Where in the topic that stood which a document of ours did not reckon with."""

    async def write(self, batches: Sequence[LaneBatch]) -> Written:
        """See `Sink.write`."""
        others = without_documents(batches)
        if len(others) == len(batches):
            return await self._inner.write(batches)
        for tried in range(_TRIES):
            try:
                looked = await self._look()
            except SinkAway:
                if others:  # a state topic that cannot be read holds documents up, and nothing else
                    await self._inner.write(others)
                raise
            if not looked or not self._known.has(self._contested):
                return await self._without_documents(batches, others, tried)
            try:
                written = await self._inner.write(await self._settle(batches))
            except SinkContested as error:
                self._contested = error.places
                _log.debug("a write with documents is taken back: %s (partition: offset) %s", error, error.places)
                await self._pause()
            else:
                written.contested = tried
                written.superseded, written.gateways = self._judge.superseded, len(self._known.gateways)
                return written
        return await self._without_documents(batches, others, _TRIES)

    async def probe(self) -> None:
        """See `Sink.probe`; and hears what others have written meanwhile."""
        await super().probe()
        if await self._look():
            await self._hear(())

    async def stop(self) -> None:
        """See `Sink.stop`."""
        await super().stop()
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.wait({self._looking})
        await self._known.close()

    async def _look(self) -> bool:
        """False: it takes its time. Raises SinkAway."""
        if self._looking is None:
            self._looking = asyncio.ensure_future(self._known.refresh())
        await asyncio.wait({self._looking}, timeout=self._patience_s)
        if not self._looking.done():
            return False
        looking, self._looking = self._looking, None
        looking.result()
        return True

    async def _settle(self, batches: Sequence[LaneBatch]) -> list[LaneBatch]:
        settled = self._judge.settle(batches)
        if self._judge.alive is not None and self._sweep_margin_s is not None:
            await self._sweep(self._judge.alive, settled, self._instant(self._sweep_margin_s))
        await self._hear(self._judge.asked)
        return settled

    async def _without_documents(
        self, batches: Sequence[LaneBatch], others: Sequence[LaneBatch], contested: int
    ) -> Written:
        """A transaction of another gateway may stay open for as long as Kafka lets it, if that gateway is dead."""
        written = await self._inner.write(others)
        written.held = frozenset(batch.lane for batch in batches) - {batch.lane for batch in others}
        written.contested = contested
        return written

    async def _hear(self, asked: Iterable[str]) -> None:
        """The device side hears what others have written, and what it has to know."""
        heard = {each.device: each for each in self._known.news()}
        values = await self._known.fetch(key for key in asked if key not in heard)
        heard |= {key: News(key, value) for key, value in values.items()}
        if heard:
            await self._tell([_downlink(each) for each in heard.values()])

    async def _sweep(self, into: LaneBatch, settled: Sequence[LaneBatch], before: str) -> None:
        """Adds what says that nobody knows of a dead gateway's devices; it has no number, as an event."""
        like = into.records[-1]
        here = {key for batch in settled for claims in batch.claims for key in claims.refuted}
        outlived = self._known.outlived(before, self._judge.names)
        values = await self._known.fetch(device for device in outlived if device.encode() not in here)
        for device, value in values.items():
            _log.info("device=%s is unknown: the lease of its gateway is over", device)
            context = encode_context(device, "", self._known.topic)
            into.records.append(
                msgspec.structs.replace(like, kind=EVENT, context=context, payload=swept(value, self._known.gateways))
            )
            into.claims[0].refuted[device.encode()] = any_word


def _downlink(news: News) -> bytes:
    flags = TOMBSTONE if news.value is None else 0
    return encode(KNOWN, flags, 0, 0, 0, encode_context(news.device, ""), b"", news.value or b"")
