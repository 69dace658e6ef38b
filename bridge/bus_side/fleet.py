"""Fleet: what commands do with the whole state topic: read it, sweep dead gateways' devices, remove a device."""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial
from typing import Any, Final

import msgspec
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from bridge.bus_side.access import Access, AccessError
from bridge.bus_side.gap import rfc3339
from bridge.bus_side.known import Known
from bridge.bus_side.sink import SinkAway
from bridge.bus_side.sketch import swept
from bridge.bus_side.topic_tail import TopicTail
from bridge.config import Kafka

_GATEWAY: Final = "gateway"


class FleetError(Exception):
    """Kafka does not say or do what it is asked; the text says why."""


class Member(msgspec.Struct):
    """A device's document, and where in the topic it stands."""

    device: str
    partition: int
    document: bytes


class Fleet:
    """One state topic, in the name of one gateway. Call `close` at the end."""

    def __init__(self, kafka: Kafka, topic: str, gateway: str) -> None:
        self._access = Access(kafka)
        self._gateway = gateway
        self._known = Known(partial(TopicTail, kafka, topic), topic, gateway)

    async def read(self) -> None:
        """Up to the present end. Raises FleetError."""
        try:
            await self._known.refresh()
        except SinkAway as error:
            raise FleetError(str(error)) from error

    async def outlived(self, margin_s: float) -> list[Member]:
        """Devices whose documents say `online`, and the lease of whose gateways is over for `margin_s`.

        Raises:
            FleetError: Kafka is away.
        """
        before = rfc3339(time.time_ns() - int(margin_s * 1e9))
        return await self._members(self._known.outlived(before))

    async def say_unknown(self, members: list[Member]) -> list[str]:
        """Writes that nobody knows of them; returns those whose document was not replaced meanwhile.

        Whoever has connected between the look and the write is told as unknown for a moment: its gateway sees that and
        says again what is true. Raises FleetError.
        """
        await self.read()
        present = [each.device for each in members if self._known.entry(each.device) is not None]
        same = [each for each in await self._members(present) if each in members]
        await self._write([(each.device, each.partition, swept(each.document, self._known.gateways)) for each in same])
        return [each.device for each in same]

    async def remove(self, name: str) -> bool:
        """Writes a tombstone for a device, or with `gateway/` before it a gateway; False: there is none of that name.

        Raises:
            FleetError: Kafka is away.
        """
        entry = self._known.entry(name)
        if entry is None:
            return False
        await self._write([(name, entry.partition, None)])
        return True

    async def close(self) -> None:
        """Gives the connection back."""
        await self._known.close()

    async def _members(self, devices: Sequence[str]) -> list[Member]:
        try:
            values = await self._known.fetch(devices)
        except SinkAway as error:
            raise FleetError(str(error)) from error
        entries = {device: self._known.entry(device) for device in values}
        return [
            Member(device, entry.partition, values[device]) for device, entry in entries.items() if entry is not None
        ]

    async def _write(self, records: list[tuple[str, int, bytes | None]]) -> None:
        if not records:
            return
        producer: Any = None
        try:
            producer = AIOKafkaProducer(**self._access.settings(), enable_idempotence=True)
            await producer.start()
            for key, partition, value in records:
                # A tombstone is nobody's word: the gateway of this id has to hear of it, too.
                headers = [(_GATEWAY, self._gateway.encode())] if value is not None else []
                await producer.send(self._known.topic, value, key.encode(), partition, headers=headers)
            await producer.flush()
        except (AccessError, KafkaError, OSError) as error:
            raise FleetError(f"the topic {self._known.topic!r} cannot be written: {error}") from error
        finally:
            if producer is not None:
                await producer.stop()
