"""KafkaSink: records and the positions behind them, in one Kafka transaction.

There is one way back from every failure: the producer is given up, a fresh one takes over the transactional id (which
makes Kafka abort what was open, or finish what was being committed), and the positions are read back. So a failure
half-way needs no case of its own, and a crash is one more failure.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Awaitable, Coroutine, Sequence
from functools import partial
from typing import Any

import msgspec
from aiokafka.errors import KafkaConnectionError, KafkaError, ProducerFenced

from bridge.bus_side.access import Access, AccessError
from bridge.bus_side.delivery import NO_TRANSACTION_LOG, refused
from bridge.bus_side.fill import Fill, Lot
from bridge.bus_side.forms import NO_ROUTES, Forms
from bridge.bus_side.letter import LetterBox, NotKept
from bridge.bus_side.log_fetch import read_log
from bridge.bus_side.noise import Noise
from bridge.bus_side.offset_fetch import committed_offset, group_coordinator
from bridge.bus_side.producer import LaneProducer
from bridge.bus_side.proof import Proof
from bridge.bus_side.refusal import Refusal
from bridge.bus_side.refusals import BatchRefused, Refusals, refusal_of
from bridge.bus_side.sink import LaneBatch, SinkAgain, SinkAway, SinkContested, SinkFenced, SinkRefused, Written
from bridge.bus_side.topic_maker import TopicMaker
from bridge.bus_side.topics import Topics
from bridge.config import Kafka

_log = logging.getLogger(__name__)
_START_LIMITS = 3
"""A start is several requests, one after another: so many request time-outs."""


class Run(msgspec.Struct, frozen=True):
    """A replay: records go out once more, beside the gateway's daemon and not in its place."""

    transactional_id: str
    """Its own, and the beginning of its groups' names: the daemon's must not be fenced."""
    mark: str
    """The value of each record's header `replay`."""


