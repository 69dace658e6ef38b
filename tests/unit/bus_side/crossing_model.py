"""A state topic in memory, with transactions and their markers as Kafka has them, and gateways that write to it step by
step, so that a test can let them cross in every way. The code between queue and topic is the real one, and so are the
devices' documents; Kafka, the network and the disk are the model.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Callable, Collection, Sequence
from functools import partial

import msgspec
from aiokafka import ConsumerRecord

from bridge.bus_side.claims import Chunk
from bridge.bus_side.judge import Judge
from bridge.bus_side.known import Known
from bridge.bus_side.proof import Proof
from bridge.bus_side.settled import Settled
from bridge.bus_side.sink import LaneBatch, SinkAgain, SinkAway, SinkContested, SinkError, Written
from bridge.bus_side.topic_tail import Place, Taken
from bridge.config import State
from bridge.device_side.clock import rfc3339
from bridge.device_side.devices import Devices
from bridge.device_side.group_states import GroupStates
from bridge.log.record import DOCUMENT, KNOWN, TOMBSTONE, Record, decode, decode_context, encode, encode_context
from tests.unit.device_side.clocks import HandClock

TOPIC, PARTITIONS = "device-state", 2
BATCH_MAX = 4


class Entry(msgspec.Struct):
    """What stands at one offset."""

    producer: int
    key: bytes = b""
    value: bytes | None = None
    headers: tuple[tuple[str, bytes], ...] = ()
    ends: bool | None = None
    """A marker: of a commit, or not. None: a record."""


class Committed(msgspec.Struct):
    """As a consumer's message, for `tests.support.kafka.documents`."""

    its_key: bytes
    its_value: bytes | None

    def key(self) -> bytes:
        return self.its_key

    def value(self) -> bytes | None:
        return self.its_value


class Broker:
    """Partitions, the transactions open in them, and each gateway's position."""

    def __init__(self) -> None:
        self.logs: list[list[Entry]] = [[] for _ in range(PARTITIONS)]
        self.open: dict[int, dict[int, int]] = {}
        """By producer and partition, the first offset of its transaction that no marker has ended."""
        self.markers: list[tuple[int, int, bool]] = []
        """Producer, partition, committed: decided, and still to be written."""
        self.positions: dict[str, int] = {}

    def append(self, producer: int, partition: int, entries: Sequence[Entry]) -> int:
        """Returns the first offset."""
        log = self.logs[partition]
        self.open.setdefault(producer, {}).setdefault(partition, len(log))
        log.extend(entries)
        return len(log) - len(entries)

    def decide(self, producer: int, committed: bool) -> None:
        """The transaction's end is decided; its markers follow, partition by partition, in their own time."""
        waiting = {partition for other, partition, _ in self.markers if other == producer}
        self.markers += [(producer, each, committed) for each in self.open.get(producer, {}) if each not in waiting]

    def mark(self, number: int = 0) -> None:
        """Writes one of the markers."""
        producer, partition, committed = self.markers.pop(number)
        self.logs[partition].append(Entry(producer, ends=committed))
        del self.open[producer][partition]

    def marked(self, producer: int) -> bool:
        return not self.open.get(producer)

    def stable(self, partition: int) -> int:
        """The last stable offset."""
        firsts = [where[partition] for where in self.open.values() if partition in where]
        return min([len(self.logs[partition]), *firsts])

    def committed(self, partition: int, end: int) -> list[tuple[int, Entry]]:
        """With its offset; what an open transaction has, and what was aborted, is not in it."""
        log, found, fate = self.logs[partition], [], dict[int, bool]()
        for offset in range(len(log) - 1, -1, -1):
            entry = log[offset]
            if entry.ends is not None:
                fate[entry.producer] = entry.ends
            elif fate.get(entry.producer, False) and offset < end:
                found.append((offset, entry))
        return found[::-1]

    def records(self) -> list[Committed]:
        """Of all partitions, one after the other, as `read_committed` gives them when all is decided."""
        return [
            Committed(each.key, each.value)
            for partition in range(PARTITIONS)
            for _, each in self.committed(partition, len(self.logs[partition]))
        ]


def partition_of(key: str) -> int:
    return sum(key.encode()) % PARTITIONS


