"""A consumer is given a topic's partitions at once: a second assignment would trip over the search for its group."""

from __future__ import annotations

import time

from aiokafka import AIOKafkaConsumer

from bridge.bus_side.partitions import assign_all, has_grown


class Watched(AIOKafkaConsumer):
    """Remembers what it was given."""

    def assign(self, partitions):
        given = [*getattr(self, "given", ()), sorted(each.partition for each in partitions)]
        self.given = given
        super().assign(partitions)


async def test_all_partitions_in_one_assignment(kafka, make_topic):
    topic = f"partitions-{time.time_ns()}"
    make_topic(kafka.address, topic, 5)
    consumer = Watched(bootstrap_servers=kafka.address, group_id=f"group-{topic}", enable_auto_commit=False)
    await consumer.start()
    try:
        await assign_all(consumer, topic)
        assert consumer.given == [[0, 1, 2, 3, 4]]
        assert not has_grown(consumer, topic)
    finally:
        await consumer.stop()
