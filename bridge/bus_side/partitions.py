"""Partitions: all of a topic, for a consumer that reads it as a whole."""

from __future__ import annotations

import asyncio
from typing import Any, Final

from aiokafka import AIOKafkaConsumer, TopicPartition

FETCH_BYTES: Final = 128 << 10
"""Asked for at once, of each partition: it may be thirty times that unpacked, and a process keeps what it once took."""
_PAUSE_S: Final = 0.1


async def assign_all(consumer: AIOKafkaConsumer, topic: str) -> None:
    """Gives the consumer every partition; waits until Kafka says which there are: the caller sets the time limit.

    In one go: a consumer with a group that gets a second assignment while it looks for the group's coordinator ends
    that search with an AssertionError (aiokafka 0.14), and has to be started again.
    """
    client: Any = consumer._client  # nobody else can ask for a topic that is not assigned yet
    answered = client.set_topics([topic])
    while True:
        await answered
        if partitions := consumer.partitions_for_topic(topic):
            break
        await asyncio.sleep(_PAUSE_S)
        answered = client.force_metadata_update()
    consumer.assign([TopicPartition(topic, partition) for partition in sorted(partitions)])


def has_grown(consumer: AIOKafkaConsumer, topic: str) -> bool:
    """Whether the topic has more partitions than the consumer was given."""
    return len(consumer.partitions_for_topic(topic) or ()) > len(consumer.assignment())
