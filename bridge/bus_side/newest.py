"""Newest: never a newer device document replaced by an older one, when somebody else's queue is forwarded late.

A device may have moved to another gateway since: the documents that its new gateway wrote are newer than those that
wait in the old one's queue. What stands in the compacted topic is looked at before each write that has documents.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from bridge.bus_side.access import Access, AccessError
from bridge.bus_side.sink import LaneBatch, Sink, SinkAway, Written
from bridge.config import Kafka
from bridge.log.record import CLOCK_SYNCHRONISED, DOCUMENT, Record, RecordError, decode_context

_NS_PER_MS: Final = 1_000_000
_POLL_MS: Final = 200
_LIMITS: Final = 3
"""Several requests, one after another: so many request time-outs."""


class NewestDocuments:
    """Of each device, when the newest document in Kafka was made, and by whom."""

    def __init__(self, kafka: Kafka, gateway: str | None) -> None:
        """`gateway`: its own documents are older for certain, being forwarded in order; None: nobody's are."""
        self._access = Access(kafka)
        self._limit_s = kafka.request_timeout * _LIMITS
        self._gateway = gateway.encode() if gateway is not None else None
        self._consumers: dict[str, AIOKafkaConsumer] = {}
        self._made_ms: dict[tuple[str, bytes], int | None] = {}
        """By topic and device; None: it is the gateway's own."""

    async def refresh(self, topic: str) -> None:
        """Reads the topic up to its present end. Raises SinkAway."""
        try:
            consumer = self._consumers.get(topic) or await self._open(topic)
            await self._read(topic, consumer)
        except AccessError as error:
            raise SinkAway(str(error)) from error
        except (KafkaError, OSError, TimeoutError) as error:
            words = str(error) or "no answer in time"
            raise SinkAway(f"whether {topic!r} has newer documents cannot be read: {words}") from error

    def is_outdated(self, topic: str, device: str, record: Record) -> bool:
        """Another gateway wrote about this device, and not before; a clock that was not set proves nothing."""
        made_ms = self._made_ms.get((topic, device.encode()))
        if made_ms is None:
            return False
        return not record.flags & CLOCK_SYNCHRONISED or record.wall_ns // _NS_PER_MS <= made_ms

    async def close(self) -> None:
        """Gives the connections back."""
        consumers, self._consumers = self._consumers, {}
        for consumer in consumers.values():
            await consumer.stop()

    async def _open(self, topic: str) -> AIOKafkaConsumer:
        consumer = AIOKafkaConsumer(
            **self._access.settings(), enable_auto_commit=False, auto_offset_reset="earliest",
            isolation_level="read_committed", check_crcs=False,
        )  # fmt: skip
        async with asyncio.timeout(self._limit_s):
            await consumer.start()
        self._consumers[topic] = consumer
        return consumer

    async def _read(self, topic: str, consumer: AIOKafkaConsumer) -> None:
        async with asyncio.timeout(self._limit_s):
            if not consumer.assignment():
                await self._assign(topic, consumer)
            ends = await consumer.end_offsets(consumer.assignment())
            behind = {partition for partition, end in ends.items() if await consumer.position(partition) < end}
        while behind:
            async with asyncio.timeout(self._limit_s):
                taken = await consumer.getmany(timeout_ms=_POLL_MS)
                behind = {partition for partition in behind if await consumer.position(partition) < ends[partition]}
            for records in taken.values():
                for record in records:
                    own = self._gateway is not None and ("gateway", self._gateway) in record.headers
                    self._made_ms[topic, record.key or b""] = None if own else record.timestamp

    async def _assign(self, topic: str, consumer: AIOKafkaConsumer) -> None:
        """No partitions: there is no such topic, so nothing newer either."""
        if topic not in await consumer.topics():
            return
        consumer.assign([TopicPartition(topic, 0)])
        while not (partitions := consumer.partitions_for_topic(topic)):  # noqa: ASYNC110 - no event for it
            await asyncio.sleep(_POLL_MS / 1000)
        consumer.assign([TopicPartition(topic, partition) for partition in sorted(partitions)])


class OnlyNewest:
    """A sink that leaves out documents that are not the newest (see `sink.Sink`), or all, without a `newest`."""

    def __init__(self, inner: Sink, newest: NewestDocuments | None) -> None:
        self.left_out = 0
        self._inner = inner
        self._newest = newest

    @property
    def holds_positions(self) -> bool:
        return self._inner.holds_positions

    async def start(self, lanes: Sequence[str], log_id: bytes) -> dict[str, int]:
        """See `Sink.start`."""
        return await self._inner.start(lanes, log_id)

    async def write(self, batches: Sequence[LaneBatch]) -> Written:
        """See `Sink.write`."""
        outdated = await self._outdated(batches)
        written = await self._inner.write([_without(batch, outdated) for batch in batches] if outdated else batches)
        self.left_out += len(outdated)
        return written

    async def probe(self) -> None:
        """See `Sink.probe`."""
        await self._inner.probe()

    async def stop(self) -> None:
        """See `Sink.stop`."""
        await self._inner.stop()
        if self._newest is not None:
            await self._newest.close()

    async def _outdated(self, batches: Sequence[LaneBatch]) -> set[tuple[str, int]]:
        documents = [
            (batch.lane, record, *_place(record))
            for batch in batches
            for record in batch.records
            if record.kind == DOCUMENT
        ]
        newest = self._newest
        if newest is None:
            return {(lane, record.seq) for lane, record, _, _ in documents}
        for topic in dict.fromkeys(topic for _, _, _, topic in documents if topic):
            await newest.refresh(topic)
        return {
            (lane, record.seq)
            for lane, record, device, topic in documents
            if topic and newest.is_outdated(topic, device, record)
        }


def _place(record: Record) -> tuple[str, str]:
    """Device and topic; empty where the record is damaged: then it is a dead letter anyway."""
    try:
        device, _, topic = decode_context(record.context)
    except RecordError:
        return "", ""
    return device, topic


def _without(batch: LaneBatch, outdated: set[tuple[str, int]]) -> LaneBatch:
    records = [record for record in batch.records if (batch.lane, record.seq) not in outdated]
    return LaneBatch(batch.lane, records, batch.position, batch.bytes)
