"""Fill: a transaction's records, sorted into batches for their partitions. The hot path of this process."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial

import msgspec
from aiokafka import codec

from bridge.bus_side.cloud_event import Header, rfc3339
from bridge.bus_side.dead_letter import NO_TIMESTAMP, letters_of
from bridge.bus_side.forms import NO_ROUTES, By, Forms
from bridge.bus_side.letter import Letter
from bridge.bus_side.record_batch import Compress, RecordBatch, Stream, encode_stream, with_trace
from bridge.bus_side.records import Shape, Shapes, headers_of, trace_of
from bridge.bus_side.refusal import Refusal
from bridge.bus_side.refusals import Refusals
from bridge.bus_side.sink import LaneBatch
from bridge.bus_side.topics import Topic, Topics
from bridge.config import Kafka
from bridge.log.record import Record, RecordError

_NS_PER_MS = 1_000_000


def compression(name: str, level: int | None) -> tuple[int, Compress | None]:
    """The codec's number in a record batch's attributes (KIP-98), and what compresses; `level` None: as it is best."""
    if name == "none":
        return 0, None
    if name == "gzip":
        return 1, partial(codec.gzip_encode, compresslevel=level)
    if name == "lz4":
        return 3, partial(codec.lz4_encode, level=level or 9)
    # Level 1 instead of 3: on batches of telemetry it was a quarter quicker, and not larger.
    return 4, partial(codec.zstd_encode, level=level or 1)


class Lot:
    """What goes to one partition in one transaction."""

    def __init__(self, topic: str, partition: int) -> None:
        self.topic = topic
        self.partition = partition
        self.batches: list[RecordBatch] = []
        self.firsts: list[tuple[str, int]] = []
        """Lane and sequence number of each batch's first record."""
        self.current: RecordBatch | None = None

    def clear(self) -> None:
        self.batches, self.firsts, self.current = [], [], None

    def take(self, other: Lot) -> None:
        """What is in the other one goes out behind what is in this one."""
        self.batches += other.batches
        self.firsts += other.firsts


class LooseLot(Lot):
    """What may go to any partition: in each transaction to one, in the next to the next, so that batches are full."""

    def __init__(self, topic: Topic) -> None:
        super().__init__(topic.name, topic.partitions[0])
        self._partitions = topic.partitions
        self._turn = 0

    def clear(self) -> None:
        """As a lot, and on to the next partition."""
        super().clear()
        self._turn = (self._turn + 1) % len(self._partitions)
        self.partition = self._partitions[self._turn]


class Place(msgspec.Struct, gc=False):
    """Where a stream's records go, and what is the same in all of them."""

    lot: Lot
    stream: Stream
    refusal: Refusal | None = None
    """Set: to the dead letters, record by record, for this reason."""