class Gate:
    """Where a gateway's bus side waits for the test to let it do its next step, or to break its link."""

    def __init__(self) -> None:
        self._steps = asyncio.Semaphore(0)
        self._broken = False

    async def step(self) -> None:
        await self._steps.acquire()
        if self._broken:
            self._broken = False
            raise SinkAway("the link broke")

    def open(self, *, broken: bool = False) -> None:
        self._broken = broken
        self._steps.release()


class Tail:
    """See `topic_tail.Tail`."""

    def __init__(self, broker: Broker, gate: Gate, take: Callable[[Taken], None]) -> None:
        self.looked: dict[int, int] = {}
        self._take = take
        self._broker = broker
        self._gate = gate

    async def refresh(self) -> None:
        await self._gate.step()
        looked = {}
        for partition in range(PARTITIONS):
            begin, end = self.looked.get(partition, 0), self._broker.stable(partition)
            for offset, each in self._broker.committed(partition, end):
                if offset >= begin:
                    self._take(
                        ConsumerRecord(TOPIC, partition, offset, 0, 0, each.key, each.value, None, 0, 0, each.headers)
                    )
            looked[partition] = max(begin, end)
        self.looked = looked

    async def fetch(self, wanted: Collection[Place]) -> dict[Place, bytes | None]:
        await self._gate.step()
        return {(partition, offset): self._broker.logs[partition][offset].value for partition, offset in wanted}

    async def close(self) -> None:
        return None


class Transactions:
    """See `sink.Sink`: as KafkaSink does it."""

    holds_positions = True

    def __init__(self, name: str, producer: int, broker: Broker, gate: Gate) -> None:
        self._name = name
        self._producer = producer
        self._broker = broker
        self._gate = gate

    async def start(self, lanes: Sequence[str], log_id: bytes) -> dict[str, int]:
        """Takes the transactional id over: what was open is aborted, what was decided is finished."""
        self._broker.decide(self._producer, committed=False)
        while not self._broker.marked(self._producer):
            await self._gate.step()
        return {lanes[0]: self._broker.positions.get(self._name, 0)}

    async def write(self, batches: Sequence[LaneBatch]) -> Written:
        (batch,) = batches or [None]
        if batch is None:
            return Written({})
        await self._gate.step()
        while not self._broker.marked(self._producer):
            await self._gate.step()
        proof = Proof(batches)
        for partition in range(PARTITIONS):
            await self._send(partition, batch.records, proof)
        contested = await proof.contested(self._read, self._producer)
        await self._gate.step()
        self._broker.decide(self._producer, committed=not contested)
        if contested:
            raise SinkContested(contested)
        self._broker.positions[self._name] = batch.position
        await self._gate.step()  # whether the answer comes or not
        return Written({batch.lane: len(batch.records)})

    async def _send(self, partition: int, records: Sequence[Record], proof: Proof) -> None:
        entries = [
            Entry(self._producer, key.encode(), None if each.flags & TOMBSTONE else each.payload, self._headers())
            for each in records
            for key, _, topic in [decode_context(each.context)]
            if topic == TOPIC and partition_of(key) == partition
        ]
        if entries:
            await self._gate.step()
            proof.sent(TOPIC, partition, self._broker.append(self._producer, partition, entries), len(entries))
            await self._gate.step()

    async def _read(self, topic: str, partition: int, offsets: range, take: Callable[[Chunk], None]) -> None:
        await self._gate.step()
        for offset in offsets:
            each = self._broker.logs[partition][offset]
            said = [] if each.ends is not None else [(offset, each.key, each.value)]
            take(Chunk(each.producer, each.ends, said, offset + 1))

    def _headers(self) -> tuple[tuple[str, bytes], ...]:
        return (("gateway", self._name.encode()),)

    async def probe(self) -> None:
        await self._gate.step()

    async def stop(self) -> None:
        return None


class Writer(msgspec.Struct):
    next_seq: int = 0


class Queue:
    """The state lane, on a disk that never fails."""

    def __init__(self) -> None:
        self.writer = Writer()
        self.records: list[Record] = []

    def append(self, record: bytes, token: Callable[[], None] | None, effect: object = None) -> None:
        self.records.append(decode(record, self.writer.next_seq, bytes(16)))
        self.writer.next_seq += 1
        if token is not None:
            token()