class KafkaSink:
    """See `sink.Sink`. With `at_least_once` there are no transactions and no positions: the local cursor serves."""

    def __init__(
        self,
        gateway: str,
        kafka: Kafka,
        access: Access,
        noise: Noise,
        compacted: frozenset[str],
        letters: LetterBox,
        forms: Forms = NO_ROUTES,
        run: Run | None = None,
    ) -> None:
        """Args:
        compacted: topics that are made compacted, where this gateway makes topics.
        letters: keeps the dead letters that the dead-letter topic does not take.
        run: this is a replay.
        """
        self._gateway = gateway
        self._run = run
        self._id = run.transactional_id if run is not None else gateway
        self._kafka = kafka
        self._access = access
        self._noise = noise
        self._compacted = compacted
        self._letters = letters
        self._forms = forms
        self._exactly_once = kafka.delivery == "exactly_once"
        self._producer: LaneProducer | None = None
        self._fill: Fill | None = None
        self._refusals = Refusals(kafka.dead_letter_topic, kafka.batch_bytes, kafka.topic_retry)
        self._log_id = b""
        self._coordinators: dict[str, int] = {}
        self._steps = 0
        self._wire_bytes = 0
        """Sent since the last write that went through."""

    @property
    def holds_positions(self) -> bool:
        return self._exactly_once

    async def start(self, lanes: Sequence[str], log_id: bytes) -> dict[str, int]:
        """A fresh producer; see `Sink.start`. Raises SinkAway."""
        await self.stop()
        self._noise.reset()
        self._log_id = log_id
        try:
            producer = self._producer = LaneProducer(self._settings())
            async with asyncio.timeout(self._kafka.request_timeout * _START_LIMITS):
                await producer.start()
                topics = self._topics(producer)
                marks = [("replay", self._run.mark.encode())] if self._run is not None else []
                self._fill = Fill(
                    self._gateway, self._kafka, topics, self._refusals, log_id, self._stays, self._forms, marks
                )
                held = await self._positions(producer, topics, lanes) if self._exactly_once else {}
        except AccessError as error:
            raise SinkAway(str(error)) from error
        except (KafkaError, OSError, TimeoutError) as error:
            if isinstance(error, TimeoutError) and await producer.lacks_transaction_log():
                raise SinkAway(NO_TRANSACTION_LOG) from error
            raise self._away(error) from error
        self._noise.reset()
        return held

    async def write(self, batches: Sequence[LaneBatch]) -> Written:
        """One transaction; see `Sink.write`. Nothing to forward is no transaction. Raises SinkError."""
        if self._producer is None or self._fill is None:
            raise SinkAway("not connected")
        lots = await self._fill.fill(batches)
        if self._fill.left:
            lots = await self._keep(self._fill)
        if not lots:
            self._letters.forget(batches)
            return self._written(self._fill)
        begun = time.clock_gettime(time.CLOCK_BOOTTIME)
        try:
            await self._watched(self._transact(self._producer, lots, batches))
        except BatchRefused as error:
            self._refusals.learn(error)
            raise SinkAgain(str(error)) from error
        except ProducerFenced as error:
            raise self._fenced(time.clock_gettime(time.CLOCK_BOOTTIME) - begun) from error
        except (KafkaError, OSError, TimeoutError) as error:
            raise self._away(error) from error
        self._refusals.forget(batches)
        self._letters.forget(batches)
        return self._written(self._fill)

    async def probe(self) -> None:
        """Asks any broker for metadata; see `Sink.probe`. Raises SinkAway."""
        if self._producer is None:
            raise SinkAway("not connected")
        try:
            async with asyncio.timeout(self._kafka.request_timeout):
                answered = await self._producer.client.force_metadata_update()
        except (KafkaError, OSError, TimeoutError) as error:
            raise self._away(error) from error
        if not answered:
            raise self._away(KafkaConnectionError("no broker answers"))

    async def stop(self) -> None:
        """See `Sink.stop`."""
        producer, self._producer, self._fill = self._producer, None, None
        if producer is not None:
            await producer.abandon()

    async def _keep(self, fill: Fill) -> list[Lot]:
        """What nobody takes is on our own disk before a position moves past it; events tell of it. Raises SinkAway."""
        try:
            return await fill.tell(await self._letters.keep(fill.left))
        except NotKept as error:
            # Dropping what was acknowledged is no answer: wait, and say for what.
            raise SinkAway(str(error)) from error

    def _stays(self, lane: str, seq: int) -> bool:
        return self._letters.holds(self._log_id, lane, seq)

    def _written(self, fill: Fill) -> Written:
        dead_letters = Counter(letter.refusal.error for letter in fill.left)
        for (topic, refusal), count in fill.buried.items():
            _log.warning("%d records for the topic %r are dead letters: %s", count, topic, refusal.detail)
            dead_letters[refusal.error] += count
        sent, self._wire_bytes = self._wire_bytes, 0
        return Written(dict(fill.records), sent, dict(dead_letters))

    def _settings(self) -> dict[str, Any]:
        kafka = self._kafka
        settings = self._access.settings() | {
            "client_id": f"busbridge-{self._gateway}",
            "retry_backoff_ms": max(1, int(kafka.retry_backoff * 1000)),
            "enable_idempotence": True,
        }
        if self._exactly_once:
            settings["transactional_id"] = self._id
            settings["transaction_timeout_ms"] = int(kafka.transaction_timeout * 1000)
        return settings

    def _topics(self, producer: LaneProducer) -> Topics:
        kafka = self._kafka
        maker = TopicMaker(producer.client, kafka, self._compacted) if kafka.create_topics else None
        return Topics(producer.client, maker, self._refusals, timeout_s=kafka.topic_timeout, keys_max=kafka.shape_cache)

    async def _positions(self, producer: LaneProducer, topics: Topics, lanes: Sequence[str]) -> dict[str, int]:
        """Read back only now that the transactional id is ours: whatever was open or committing is decided."""
        found = await topics.find(self._kafka.event_topic)
        if isinstance(found, Refusal):
            raise SinkAway(f"positions are kept under the event topic, and {found.detail}")
        held: dict[str, int] = {}
        for lane in lanes:
            position = await committed_offset(producer.client, self._group(lane), self._kafka.event_topic, 0)
            if position is not None and position[1] == self._metadata():
                held[lane] = position[0]
            elif position is not None and self._run is None:
                _log.warning(
                    "lane %s: Kafka's position belongs to another queue (log %s), not to ours; it is not used",
                    lane, position[1] or "unknown",
                )  # fmt: skip
        return held

    def _group(self, lane: str) -> str:
        return f"busbridge.{self._id}.{lane}"

    def _metadata(self) -> str:
        """What a position says of whose it is: of this log, and of this replay if it is one."""
        log = self._log_id.hex()
        return log if self._run is None else f"{log} {self._run.mark}"

    async def _transact(self, producer: LaneProducer, lots: Sequence[Lot], batches: Sequence[LaneBatch]) -> None:
        proof = Proof(batches)
        sends = [self._send_lot(producer, lot, proof) for lot in lots]
        if not self._exactly_once:
            await _all(sends)
            return
        await producer.begin()
        await _all([*sends, self._send_positions(producer, batches)])
        if contested := await proof.contested(partial(read_log, producer.client), producer.id):
            await producer.abort()
            raise SinkContested(contested)
        await producer.commit()

    async def _send_lot(self, producer: LaneProducer, lot: Lot, proof: Proof) -> None:
        """Returns when all of the lot is in Kafka; the batches of one partition go in their order."""
        for batch, (lane, seq) in zip(lot.batches, lot.firsts, strict=True):
            try:
                self._wire_bytes += batch.wire_size()
                offset = await producer.send(batch, lot.topic, lot.partition)
            except KafkaError as error:
                refusal = refusal_of(error, lot.topic, lot.partition)
                if refusal is None:
                    raise
                raise BatchRefused(
                    lot.topic, refusal, count=batch.count, size=batch.size(), lane=lane, seq=seq
                ) from error
            proof.sent(lot.topic, lot.partition, offset, batch.count)
            self._steps += 1

    async def _send_positions(self, producer: LaneProducer, batches: Sequence[LaneBatch]) -> None:
        topic, metadata = self._kafka.event_topic, self._metadata()
        for batch in batches:
            group = self._group(batch.lane)
            coordinator = self._coordinators.get(batch.lane)
            if coordinator is None:
                coordinator = await group_coordinator(producer.client, group)
            coordinator = await producer.send_position(group, topic, batch.position, metadata, coordinator)
            self._coordinators[batch.lane] = coordinator
            self._steps += 1

    async def _watched(self, work: Awaitable[None]) -> None:
        """Gives the work up when nothing of it has come about for a request's time-out.

        aiokafka would try for ever, two hundred times a second. Cut into steps, because a full transaction over a slow
        link takes long and is well all the same. Raises TimeoutError, and what the work raises.
        """
        task = asyncio.ensure_future(work)
        try:
            while True:
                steps = self._steps
                done, _ = await asyncio.wait({task}, timeout=self._kafka.request_timeout)
                if done:
                    return task.result()
                if steps == self._steps:
                    raise TimeoutError
        finally:
            task.cancel()

    def _away(self, error: Exception) -> SinkAway:
        words = refused(error, self._kafka.delivery, self._gateway)
        if words:
            return SinkRefused(words)
        return SinkAway(self._access.why(error, self._noise))

    def _fenced(self, open_s: float) -> SinkAgain | SinkFenced:
        if open_s >= self._kafka.transaction_timeout:
            # Kafka fences a producer also when its transaction times out (KIP-588).
            return SinkAgain(f"the transaction was open for {open_s:.0f} s, longer than kafka.transaction_timeout")
        if self._run is not None:
            return SinkFenced(f"another replay of {self._id.removesuffix('.replay')} has begun and took over")
        return SinkFenced(
            f"another gateway writes to this Kafka as {self._gateway!r} (gateway.id must be unique) and took over; "
            "this one forwards nothing more until it is restarted, and keeps what it takes in"
        )


async def _all(works: Sequence[Coroutine[Any, Any, None]]) -> None:
    """All at once; returns when every one has ended. A refused batch tells more than the errors it brings on others."""
    tasks = [asyncio.ensure_future(work) for work in works]
    try:
        await asyncio.wait(tasks)
    finally:
        for task in tasks:
            task.cancel()
    failed = [error for error in (task.exception() for task in tasks) if error is not None]
    for error in sorted(failed, key=lambda error: not isinstance(error, BatchRefused))[:1]:
        raise error
