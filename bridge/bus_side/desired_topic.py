"""DesiredTopic: what the topic of desired states has for one device, and a new version of it, written after a look."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from bridge.bus_side.access import Access, AccessError
from bridge.bus_side.fleet import FleetError
from bridge.bus_side.noise import Noise
from bridge.bus_side.topic_look import TopicLook
from bridge.bus_side.topic_tail import Place, Taken
from bridge.config import Kafka


class Standing(msgspec.Struct, frozen=True):
    """A record of the device."""

    place: Place
    version: int
    """As gateways count it: without one, the record's offset."""
    state: dict[str, Any] | None
    """None: it was removed."""


class _Value(msgspec.Struct):
    state: dict[str, Any]
    version: int | None = None


_decode = msgspec.json.Decoder(_Value).decode


class DesiredTopic:
    """Of one device. Belongs to one event loop; call `close` at the end."""

    def __init__(
        self, kafka: Kafka, topic: str, device: str, noise: Noise, progress: Callable[[int, int], None]
    ) -> None:
        """Args: as of `TopicLook`; device: its id."""
        self.standing: Standing | None = None
        """What gateways go by, who take no version that is not higher than the last; None: there is nothing."""
        self.highest = 0
        """The highest version that was seen, also before a removal."""
        self.refused: set[Place] = set()
        """Records that gateways do not take, for their version was not higher."""
        self._topic = topic
        self._key = device.encode()
        self._access = Access(kafka)
        self._look = TopicLook(kafka, topic, "downlink.desired_topic, --desired-topic", self._take, noise, progress)

    async def read(self) -> None:
        """Up to the present end. Raises FleetError."""
        await self._look.refresh()

    async def write(self, value: bytes | None) -> Place:
        """Where the record stands then; None removes. Call `read` to see whether somebody was quicker.

        Raises:
            FleetError: it may not be written, or Kafka is away; it may be there all the same.
        """
        try:
            producer: Any = AIOKafkaProducer(**self._access.settings(), acks="all")
            try:
                await producer.start()
                # Where it stands already, its order is kept, also if the topic has more partitions by now.
                partition = self.standing.place[0] if self.standing is not None else None
                sent = await producer.send_and_wait(self._topic, value, self._key, partition)
            finally:
                await producer.stop()
        except (AccessError, KafkaError, OSError, TimeoutError) as error:
            raise FleetError(f"the topic {self._topic!r} cannot be written: {self._look.why(error)}") from error
        return sent.partition, sent.offset

    async def close(self) -> None:
        """Gives the connections back."""
        await self._look.close()

    def _take(self, record: Taken) -> None:
        if record.key != self._key:
            return
        place = (record.partition, record.offset)
        if record.value is None:
            self.standing = Standing(place, 0, None)
            return
        try:
            value = _decode(record.value)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return
        version = record.offset if value.version is None else value.version
        if self.standing is not None and self.standing.state is not None and version <= self.standing.version:
            self.refused.add(place)
            return
        self.standing = Standing(place, version, value.state)
        self.highest = max(self.highest, version)
