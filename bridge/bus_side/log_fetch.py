"""Log fetch: a partition's batches as they stand in the log, with their producers and the markers of transactions.

aiokafka's consumer keeps those to itself; with `read_uncommitted` it gives what was aborted as if nothing had happened.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final

from aiokafka import TopicPartition
from aiokafka.client import AIOKafkaClient
from aiokafka.errors import OffsetOutOfRangeError, for_code
from aiokafka.protocol.fetch import FetchRequest
from aiokafka.record.control_record import COMMIT_MARKER, ControlRecord
from aiokafka.record.memory_records import MemoryRecords

from bridge.bus_side.claims import Chunk, GoneError

_READ_UNCOMMITTED: Final = 0
_BYTES: Final = 1 << 20
"""Of one answer; a batch that is larger comes whole all the same (KIP-74)."""
_NO_PRODUCER: Final = -1
_PAUSE_S: Final = 0.02


async def read_log(
    client: AIOKafkaClient, topic: str, partition: int, offsets: range, take: Callable[[Chunk], None]
) -> None:
    """Gives `take` every batch that has one of these offsets, in their order.

    Tries until the partition's leader has answered for all of them: the caller sets the time limit.

    Raises:
        GoneError: the first of them is not there any more.
        KafkaError: the leader refuses, or the connection broke.
    """
    position = offsets.start
    while position < offsets.stop:
        chunks = await _fetch(client, topic, partition, position)
        for chunk in chunks:
            position = chunk.next_offset
            take(chunk)
        if not chunks:
            await asyncio.sleep(_PAUSE_S)


async def _fetch(client: AIOKafkaClient, topic: str, partition: int, offset: int) -> list[Chunk]:
    """What one answer has; empty: ask again."""
    leader = client.cluster.leader_for_partition(TopicPartition(topic, partition))
    if leader is None or leader < 0:
        await client.force_metadata_update()
        return []
    request = FetchRequest(0, 0, _BYTES, _READ_UNCOMMITTED, [(topic, [(partition, offset, _BYTES)])])
    response = await client.send(leader, request)
    ((_, ((_, code, *_, batches),)),) = response.topics
    error = for_code(code)
    if error is OffsetOutOfRangeError:
        raise GoneError(f"{topic!r}, partition {partition}, offset {offset}")
    if code and error.invalid_metadata:
        await client.force_metadata_update()
        return []
    if code:
        raise error(f"the topic {topic!r} cannot be read")
    return _chunks(batches)


def _chunks(batches: bytes | None) -> list[Chunk]:
    chunks: list[Chunk] = []
    memory = MemoryRecords(batches or b"")
    while memory.has_next():
        chunks.append(_chunk(memory.next_batch()))
    return chunks


def _chunk(batch: Any) -> Chunk:
    records = list(batch)
    producer = batch.producer_id if batch.is_transactional and batch.producer_id != _NO_PRODUCER else None
    if batch.is_control_batch:
        ends = ControlRecord.parse(records[0].key) == COMMIT_MARKER if records else None
        return Chunk(producer, ends, [], batch.next_offset)
    said = [(record.offset, record.key or b"", record.value) for record in records]
    return Chunk(producer, None, said, batch.next_offset)
