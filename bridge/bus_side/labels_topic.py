"""LabelsTopic: what the desired topic has of some devices' labels, and new ones, written after a look."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

import msgspec
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from bridge.bus_side.access import Access, AccessError
from bridge.bus_side.fleet import FleetError
from bridge.bus_side.noise import Noise
from bridge.bus_side.topic_look import TopicLook
from bridge.bus_side.topic_tail import Taken
from bridge.config import Kafka
from bridge.groups import LABELS


class Labelled(msgspec.Struct):
    """What the topic has of one device."""

    labels: dict[str, str]
    version: int | None = None
    """As gateways count it: without one, the record's offset."""


_decode = msgspec.json.Decoder(Labelled).decode


class LabelsTopic:
    """Of some devices. Belongs to one event loop; call `close` at the end."""

    def __init__(
        self,
        kafka: Kafka,
        topic: str,
        devices: Collection[str],
        noise: Noise,
        progress: Callable[[int, int], None],
    ) -> None:
        """Args: as of `TopicLook`; devices: their ids."""
        self.labelled: dict[str, Labelled] = {}
        """What gateways go by, who take no version that is not higher than the last."""
        self._topic = topic
        self._devices = frozenset(devices)
        self._partitions: dict[str, int] = {}
        self._access = Access(kafka)
        self._look = TopicLook(kafka, topic, "downlink.desired_topic, --desired-topic", self._take, noise, progress)

    async def read(self) -> None:
        """Up to the present end. Raises FleetError."""
        await self._look.refresh()

    async def write(self, labelled: Mapping[str, Labelled]) -> None:
        """By device. Call `read` to see whether somebody was quicker.

        Raises:
            FleetError: it may not be written, or Kafka is away; some of it may be there all the same.
        """
        try:
            producer: Any = AIOKafkaProducer(**self._access.settings(), acks="all")
            try:
                await producer.start()
                for device, each in labelled.items():
                    # Where it stands already, its order is kept, also if the topic has more partitions by now.
                    where = self._partitions.get(device)
                    await producer.send(self._topic, msgspec.json.encode(each), f"{LABELS}{device}".encode(), where)
                await producer.flush()
            finally:
                await producer.stop()
        except (AccessError, KafkaError, OSError, TimeoutError) as error:
            raise FleetError(f"the topic {self._topic!r} cannot be written: {self._look.why(error)}") from error

    async def close(self) -> None:
        """Gives the connections back."""
        await self._look.close()

    def _take(self, record: Taken) -> None:
        key = (record.key or b"").decode(errors="replace")
        device = key.removeprefix(LABELS)
        if device == key or device not in self._devices:
            return
        self._partitions[device] = record.partition
        if record.value is None:
            self.labelled.pop(device, None)
            return
        try:
            found = _decode(record.value)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return
        found.version = record.offset if found.version is None else found.version
        before = self.labelled.get(device)
        if before is None or (before.version or 0) < found.version:
            self.labelled[device] = found
