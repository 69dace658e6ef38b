"""TopicMaker: makes the topics that are not there, where `kafka.create_topics` asks for it.

Whether a topic is there is asked without having the broker make it: its own defaults would come before what the
configuration says.
"""

from __future__ import annotations

from typing import Any, Final

from aiokafka.client import AIOKafkaClient
from aiokafka.errors import for_code
from aiokafka.protocol.admin import CreateTopicsRequest
from aiokafka.protocol.metadata import MetadataRequest

from bridge.config import Kafka

_UNKNOWN: Final = 3
_EXISTS: Final = 36


class TopicMaker:
    """Of one client. `compacted` are those topics of which the last record of each key is kept."""

    def __init__(self, client: AIOKafkaClient, kafka: Kafka, compacted: frozenset[str]) -> None:
        self._client = client
        self._kafka = kafka
        self._compacted = compacted

    async def make(self, name: str, *, only_ask: bool = False) -> str:
        """Makes the topic if there is none, or with `only_ask` finds out whether it could.

        Returns: why it can not be made; empty: it is there now (or would be).

        Raises:
            KafkaError: no broker answers, or the cluster cannot do it now (no controller, or no word of it in time).
        """
        if not await self.missing(name):
            return ""
        request = CreateTopicsRequest([self._wanted(name)], int(self._kafka.request_timeout * 1000), only_ask)
        response = await self._client.send(self._client.get_random_node(), request)
        _, code, message = response.topic_errors[0]
        if code in (0, _EXISTS):
            return ""
        error = for_code(code)
        if error.retriable:
            raise error(str(message or error.description))
        return str(message or error.description)

    async def missing(self, name: str) -> bool:
        """True if Kafka says that there is no such topic. Raises KafkaError."""
        request = MetadataRequest([name], allow_auto_topic_creation=False)
        response = await self._client.send(self._client.get_random_node(), request)
        return any(topic[0] == _UNKNOWN for topic in response.topics)

    def _wanted(self, name: str) -> tuple[Any, ...]:
        settings = []
        if name in self._compacted:
            settings.append(("cleanup.policy", "compact"))
        elif self._kafka.topic_retention is not None:
            settings.append(("retention.ms", str(int(self._kafka.topic_retention * 1000))))
        return (name, self._kafka.topic_partitions, self._kafka.topic_replication, [], settings)
