"""A command to a device, sent by way of Kafka, and its final outcome waited for."""

from __future__ import annotations

import asyncio
import datetime
import secrets
from typing import Any

import msgspec
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from bridge.bus_side.access import Access
from bridge.config import Downlink, Kafka

FINAL = frozenset({"succeeded", "failed", "expired", "cancelled", "refused"})
_POLL_MS = 500
LINGER_S = 15.0
"""How long after the deadline an outcome may be on its way."""


class NoOutcome(Exception):
    """Nobody said what became of it."""


class NoTopic(Exception):
    """Kafka has no such topic, or does not show it."""


def send_and_wait(
    kafka: Kafka, downlink: Downlink, device: str, name: str, payload: object, qos: int, deadline_s: float
) -> bytes:
    """The value of the outcome's record. `payload`: UNSET for none.

    Raises:
        NoOutcome: none came; no gateway knows the device, or its gateway is away.
        NoTopic: nothing was sent.
        AccessError, KafkaError: Kafka cannot be used.
    """
    command_id, order = order_of(name, payload, qos, deadline_s)
    try:
        return asyncio.run(_send(kafka, downlink, device, command_id, order, deadline_s))
    except TimeoutError:
        raise NoOutcome(
            f"command {command_id}: no outcome came; its gateway is away, or no gateway knows {device}"
        ) from None


def order_of(name: str, payload: object, qos: int, deadline_s: float) -> tuple[str, bytes]:
    """A new command's id, and its record's value. `payload`: UNSET for none."""
    command_id = secrets.token_hex(8)
    deadline = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=deadline_s)
    order = {"id": command_id, "name": name, "qos": qos, "deadline": deadline.isoformat(timespec="milliseconds")}
    if payload is not msgspec.UNSET:
        order["payload"] = payload
    return command_id, msgspec.json.encode(order)


async def _send(
    kafka: Kafka, downlink: Downlink, device: str, command_id: str, order: bytes, deadline_s: float
) -> bytes:
    settings = Access(kafka).settings()
    consumer = AIOKafkaConsumer(**settings, isolation_level="read_committed", auto_offset_reset="latest")
    producer = AIOKafkaProducer(**settings, acks="all")
    async with asyncio.timeout(deadline_s + LINGER_S):
        await consumer.start()
        try:
            # Its end is looked for before the command is sent: the outcome lies behind it.
            await partitions_of(consumer, downlink.command_topic or "")
            partitions = await partitions_of(consumer, downlink.outcome_topic)
            consumer.assign(partitions)
            await consumer.seek_to_end(*partitions)
            await producer.start()
            await producer.send_and_wait(downlink.command_topic or "", order, key=device.encode())
            return await _final(consumer, command_id)
        finally:
            await producer.stop()
            await consumer.stop()


async def partitions_of(consumer: Any, topic: str) -> list[TopicPartition]:
    """All there are. Raises NoTopic."""
    if topic not in await consumer.topics():
        raise NoTopic(f"Kafka has no topic {topic!r}, or does not show it to this account: no command was sent")
    consumer.assign([TopicPartition(topic, 0)])
    while not (partitions := consumer.partitions_for_topic(topic)):  # noqa: ASYNC110 - no event for it
        await asyncio.sleep(0.1)
    return [TopicPartition(topic, partition) for partition in sorted(partitions)]


async def _final(consumer: Any, command_id: str) -> bytes:
    while True:
        for records in (await consumer.getmany(timeout_ms=_POLL_MS)).values():
            for record in records:
                value = bytes(record.value or b"{}")
                outcome = msgspec.json.decode(value)
                if outcome.get("id") == command_id and outcome.get("outcome") in FINAL:
                    return value
