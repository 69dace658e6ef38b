"""Newest: never a newer device document replaced by an older one, when somebody else's queue is forwarded late.

A device may have moved to another gateway since: the documents that its new gateway wrote are newer than those that
wait in the old one's queue. What stands in the compacted topic is looked at before each write that has documents, and
they go out with the claim that nobody has written about these devices since.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from bridge.bus_side.claims import Claims, any_word
from bridge.bus_side.sink import LaneBatch, Sink, Written
from bridge.bus_side.sketch import sketch_of, without_ground
from bridge.bus_side.stage import Stage
from bridge.bus_side.topic_tail import Taken, TopicTail
from bridge.config import Kafka
from bridge.log.record import CLOCK_SYNCHRONISED, DOCUMENT, Record, RecordError, decode_context

_NS_PER_MS: Final = 1_000_000


class NewestDocuments:
    """Of each device, when the newest document in Kafka was made, and by whom."""

    def __init__(self, kafka: Kafka, gateway: str | None) -> None:
        """`gateway`: its own documents are older for certain, being forwarded in order; None: nobody's are."""
        self._kafka = kafka
        self._gateway = gateway.encode() if gateway is not None else None
        self._tails: dict[str, TopicTail] = {}
        self._made_ms: dict[tuple[str, bytes], int | None] = {}
        """By topic and device; None: it is the gateway's own."""

    async def refresh(self, topic: str) -> None:
        """Reads the topic up to its present end. Raises SinkAway."""
        if topic not in self._tails:
            self._tails[topic] = TopicTail(self._kafka, topic, lambda record: self._take(topic, record))
        await self._tails[topic].refresh()

    def claims(self, documents: Iterable[_Document]) -> tuple[Claims, ...]:
        """That nobody has written about these devices since the last `refresh` of their topics."""
        by_topic: dict[str, Claims] = {}
        for each in documents:
            if each.topic:
                claims = by_topic.setdefault(each.topic, Claims(each.topic, self._tails[each.topic].looked, {}))
                claims.refuted[each.device.encode()] = any_word
        return tuple(by_topic.values())

    def is_outdated(self, topic: str, device: str, record: Record) -> bool:
        """Another gateway wrote about this device, and not before; a clock that was not set proves nothing."""
        place = (topic, device.encode())
        if place in self._made_ms and sketch_of(record.payload).is_ungrounded:
            return True  # what the device had reported to others would be gone
        made_ms = self._made_ms.get(place)
        if made_ms is None:
            return False
        return not record.flags & CLOCK_SYNCHRONISED or record.wall_ns // _NS_PER_MS <= made_ms

    async def close(self) -> None:
        """Gives the connections back."""
        for tail in self._tails.values():
            await tail.close()

    def _take(self, topic: str, record: Taken) -> None:
        own = self._gateway is not None and ("gateway", self._gateway) in record.headers
        self._made_ms[topic, record.key or b""] = None if own else record.timestamp


class _Document(msgspec.Struct, gc=False):
    """A document that is to be written."""

    lane: str
    record: Record
    device: str
    topic: str
    """Empty, as the device: the record is damaged, and a dead letter anyway."""

    @property
    def number(self) -> tuple[str, int]:
        return self.lane, self.record.seq


class OnlyNewest(Stage):
    """A sink that leaves out documents that are not the newest (see `sink.Sink`), or all, without a `newest`."""

    def __init__(self, inner: Sink, newest: NewestDocuments | None) -> None:
        super().__init__(inner)
        self.left_out = 0
        self._newest = newest

    async def write(self, batches: Sequence[LaneBatch]) -> Written:
        """See `Sink.write`."""
        documents = [
            _document(batch.lane, each) for batch in batches for each in batch.records if each.kind == DOCUMENT
        ]
        outdated = await self._outdated(documents)
        left = [_without(batch, outdated) for batch in batches]
        if left and self._newest is not None:
            left[0].claims = self._newest.claims(each for each in documents if each.number not in outdated)
        written = await self._inner.write(left)
        self.left_out += len(outdated)
        return written

    async def stop(self) -> None:
        """See `Sink.stop`."""
        await super().stop()
        if self._newest is not None:
            await self._newest.close()

    async def _outdated(self, documents: Sequence[_Document]) -> set[tuple[str, int]]:
        newest = self._newest
        if newest is None:
            return {each.number for each in documents}
        for topic in dict.fromkeys(each.topic for each in documents if each.topic):
            await newest.refresh(topic)
        return {
            each.number for each in documents if each.topic and newest.is_outdated(each.topic, each.device, each.record)
        }


def _document(lane: str, record: Record) -> _Document:
    try:
        device, _, topic = decode_context(record.context)
    except RecordError:
        return _Document(lane, record, "", "")
    return _Document(lane, record, device, topic)


def _without(batch: LaneBatch, outdated: set[tuple[str, int]]) -> LaneBatch:
    records = [_plain(record) for record in batch.records if (batch.lane, record.seq) not in outdated]
    return LaneBatch(batch.lane, records, batch.position, batch.bytes)


def _plain(record: Record) -> Record:
    if record.kind != DOCUMENT:
        return record
    return msgspec.structs.replace(record, payload=without_ground(record.payload))
