"""Newcomers: a device that connects gets what the desired topic has for it, though nobody here knew it before.

A stage between the forwarder and Kafka. The device side keeps desired states and labels of devices that have a document
here, and passes over those of the rest of the fleet. So when a document says that a device has connected, its keys are
looked up, and what the document does not have goes into the downlink log. Nothing is lost between the two: what was
passed over stands in the topic before the document is seen here. What is desired of groups concerns whoever may come:
the device side has all of it, and it is told again once in each life of this side.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterator, Sequence

from bridge.bus_side.desired import NotDesired
from bridge.bus_side.sink import LaneBatch, Sink, SinkAway, SinkRefused, Written
from bridge.bus_side.sketch import Sketch, sketch_of
from bridge.bus_side.stage import Stage, without_documents
from bridge.bus_side.wanted import Wanted
from bridge.groups import GROUPS, LABELS
from bridge.log.record import DOCUMENT, GATEWAYS, Record, RecordError, decode_context

_log = logging.getLogger(__name__)


class Newcomers(Stage):
    """See `sink.Sink`."""

    def __init__(
        self,
        inner: Sink,
        wanted: Wanted,
        encode: Callable[[bytes | None, bytes | None, int], bytes],
        tell: Callable[[list[bytes]], Awaitable[int]],
        gateway: str,
    ) -> None:
        """Args:
        inner: what stands behind it.
        wanted: what the topic has.
        encode: makes the downlink record of key, value and offset; raises NotDesired.
        tell: brings downlink records to the device side; returns how many of them there was room for.
        gateway: our id.
        """
        super().__init__(inner)
        self._wanted = wanted
        self._encode = encode
        self._tell = tell
        self._gateway = gateway
        self._seen: dict[str, str] = {}
        """Devices that are online here: when the connection began that was looked at."""
        self._due: dict[str, Sketch] = {}
        """Devices that have connected and were not told yet: what their document has."""
        self._refused = False
        self._groups_told = False
        """A new disk has lost them, and the consumer does not read them again."""

    async def write(self, batches: Sequence[LaneBatch]) -> Written:
        """See `Sink.write`."""
        for batch in batches:
            for record in batch.records:
                if record.kind == DOCUMENT:
                    self._look(record)
        try:
            await self._serve()
        except SinkAway:
            others = without_documents(batches)
            if others:  # a topic that cannot be read holds documents up, and nothing else
                await self._inner.write(others)
            raise
        return await self._inner.write(batches)

    async def probe(self) -> None:
        """See `Sink.probe`; and what found no room in the downlink log is tried again."""
        await super().probe()
        await self._serve()

    async def stop(self) -> None:
        """See `Sink.stop`."""
        await super().stop()
        await self._wanted.close()

    def _look(self, record: Record) -> None:
        try:
            device = decode_context(record.context)[0]
        except RecordError:
            return
        sketch = Sketch() if device.startswith(GATEWAYS) else sketch_of(record.payload)
        presence = sketch.presence
        if presence is None or presence.state != "online" or presence.gateway != self._gateway:
            self._seen.pop(device, None)
        elif self._seen.get(device) != sketch.connected:
            self._seen[device] = sketch.connected
            self._due[device] = sketch

    async def _serve(self) -> None:
        """Tells what is due. What is told twice has its version."""
        if not self._due and self._groups_told:
            return
        try:
            await self._wanted.refresh()
            records = await self._missing()
        except SinkRefused:
            if not self._refused:
                self._refused = True
                _log.warning(
                    "devices that connect are not told what %s has for them: it may not be read", self._wanted.topic
                )
            return
        self._refused = False
        if not records or await self._tell(records) == len(records):
            self._due.clear()
            self._groups_told = True

    async def _missing(self) -> list[bytes]:
        places = self._wanted.places
        wanted = {key: places[key] for key in self._outdated()}
        values = await self._wanted.fetch(key for key, place in wanted.items() if place.version >= 0)
        records = []
        for key, place in wanted.items():
            if key not in values and place.version >= 0:
                continue  # it has changed since: the consumer brings it
            try:
                records.append(self._encode(key.encode(), values.get(key), place.offset))
            except NotDesired as error:
                _log.debug("what the topic %s has for %s is passed over: %s", self._wanted.topic, key, error)
        return records

    def _outdated(self) -> Iterator[str]:
        """Keys of which the topic has something else than the document. (None at all says nothing: a topic may forget.)

        A tombstone counts, too: it may have been read while the device was somewhere else.
        """
        if not self._groups_told:
            yield from (key for key in self._wanted.places if key.startswith(GROUPS))
        for device, sketch in self._due.items():
            for key, version in ((device, sketch.own_version), (f"{LABELS}{device}", sketch.labels_version)):
                place = self._wanted.places.get(key)
                if place is None:
                    continue
                if place.version > version or (place.version < 0 and version > 0):
                    yield key
