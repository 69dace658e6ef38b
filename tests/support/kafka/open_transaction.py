"""Whether a topic has an open transaction in it, as the broker sees it."""

from __future__ import annotations

from confluent_kafka import IsolationLevel, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec


def open_transaction(server: str, topic: str) -> bool:
    """The last stable offset of some partition is behind its end: records there wait for their transaction's end."""
    admin = AdminClient({"bootstrap.servers": server})
    found = admin.list_topics(topic, timeout=10).topics[topic].partitions
    ends = {TopicPartition(topic, number): OffsetSpec.latest() for number in found}
    stable, written = (
        {where: listed.result().offset for where, listed in admin.list_offsets(ends, isolation_level=level).items()}
        for level in (IsolationLevel.READ_COMMITTED, IsolationLevel.READ_UNCOMMITTED)
    )
    return stable != written
