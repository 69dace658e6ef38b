"""Adopt: the unsent part of a dead gateway's queue goes to Kafka, by the way and in the name of that gateway.

It stands where the device side stood: it rings the bell of an ordinary bus side that works on the dead directory, with
the dead gateway's transactional id (so that it is fenced, should it live) and its groups (so that what Kafka has is not
sent again, and an adoption that is killed goes on where it was). It decides nothing else itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import msgspec
from aiokafka.client import AIOKafkaClient
from aiokafka.errors import KafkaError

from bridge.bus_side.access import Access, AccessError
from bridge.bus_side.main import serve
from bridge.bus_side.newest import NewestDocuments, OnlyNewest
from bridge.bus_side.noise import Noise
from bridge.bus_side.offset_fetch import committed_offset
from bridge.bus_side.sink import Sink
from bridge.bus_side.stage import Stage
from bridge.config import Config, Kafka
from bridge.log import doorbell
from bridge.log.boot_clocks import BootClocks
from bridge.log.doorbell import Doorbell, DoorbellClosed, Health, Note

_LIMITS: Final = 3
"""Several requests, one after another: so many request time-outs."""


class KafkaUnreachable(Exception):
    """Kafka does not say what it has; the text says why."""


class Held(msgspec.Struct, frozen=True):
    """What Kafka has as a lane's position."""

    position: int
    log: str
    """The log's id, 32 hexadecimal digits."""


class Fenced(Exception):
    """Somebody else took the dead gateway's transactional id over; the text says so in plain words."""


class Outcome(msgspec.Struct):
    """What an adoption did."""

    complete: bool
    """Everything is in Kafka; False: it was stopped before."""
    forwarded: dict[str, int]
    """By lane, the position up to which Kafka has everything."""
    left_out: int
    """Documents that were not sent: another gateway wrote a newer one, or none were wanted."""


async def held_positions(kafka: Kafka, gateway: str, lanes: tuple[str, ...], noise: Noise) -> dict[str, Held | None]:
    """What Kafka has as the positions of a gateway's lanes; nobody is fenced by asking.

    Raises:
        KafkaUnreachable: it does not answer, or not to us.
    """
    access = Access(kafka)
    try:
        client = AIOKafkaClient(**access.settings(), client_id=f"busbridge-adopt-{gateway}")
    except AccessError as error:
        raise KafkaUnreachable(str(error)) from error
    try:
        async with asyncio.timeout(kafka.request_timeout * _LIMITS):
            await client.bootstrap()
            return {lane: await _held(client, kafka, f"busbridge.{gateway}.{lane}") for lane in lanes}
    except (KafkaError, OSError, TimeoutError) as error:
        raise KafkaUnreachable(access.why(error, noise)) from error
    finally:
        await client.close()


async def _held(client: AIOKafkaClient, kafka: Kafka, group: str) -> Held | None:
    # What a transaction that is open would make of it is decided later, when the transactional id is ours.
    found = await committed_offset(client, group, kafka.event_topic, 0, stable=False)
    return Held(*found) if found is not None else None


async def adopt(
    config: Config,
    ends: Mapping[str, int],
    clocks: BootClocks,
    noise: Noise,
    *,
    documents: bool,
    tell: Callable[[Mapping[str, int]], None],
) -> Outcome:
    """Forwards every lane up to its end.

    Args:
        config: of whoever adopts, but with the dead gateway's id and data directory.
        ends: by lane, the position behind its last record.
        clocks: what the lanes know of boots whose clock was set late.
        noise: filters aiokafka's own log lines.
        documents: device documents too, where Kafka has no newer one of another gateway; else none.
        tell: is called with the positions that are durable, as they rise.

    Raises:
        Fenced: see there.
        SinkError: the directory or its log cannot be used.
    """
    if config.state is not None:
        # There is no device side that could make one document of two: the older one is left out here.
        config = msgspec.structs.replace(config, state=msgspec.structs.replace(config.state, roaming=False))
    mine, theirs = doorbell.pair()
    desk = _Desk(Doorbell(mine), Note(committed=dict(ends), clocks=clocks.encode()), tell)
    filters: list[OnlyNewest] = []

    def through(sink: Sink) -> Sink:
        newest = NewestDocuments(config.kafka, config.gateway.id) if documents and config.kafka else None
        filters.append(OnlyNewest(_NotBeyond(sink, ends), newest))
        return filters[-1]

    serving = asyncio.create_task(serve(config, Doorbell(theirs), noise, through))
    try:
        await desk.work(serving)
    finally:
        desk.close()
        await serving
    return Outcome(desk.complete, desk.forwarded, sum(each.left_out for each in filters))


class _NotBeyond(Stage):
    """A sink that has all there is where it has more: this queue is an older copy, and nothing is added to it."""

    def __init__(self, inner: Sink, ends: Mapping[str, int]) -> None:
        super().__init__(inner)
        self._ends = ends

    async def start(self, lanes: Sequence[str], log_id: bytes) -> dict[str, int]:
        """See `Sink.start`."""
        held = await super().start(lanes, log_id)
        return {lane: min(position, self._ends.get(lane, position)) for lane, position in held.items()}


class _Desk:
    """The device side's end of the bell."""

    def __init__(self, bell: Doorbell, note: Note, tell: Callable[[Mapping[str, int]], None]) -> None:
        self.forwarded: dict[str, int] = {}
        self.health = Health("starting")
        self._bell = bell
        self._note = note
        self._tell = tell
        self._moved = asyncio.Event()
        self._connected = False
        """Once: the transactional id is taken over, also where nothing waits."""

    @property
    def complete(self) -> bool:
        return self._connected and all(self.forwarded.get(lane, 0) >= end for lane, end in self._note.committed.items())

    async def work(self, serving: asyncio.Task[None]) -> None:
        """Until everything is forwarded, or the bus side has ended. Raises Fenced."""
        asyncio.get_running_loop().add_reader(self._bell.fileno(), self._listen)
        serving.add_done_callback(lambda _: self._moved.set())
        self._bell.send(self._note)
        while not self.complete and not serving.done():
            await self._moved.wait()
            self._moved.clear()
            if self.health.state == "fenced":
                raise Fenced(self.health.detail)

    def close(self) -> None:
        """Hangs up; the bus side ends then. What it says meanwhile is not heard: what is durable is on the disk."""
        asyncio.get_running_loop().remove_reader(self._bell.fileno())
        self._bell.close()

    def _listen(self) -> None:
        try:
            notes = self._bell.receive()
        except DoorbellClosed:
            asyncio.get_running_loop().remove_reader(self._bell.fileno())
            return
        for note in notes:
            self.forwarded |= note.forwarded
            self.health = note.health or self.health
            self._connected |= self.health.state == "connected"
        self._tell(self.forwarded)
        self._moved.set()
