"""TopicTail: a topic read from its beginning to its end, and from there to its new end whenever that is asked for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping
from typing import Any, Final, Protocol

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.errors import (
    ClusterAuthorizationFailedError,
    KafkaError,
    TopicAuthorizationFailedError,
)

from bridge.bus_side.access import Access, AccessError
from bridge.bus_side.memory import give_back
from bridge.bus_side.partitions import FETCH_BYTES, assign_all, has_grown
from bridge.bus_side.sink import SinkAway, SinkRefused
from bridge.config import Kafka

_POLL_MS: Final = 200
_LIMITS: Final = 3
"""Several requests, one after another: so many request time-outs."""
_LOOKUP_WAIT_MS: Final = 10
_LOOKUP_BYTES: Final = 64 << 10
"""Asked for at once where one record is wanted."""
_MANY: Final = 10_000
"""Offsets: to read so many leaves megabytes behind."""
_JUMP: Final = 1000
"""Records that are rather read than jumped over."""
_AT_ONCE: Final = 1000
"""Records between two moments for whatever else there is to do; a batch in the topic may have many more."""
_CLOSE_LIMIT_S: Final = 2.0
Place = tuple[int, int]
"""Partition and offset."""
Taken = ConsumerRecord[bytes | None, bytes | None]


class Tail(Protocol):
    """See `TopicTail`."""

    @property
    def looked(self) -> dict[int, int]: ...

    async def refresh(self) -> None: ...

    async def fetch(self, wanted: Collection[Place]) -> dict[Place, bytes | None]: ...

    async def close(self) -> None: ...


async def values_at(tail: Tail, places: Mapping[str, Place]) -> dict[str, bytes]:
    """By key, what stands there; what has changed since, or was removed, is not in it. Raises SinkAway."""
    if not places:
        return {}
    found = await tail.fetch(places.values())
    return {key: value for key, place in places.items() if (value := found.get(place)) is not None}


class TopicTail:
    """One topic, every partition, as `read_committed`. Belongs to one event loop."""

    def __init__(
        self,
        kafka: Kafka,
        topic: str,
        take: Callable[[Taken], None],
        progress: Callable[[int, int], None] = lambda done, total: None,
    ) -> None:
        """Args:
        take: gets each record, in the order of its partition.
        progress: while a reading goes on, how many offsets of how many are behind it.
        """
        self._access = Access(kafka)
        self._limit_s = kafka.request_timeout * _LIMITS
        self._topic = topic
        self._take = take
        self._progress = progress
        self.partitions = 0
        """Of the topic, as of the last refresh; 0: there is no such topic."""
        self.looked: dict[int, int] = {}
        """By partition, the offset behind what was read."""
        self._consumer: Any = None
        self._lookup: Any = None
        """For single records: the other one waits at the end of the topic, and is slow to turn back."""

    async def refresh(self) -> None:
        """Reads up to the present end. Raises SinkAway."""
        try:
            if self._consumer is None:
                self._consumer = await self._open(max_partition_fetch_bytes=FETCH_BYTES)
            await self._read(self._consumer)
        except AccessError as error:
            raise SinkAway(str(error)) from error
        except (TopicAuthorizationFailedError, ClusterAuthorizationFailedError) as error:
            raise SinkRefused(
                f"this gateway may not read the topic {self._topic!r}, so it cannot know whether another one has newer "
                "documents in it: let it, or say state.roaming = false"
            ) from error
        except (KafkaError, OSError, TimeoutError) as error:
            words = str(error) or "no answer in time"
            raise SinkAway(f"whether {self._topic!r} has newer documents cannot be read: {words}") from error

    async def fetch(self, wanted: Collection[Place]) -> dict[Place, bytes | None]:
        """The values of these records once more; those that compaction has removed are not in it. Raises SinkAway."""
        try:
            if self._lookup is None:
                self._lookup = await self._open(
                    fetch_max_wait_ms=_LOOKUP_WAIT_MS, max_partition_fetch_bytes=_LOOKUP_BYTES
                )
            found: dict[Place, bytes | None] = {}
            for partition in {partition for partition, _ in wanted}:
                offsets = sorted(offset for where, offset in wanted if where == partition)
                async with asyncio.timeout(self._limit_s):
                    await self._look_up(self._lookup, TopicPartition(self._topic, partition), offsets, found)
        except (AccessError, KafkaError, OSError, TimeoutError) as error:
            raise SinkAway(f"the topic {self._topic!r} cannot be read: {str(error) or 'no answer in time'}") from error
        return found

    async def close(self) -> None:
        """Gives the connections back, within a moment; what was read stays with who took it."""
        consumers = [each for each in (self._consumer, self._lookup) if each is not None]
        self._consumer = self._lookup = None
        if consumers:
            # (aiokafka lets the cancellations of its own tasks out where a broker is gone)
            await asyncio.wait([asyncio.ensure_future(each.stop()) for each in consumers], timeout=_CLOSE_LIMIT_S)

    async def _open(self, **settings: int) -> Any:
        consumer = AIOKafkaConsumer(
            **self._access.settings(), enable_auto_commit=False, auto_offset_reset="earliest",
            isolation_level="read_committed", check_crcs=False, **settings,
        )  # fmt: skip
        try:
            async with asyncio.timeout(self._limit_s):
                await consumer.start()
        except BaseException:
            await consumer.stop()
            raise
        return consumer

    async def _look_up(
        self, consumer: Any, where: TopicPartition, offsets: list[int], found: dict[Place, bytes | None]
    ) -> None:
        """Of one partition, in one go from the first to the last; wide holes are jumped over."""
        consumer.assign([where])
        wanted, position = set(offsets), -_JUMP
        while offsets:
            if offsets[0] - position >= _JUMP:
                consumer.seek(where, offsets[0])
            for record in (await consumer.getmany(where, timeout_ms=_POLL_MS)).get(where, ()):
                if record.offset in wanted:
                    found[where.partition, record.offset] = record.value
            position = await consumer.position(where)
            offsets = [offset for offset in offsets if offset >= position]

    async def _read(self, consumer: Any) -> None:
        async with asyncio.timeout(self._limit_s):
            if not consumer.assignment() or has_grown(consumer, self._topic):
                await self._assign(consumer)
            self.partitions = len(consumer.assignment())
            ends = await consumer.end_offsets(consumer.assignment())
            behind = await _behind(consumer, ends)
        total = sum(behind.values())
        while behind:
            async with asyncio.timeout(self._limit_s):
                taken = await consumer.getmany(timeout_ms=_POLL_MS)
            for records in taken.values():
                for record in records:
                    self._take(record)
            async with asyncio.timeout(self._limit_s):
                behind = await _behind(consumer, {partition: ends[partition] for partition in behind})
            self._progress(total - sum(behind.values()), total)
        if total > _MANY:
            give_back()
        async with asyncio.timeout(self._limit_s):
            self.looked = {each.partition: await consumer.position(each) for each in consumer.assignment()}

    async def _assign(self, consumer: Any) -> None:
        """No partitions: there is no such topic, so nothing newer either. More than before: all are read again."""
        if self._topic not in await consumer.topics():
            return
        await assign_all(consumer, self._topic)


async def _behind(consumer: Any, ends: dict[TopicPartition, int]) -> dict[TopicPartition, int]:
    """Partitions that have not been read to their ends, and how many offsets are left of each."""
    left = {partition: end - await consumer.position(partition) for partition, end in ends.items()}
    return {partition: count for partition, count in left.items() if count > 0}