class Cold:
    """The cold store."""

    def __init__(self) -> None:
        self._tables: dict[str, dict[str, bytes]] = {}

    def load(self, table: str) -> list[tuple[str, bytes]]:
        return list(self._tables.get(table, {}).items())

    def put(self, table: str, key: str, body: bytes | None) -> None:
        bodies = self._tables.setdefault(table, {})
        if body is not None:
            bodies[key] = body
        else:
            bodies.pop(key, None)


class Gateway:
    """One site: documents, queue, and a bus side that goes on when its gate opens."""

    def __init__(self, name: str, producer: int, broker: Broker, clock: HandClock) -> None:
        self.name = name
        self.gate = Gate()
        self.inbox: list[bytes] = []
        """What the device side is still to hear."""
        self.contested = 0
        self._producer = producer
        self._broker = broker
        self._clock = clock
        self._cold = Cold()
        self._epoch = 0
        self._bus: asyncio.Task[None] | None = None
        self.queue = Queue()
        self.start()

    def start(self) -> None:
        """A new life of both processes."""
        self.inbox.clear()
        self._epoch += 1
        self.devices = Devices(
            State(topic=TOPIC), self.queue, self._cold, self._clock, log_id=bytes(16), gateway=self.name,
            epoch=self._epoch, kick=lambda: None, retain=lambda topic, payload: None, roaming=True,
            groups=GroupStates(self._cold, 1),
        )  # fmt: skip
        self.devices.restore(())
        self._say(f"gateway/{self.name}", {"epoch": self._epoch, "started": self._clock.instant(), "at": self._now()})
        self.start_bus()

    def start_bus(self) -> None:
        """A new life of the bus side alone: whatever it knew is gone."""
        if self._bus is not None:
            self._bus.cancel()
        self.gate = Gate()
        self._bus = asyncio.create_task(self._forward())

    @property
    def done(self) -> bool:
        return self._broker.positions.get(self.name, 0) == len(self.queue.records) and not self.inbox

    def hear(self) -> None:
        """The device side takes in the next that the bus side has told it."""
        if self.inbox:
            record = decode(self.inbox.pop(0), 0, bytes(16))
            assert record.kind == KNOWN
            removed = bool(record.flags & TOMBSTONE)
            device = decode_context(record.context)[0]
            self.devices.learn(device, None if removed else record.payload, lambda: None)

    async def end(self) -> None:
        assert self._bus is not None
        self._bus.cancel()
        await asyncio.wait({self._bus})

    def _say(self, key: str, document: object) -> None:
        context = encode_context(key, "", TOPIC)
        self.queue.append(encode(DOCUMENT, 0, 0, 1, 1, context, b"", json.dumps(document).encode()), None)

    def _now(self) -> str:
        return rfc3339(self._clock.wall_ns())

    async def _forward(self) -> None:
        sink = self._settled()
        while True:
            try:
                done = (await sink.start(["state"], b""))["state"]
                while True:
                    batch = self.queue.records[done : done + BATCH_MAX]
                    if not batch:
                        await sink.probe()
                        continue
                    written = await sink.write([LaneBatch("state", list(batch), done + len(batch))])
                    self.contested += written.contested
                    if not written.held:
                        done += len(batch)
            except SinkAgain as error:
                raise AssertionError("nobody has asked to begin anew") from error
            except SinkError:
                continue

    def _settled(self) -> Settled:
        async def tell(records: list[bytes]) -> None:
            self.inbox += records

        draws = random.Random(self._producer)

        async def pause() -> None:
            for _ in range(draws.randrange(12)):
                await self.gate.step()

        known = Known(partial(Tail, self._broker, self.gate), TOPIC, self.name)
        judge = Judge(known, gateway=self.name, former=None, event_topic="events", instant=lambda _: self._now())
        inner = Transactions(self.name, self._producer, self._broker, self.gate)
        return Settled(
            inner,
            known,
            judge,
            tell,
            pause=pause,
            patience_s=3600.0,
            instant=lambda _: self._now(),
            sweep_margin_s=None,
        )
