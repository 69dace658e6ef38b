"""Whether a topic has an open transaction in it, as the broker sees it."""

from __future__ import annotations

import time

from confluent_kafka import IsolationLevel, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec

_PATIENCE_S = 20.0
_NO_LEADER = (KafkaError.NOT_LEADER_FOR_PARTITION, KafkaError.LEADER_NOT_AVAILABLE, KafkaError.UNKNOWN_TOPIC_OR_PART)


def open_transaction(server: str, topic: str) -> bool:
    """The last stable offset of some partition is behind its end: records there wait for their transaction's end."""
    admin = AdminClient({"bootstrap.servers": server})
    found = admin.list_topics(topic, timeout=10).topics[topic].partitions
    places = [TopicPartition(topic, number) for number in found]
    stable, written = (
        _ends(admin, places, level) for level in (IsolationLevel.READ_COMMITTED, IsolationLevel.READ_UNCOMMITTED)
    )
    return stable != written


def _ends(admin: AdminClient, places: list[TopicPartition], level: IsolationLevel) -> dict[TopicPartition, int]:
    """A topic that was made a moment ago has no leader yet: then it is asked again."""
    deadline = time.monotonic() + _PATIENCE_S
    while True:
        answers = admin.list_offsets(dict.fromkeys(places, OffsetSpec.latest()), isolation_level=level)
        try:
            return {place: answer.result().offset for place, answer in answers.items()}
        except KafkaException as error:
            if error.args[0].code() not in _NO_LEADER or time.monotonic() > deadline:
                raise
            time.sleep(0.05)
