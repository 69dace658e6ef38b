"""Wanted: where in the desired topic the newest record of each key stands, so that a device's can be read by its key.

About 200 bytes a key of the whole fleet, never what the record holds.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from bridge.bus_side.topic_tail import Taken, TopicTail, values_at
from bridge.config import Kafka


class Place(msgspec.Struct, gc=False):
    """Of a key's newest record."""

    partition: int
    offset: int
    version: int
    """As it says, else the offset; -1: it is a tombstone."""


class _Version(msgspec.Struct):
    version: int | None = None


_decode = msgspec.json.Decoder(_Version).decode


class Wanted:
    """Of one desired topic."""

    def __init__(self, kafka: Kafka, topic: str) -> None:
        self.topic = topic
        self.places: dict[str, Place] = {}
        self._tail = TopicTail(kafka, topic, self._take)

    async def refresh(self) -> None:
        """Reads the topic up to its present end. Raises SinkAway."""
        await self._tail.refresh()

    async def fetch(self, keys: Iterable[str]) -> dict[str, bytes]:
        """The values of these keys, so far as the topic has them and they have not changed since. Raises SinkAway."""
        places = {key: place for key in keys if (place := self.places.get(key)) is not None}
        return await values_at(self._tail, {key: (place.partition, place.offset) for key, place in places.items()})

    async def close(self) -> None:
        """Gives the connection back; the next refresh reads from the beginning."""
        await self._tail.close()

    def _take(self, record: Taken) -> None:
        if record.key is None:
            return
        version = -1 if record.value is None else _version_of(record.value, record.offset)
        self.places[record.key.decode(errors="replace")] = Place(record.partition, record.offset, version)


def _version_of(value: bytes, offset: int) -> int:
    """Garbage has a version as well: who fetches it sees what it is."""
    try:
        version = _decode(value).version
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return offset
    return offset if version is None else version
