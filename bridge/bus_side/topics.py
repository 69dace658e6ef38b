"""Topics: which partitions a topic has and which of them a key belongs to, or why a topic cannot be written to."""

from __future__ import annotations

import asyncio
import time

from aiokafka.client import AIOKafkaClient
from aiokafka.errors import KafkaError
from aiokafka.partitioner import murmur2

from bridge.bus_side.plain_words import explain
from bridge.bus_side.refusal import Refusal
from bridge.bus_side.refusals import Refusals
from bridge.bus_side.sink import SinkAway
from bridge.bus_side.topic_maker import TopicMaker

_PAUSE_S = 0.05


class Topic:
    """A topic that can be written to."""

    def __init__(self, name: str, partitions: set[int], keys_max: int) -> None:
        self.name = name
        self.partitions = sorted(partitions)
        self._keys_max = keys_max
        self._of_key: dict[bytes, int] = {}

    def partition(self, key: bytes) -> int:
        """As the Java client's default partitioner: murmur2 of the key, made positive, modulo the partitions."""
        found = self._of_key.get(key)
        if found is None:
            if len(self._of_key) >= self._keys_max:
                self._of_key.clear()
            found = self.partitions[(murmur2(key) & 0x7FFFFFFF) % len(self.partitions)]
            self._of_key[key] = found
        return found


class Topics:
    """All topics of one producer."""

    def __init__(
        self, client: AIOKafkaClient, maker: TopicMaker | None, refusals: Refusals, *, timeout_s: float, keys_max: int
    ) -> None:
        """`maker`: None leaves it to Kafka to make a topic that is asked for."""
        self._client = client
        self._maker = maker
        self._refusals = refusals
        self._timeout_s = timeout_s
        self._keys_max = keys_max
        self._known: dict[str, Topic] = {}

    async def find(self, name: str) -> Topic | Refusal:
        """The topic, or why there is none.

        Raises:
            SinkAway: nobody can say, because no broker answers.
        """
        refused = self._refusals.of_topic(name)
        if refused is not None:
            return refused
        topic = self._known.get(name)
        if topic is not None:
            return topic
        try:
            reason = await self._maker.make(name) if self._maker is not None else ""
        except KafkaError as error:
            raise SinkAway(f"no broker says whether there is a topic {name!r}: {explain(error)}") from error
        answer = await self._ask(name, reason or "Kafka does not create it")
        if isinstance(answer, Refusal):
            self._refusals.refuse_topic(name, answer)
        else:
            self._known[name] = answer
        return answer

    def changed(self) -> bool:
        """True if an earlier answer of `find` no longer holds; those answers are forgotten."""
        grown = [name for name, topic in self._known.items() if self._count(name) != len(topic.partitions)]
        for name in grown:
            del self._known[name]
        return self._refusals.expired() or bool(grown)

    def _count(self, name: str) -> int:
        partitions = self._client.cluster.partitions_for_topic(name)
        # Metadata may leave a topic out for a moment (a leader is being elected): no reason to think it smaller.
        return len(partitions) if partitions else len(self._known[name].partitions)

    async def _ask(self, name: str, reason: str) -> Topic | Refusal:
        """aiokafka's own wait tells "no such topic" not from "no answer", so it is done here."""
        deadline = time.monotonic() + self._timeout_s
        # For a topic that it knows of already, `add_topic` asks nobody.
        self._client.add_topic(name)
        answered = await self._client.force_metadata_update()
        while True:
            partitions = self._client.cluster.partitions_for_topic(name)
            if partitions:
                return Topic(name, partitions, self._keys_max)
            if name in self._client.cluster.unauthorized_topics:
                return Refusal("not-authorised", f"this gateway may not write to the topic {name!r}")
            if time.monotonic() > deadline:
                break
            await asyncio.sleep(_PAUSE_S)
            answered = await self._client.force_metadata_update()
        if not answered:
            raise SinkAway("no broker answers a request for metadata")
        return Refusal("unknown-topic", f"the topic {name!r} does not exist: {reason}")
