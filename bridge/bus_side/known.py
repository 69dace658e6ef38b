"""Known: what the state topic has of each device, as much as is needed to tell newer documents from older ones.

About 250 bytes a device of the whole fleet: where its document stands and a sketch of it, packed, never the document
itself.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Final

import msgspec

from bridge.bus_side.sketch import Half, Presence, Sketch, lease_over, sketch_of
from bridge.bus_side.topic_tail import Tail, Taken, values_at
from bridge.log.record import GATEWAYS

_GATEWAY: Final = "gateway"


class Entry(msgspec.Struct, gc=False, array_like=True):
    """A device's newest document in the topic: of its sketch what decides about another one."""

    partition: int
    offset: int
    presence: Presence | None
    reported_version: int
    desired_version: int

    @property
    def sketch(self) -> Sketch:
        return Sketch(self.presence, Half(self.reported_version), Half(self.desired_version))


_pack = msgspec.msgpack.Encoder().encode
_unpack = msgspec.msgpack.Decoder(Entry).decode


class News(msgspec.Struct, gc=False):
    """Something that the device side should hear of."""

    device: str
    value: bytes | None
    """The document; None: it was removed."""


class Known:
    """Of one topic, for one gateway."""

    def __init__(self, tail: Callable[[Callable[[Taken], None]], Tail], topic: str, gateway: str) -> None:
        """Args:
        tail: reads the topic; it is given what takes each record.
        topic: its name.
        gateway: our id.
        """
        self.topic = topic
        self.gateways: dict[str, Sketch] = {}
        """Their own records, by id."""
        self._entries: dict[str, bytes] = {}
        """Of devices."""
        self._lives: dict[str, Entry] = {}
        """Where gateways' own records stand, by key."""
        self._online: Counter[tuple[str, int]] = Counter()
        """By gateway and epoch, how many devices are online by their word."""
        self._gateway = gateway
        self._writer = (_GATEWAY, gateway.encode())
        self._news: dict[str, News] = {}
        self._tail = tail(self._take)

    @property
    def looked(self) -> dict[int, int]:
        """By partition, the offset up to which the topic is known."""
        return self._tail.looked

    async def refresh(self) -> None:
        """Reads the topic up to its present end: before the first transaction that is open. Raises SinkAway."""
        await self._tail.refresh()

    def has(self, places: Mapping[int, int]) -> bool:
        """Whether what stands at these offsets, by partition, has been decided, and read."""
        return all(self.looked.get(partition, 0) > offset for partition, offset in places.items())

    def entry(self, key: str) -> Entry | None:
        """Of a device, or a gateway's own record by its key; None: the topic has none."""
        packed = self._entries.get(key)
        return _unpack(packed) if packed is not None else self._lives.get(key)

    def news(self) -> list[News]:
        """What others have written about devices of this gateway since the last call; of each device the last."""
        news, self._news = list(self._news.values()), {}
        return news

    async def fetch(self, keys: Iterable[str]) -> dict[str, bytes]:
        """The documents of devices and records of gateways, whole; those that have changed since the last refresh, or
        of which the topic has none, are not in it. Raises SinkAway."""
        entries = {key: entry for key in keys if (entry := self.entry(key)) is not None}
        return await values_at(self._tail, {key: (entry.partition, entry.offset) for key, entry in entries.items()})

    def outlived(self, before: str, but: Collection[str] = ()) -> list[str]:
        """Devices whose documents say `online` though nobody stands for it any more; `before` as in `lease_over`.

        `but`: not the devices of these gateways.
        """
        if not any(
            count and gateway not in but and lease_over(_online(gateway, epoch), self.gateways, before)
            for (gateway, epoch), count in self._online.items()
        ):
            return []  # (nearly always: to look at all of them would take a tenth of a second)
        return [
            name
            for name, packed in self._entries.items()
            if lease_over(each := _unpack(packed).sketch, self.gateways, before) and each.gateway not in but
        ]

    def present(self, names: Collection[str]) -> list[str]:
        """Devices that gateways of these names have not said to be gone."""
        return [
            name
            for name, packed in self._entries.items()
            if (presence := _unpack(packed).presence) is not None
            and presence.state != "offline"
            and presence.gateway in names
        ]

    async def close(self) -> None:
        """Gives the connection back; the next refresh reads from the beginning."""
        await self._tail.close()

    def _take(self, record: Taken) -> None:
        key = (record.key or b"").decode(errors="replace")
        sketch = sketch_of(record.value) if record.value is not None else None
        if key.startswith(GATEWAYS):
            if sketch is None:
                self.gateways.pop(key.removeprefix(GATEWAYS), None)
            else:
                self.gateways[key.removeprefix(GATEWAYS)] = sketch
                self._lives[key] = Entry(record.partition, record.offset, None, 0, 0)
            return
        before = self.entry(key)
        if self._writer in record.headers and not _is_swept(sketch):
            self._news.pop(key, None)  # we have said something since
        elif before is not None and before.offset < record.offset and self._is_ours(before.sketch):
            self._news[key] = News(key, record.value)
        self._keep(key, before, record, sketch)

    def _keep(self, key: str, before: Entry | None, record: Taken, sketch: Sketch | None) -> None:
        if before is not None and before.presence is not None and before.presence.state == "online":
            self._online[before.presence.gateway, before.presence.gateway_epoch] -= 1
        if sketch is None:
            self._entries.pop(key, None)
            return
        presence = sketch.presence
        self._entries[key] = _pack(
            Entry(record.partition, record.offset, presence, sketch.reported_version, sketch.desired_version)
        )
        if presence is not None and presence.state == "online":
            self._online[presence.gateway, presence.gateway_epoch] += 1

    def _is_ours(self, sketch: Sketch) -> bool:
        return sketch.gateway == self._gateway


def _online(gateway: str, epoch: int) -> Sketch:
    """Of a device whose own lease has long been over."""
    return Sketch(Presence("online", gateway, epoch))


def _is_swept(sketch: Sketch | None) -> bool:
    """Nobody's word, whoever wrote it."""
    return sketch is not None and sketch.presence is not None and sketch.presence.state == "unknown"
