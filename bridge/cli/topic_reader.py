"""Reading a Kafka topic from its beginning to where it ends now, as `read_committed`."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from aiokafka import AIOKafkaConsumer
from aiokafka.errors import KafkaError

from bridge.cli.exported import Record, RecordError, of_topic

REQUEST_TIMEOUT_MS = 10_000
POLL_MS = 500
IDLE_S = 3.0
"""Nothing new for so long ends the reading, too: the end may lie behind a transaction that is still open."""


class TopicError(Exception):
    """Kafka cannot be reached, or has no such topic."""


def read_topic(server: str, topic: str, most: int | None) -> Iterator[Record | RecordError]:
    """Yield the topic's records, `most` at the most; what is wrong with one is given in its place.

    Raises:
        TopicError: see there.
    """
    with asyncio.Runner() as runner, _quiet_client():
        try:
            consumer = runner.run(_started(server, topic))
            try:
                yield from _records(runner, consumer, most)
            finally:
                runner.run(consumer.stop())
        except KafkaError as error:
            raise TopicError(f"reading {topic} from Kafka at {server} failed: {error}") from error


def _records(runner: asyncio.Runner, consumer: Any, most: int | None) -> Iterator[Record | RecordError]:
    ends = runner.run(consumer.end_offsets(consumer.assignment()))
    left = most if most is not None else sum(ends.values())
    deadline = time.monotonic() + IDLE_S
    while left > 0 and time.monotonic() < deadline:
        batches = runner.run(consumer.getmany(timeout_ms=POLL_MS, max_records=min(left, 5000)))
        for batch in batches.values():
            left -= len(batch)
            deadline = time.monotonic() + IDLE_S
            yield from map(_record, batch)
        if not batches and runner.run(_behind_nothing(consumer, ends)):
            return


async def _behind_nothing(consumer: Any, ends: dict[Any, int]) -> bool:
    return all([await consumer.position(partition) >= end for partition, end in ends.items()])


async def _started(server: str, topic: str) -> Any:
    known = await _start(_consumer(server), server)
    try:
        # Asked first, by a consumer of its own: to subscribe to a topic that is not there would make it.
        if topic not in await known.topics():
            raise TopicError(f"Kafka at {server} has no topic {topic}")
    finally:
        await known.stop()
    return await _start(_consumer(server, topic), server)


async def _start(consumer: Any, server: str) -> Any:
    try:
        await consumer.start()
    except (KafkaError, OSError) as error:
        await consumer.stop()
        raise TopicError(f"Kafka at {server} cannot be reached: it does not answer") from error
    return consumer


def _consumer(server: str, *topics: str) -> Any:
    new_consumer: Callable[..., Any] = AIOKafkaConsumer  # aiokafka has no types
    return new_consumer(
        *topics,
        bootstrap_servers=server,
        isolation_level="read_committed",
        auto_offset_reset="earliest",
        enable_auto_commit=False,
        request_timeout_ms=REQUEST_TIMEOUT_MS,
    )


def _record(message: Any) -> Record | RecordError:
    try:
        return of_topic(message.key or b"", dict(message.headers), message.value)
    except RecordError as error:
        return RecordError(f"partition {message.partition}, offset {message.offset}: {error}")


@contextmanager
def _quiet_client() -> Iterator[None]:
    """Keep aiokafka's log off stderr: what matters of it becomes one plain sentence."""
    logger, silence = logging.getLogger("aiokafka"), logging.NullHandler()
    logger.addHandler(silence)
    before, logger.propagate = logger.propagate, False
    try:
        yield
    finally:
        logger.propagate = before
        logger.removeHandler(silence)