class Fill:
    """Of one producer's life and one log."""

    def __init__(
        self,
        gateway: str,
        kafka: Kafka,
        topics: Topics,
        refusals: Refusals,
        log_id: bytes,
        stays: Callable[[str, int], bool],
        forms: Forms = NO_ROUTES,
        marks: Sequence[Header] = (),
    ) -> None:
        """Args:
        stays: whether the record of a lane with that number is a dead letter that this gateway keeps already.
        marks: further headers of every record.
        """
        self._gateway = gateway
        self._kafka = kafka
        self._topics = topics
        self._refusals = refusals
        self._log_id = log_id
        self._stays = stays
        self._marks = marks
        self._codec, self._compress = compression(kafka.compression, kafka.compression_level)
        self._ahead_max_ms = int(kafka.timestamp_ahead_max * 1000)
        self._transactional = kafka.delivery == "exactly_once"
        self._shapes: dict[str, Shapes[Place]] = {}
        self._lots: dict[tuple[str, int], Lot] = {}
        self._forms = forms
        self._loose: dict[str, LooseLot] = {}
        self.buried: Counter[tuple[str, Refusal]] = Counter()
        """Dead letters of the last `fill`, by topic and why."""
        self.records: Counter[str] = Counter()
        """Of the last `fill`, by lane: those that went into lots."""
        self.left: list[Letter] = []
        """Of the last `fill`, those that the dead-letter topic does not take: they are in no lot."""

    async def fill(self, batches: Sequence[LaneBatch]) -> list[Lot]:
        """The lots that have something in them. Raises SinkAway where no broker says what partitions a topic has."""
        self.buried.clear()
        self.records.clear()
        self.left = []
        if self._topics.changed():
            self._shapes.clear()
            self._lots.clear()
            self._loose.clear()
        for lot in (*self._lots.values(), *self._loose.values()):
            lot.clear()
        for batch in batches:
            await self._fill_lane(batch)
        for loose in self._loose.values():
            if loose.batches:
                self._lot(loose.topic, loose.partition).take(loose)
        return self._full_lots()

    async def tell(self, events: Sequence[tuple[str, Record]]) -> list[Lot]:
        """Adds events, by lane, to what the last `fill` gave; returns all lots. One that no topic takes is left out.

        Raises:
            SinkAway: as `fill`.
        """
        for lane, event in events:
            shape = self._shapes[lane].of(event)
            place = await self._place(shape) if shape is not None else None
            if place is None or place.refusal is not None:
                continue
            ms, current = event.wall_ns // _NS_PER_MS, place.lot.current
            if current is None or not current.append(place.stream, event.seq, event.payload, ms):
                self._open(place.lot, lane, event).append(place.stream, event.seq, event.payload, ms)
        return self._full_lots()

    def _full_lots(self) -> list[Lot]:
        return [lot for lot in self._lots.values() if lot.batches]

    async def _fill_lane(self, batch: LaneBatch) -> None:
        lane = batch.lane
        shapes = self._shapes.get(lane)
        if shapes is None:
            shapes = self._shapes[lane] = Shapes(
                self._gateway, lane, self._log_id, self._kafka.shape_cache, self._forms
            )
        doomed = self._refusals.of_lane(lane)
        self.records[lane] += len(batch.records)
        latest = time.time_ns() // _NS_PER_MS + self._ahead_max_ms
        for record in batch.records:
            try:
                shape = shapes.of(record)
            except RecordError as error:
                await self._bury(lane, shapes.bare(), record, Refusal("damaged-record", str(error)))
                continue
            if shape is None:
                self.records[lane] -= 1
                continue
            place = shape.place
            if place is None:
                place = shape.place = await self._place(shape)
            refusal = doomed.get(record.seq, place.refusal)
            if refusal is not None:
                await self._bury(lane, shape, record, refusal)
                continue
            ms = record.wall_ns // _NS_PER_MS
            stream = with_trace(place.stream, trace_of(record)) if shape.traced else place.stream
            if ms > latest:
                stream = _from_the_future(shape, record, self._marks)
                ms = latest - self._ahead_max_ms
            current = place.lot.current
            if current is None or not current.append(stream, record.seq, record.payload, ms):
                self._open(place.lot, lane, record).append(stream, record.seq, record.payload, ms)

    async def _place(self, shape: Shape[Place]) -> Place:
        stream = encode_stream(
            shape.key,
            [*shape.headers, *self._marks],
            numbered=shape.numbered,
            tombstone=shape.tombstone,
            event_id=shape.event_id,
            traced=shape.traced,
        )
        if shape.fault is not None:
            return Place(Lot(shape.topic, 0), stream, Refusal(*shape.fault))
        topic = await self._topics.find(shape.topic)
        if isinstance(topic, Refusal):
            return Place(Lot(shape.topic, 0), stream, topic)
        lot = self._lot_by(topic, shape.by)
        if lot is None:
            refusal = Refusal("unknown-partition", f"the topic {topic.name!r} has no partition {shape.by!r}")
            return Place(Lot(shape.topic, 0), stream, refusal)
        return Place(lot, stream)

    def _lot_by(self, topic: Topic, by: By) -> Lot | None:
        """By what decides the partition; None: the topic has no partition of that number."""
        if by is None:
            return self._loose.setdefault(topic.name, LooseLot(topic))
        if isinstance(by, int):
            return self._lot(topic.name, by) if by in topic.partitions else None
        return self._lot(topic.name, topic.partition(by))

    def _lot(self, topic: str, partition: int) -> Lot:
        lot = self._lots.get((topic, partition))
        if lot is None:
            lot = self._lots[topic, partition] = Lot(topic, partition)
        return lot

    def _open(self, lot: Lot, lane: str, record: Record) -> RecordBatch:
        limit = self._refusals.batch_bytes(lot.topic)
        batch = RecordBatch(limit, self._codec, self._compress, transactional=self._transactional)
        lot.current = batch
        lot.batches.append(batch)
        lot.firsts.append((lane, record.seq))
        return batch

    async def _bury(self, lane: str, shape: Shape[Place], record: Record, refusal: Refusal) -> None:
        letters = await self._dead_letter_topic(lane, record, refusal)
        if isinstance(letters, str):
            self.records[lane] -= 1
            self.left.append(Letter(self._gateway, lane, self._log_id, record, shape.topic, refusal, letters))
            return
        self._refusals.buried(lane, record.seq, refusal)
        self.buried[shape.topic, refusal] += 1
        ms = NO_TIMESTAMP if refusal.error == "invalid-timestamp" else record.wall_ns // _NS_PER_MS
        lot = self._lot(letters.name, letters.partition(shape.key))
        own = [*headers_of(shape, record), *self._marks]
        for headers, value in letters_of(own, shape.topic, record.payload, refusal):
            stream = encode_stream(shape.key, headers, numbered=False, tombstone=shape.tombstone)
            if lot.current is None or not lot.current.append(stream, record.seq, value, ms):
                self._open(lot, lane, record).append(stream, record.seq, value, ms)

    async def _dead_letter_topic(self, lane: str, record: Record, refusal: Refusal) -> Topic | str:
        """The topic for this record's letter, or why there is none."""
        if refusal.not_taken:
            return refusal.not_taken
        if not self._kafka.dead_letter_topic:
            return "no kafka.dead_letter_topic is configured"
        if self._stays(lane, record.seq):
            return "it was kept here before"
        letters = await self._topics.find(self._kafka.dead_letter_topic)
        return letters.detail if isinstance(letters, Refusal) else letters


def _from_the_future(shape: Shape[Place], record: Record, marks: Sequence[Header]) -> Stream:
    """For a record that a wrong clock stamped: what that clock said is a header beside the others."""
    said: Header = ("received-at", rfc3339(record.wall_ns // _NS_PER_MS))
    headers = [*headers_of(shape, record), *marks, said]
    return encode_stream(shape.key, headers, numbered=False, tombstone=shape.tombstone)
