"""Partitions: all of a topic, for a consumer that reads it as a whole."""

from __future__ import annotations

import asyncio
from typing import Final

from aiokafka import AIOKafkaConsumer, TopicPartition

_PAUSE_S: Final = 0.1


async def assign_all(consumer: AIOKafkaConsumer, topic: str) -> None:
    """Gives the consumer every partition; waits until Kafka says which there are: the caller sets the time limit.

    One is named first: only topics of an assignment appear in aiokafka's metadata.
    """
    consumer.assign([TopicPartition(topic, 0)])
    while not (partitions := consumer.partitions_for_topic(topic)):  # noqa: ASYNC110 - no event for it
        await asyncio.sleep(_PAUSE_S)
    consumer.assign([TopicPartition(topic, partition) for partition in sorted(partitions)])


def has_grown(consumer: AIOKafkaConsumer, topic: str) -> bool:
    """Whether the topic has more partitions than the consumer was given."""
    return len(consumer.partitions_for_topic(topic) or ()) > len(consumer.assignment())
