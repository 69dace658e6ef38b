"""A command to a group, sent by way of Kafka, and the summaries of all living gateways waited for."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from typing import Any

import msgspec
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from bridge.bus_side.access import Access
from bridge.bus_side.gap import rfc3339
from bridge.bus_side.roster import Roster
from bridge.cli.command_sender import FINAL, LINGER_S, NoOutcome, order_of, partitions_of
from bridge.cli.queue_source import Advance, progress
from bridge.config import Config, Downlink, Kafka, State
from bridge.groups import GROUPS

_POLL_MS = 500


class Whole(msgspec.Struct):
    """What became of it."""

    id: str
    group: str
    devices: int
    counts: dict[str, int]
    """Devices by final outcome, of all gateways."""
    gateways: dict[str, dict[str, Any]]
    """By id, what each said last."""

    @property
    def succeeded(self) -> bool:
        """All devices, and there were some."""
        return self.devices > 0 and self.counts == {"succeeded": self.devices}


class _Flows(msgspec.Struct):
    """Of a gateway's record."""

    topics: dict[str, str | None] = {}


class _Hearing:
    """What was heard of the command so far."""

    def __init__(self, command_id: str, key: str, expected: set[str], advance: Advance) -> None:
        self.expected = expected
        self.finals: dict[str, dict[str, Any]] = {}
        self._id = command_id
        self._key = key
        self._advance = advance

    def take(self, record: Any) -> None:
        try:
            value = msgspec.json.decode(record.value or b"{}", type=dict[str, Any])
        except msgspec.DecodeError:
            return
        if value.get("id") != self._id or value.get("outcome") not in FINAL:
            return
        if (record.key or b"").decode(errors="replace") == self._key:
            gateway = dict(record.headers).get("gateway", b"").decode()
            self.finals[gateway] = value
            self.expected.discard(gateway)
        elif value.get("group") is not None:
            self._advance(1)


def send_to_group(
    config: Config, downlink: Downlink, group: str, name: str, payload: object, qos: int, deadline_s: float
) -> Whole:
    """Sends it and waits until every gateway that lives now has summed up.

    Args:
        config: has a Kafka, and names the state topic, by which the gateways are known.
        downlink: names the topics.
        group: its name.
        name: what is to be done.
        payload: JSON; UNSET for none.
        qos: at which it is delivered at the most.
        deadline_s: how long it may take.

    Raises:
        NoOutcome: not all gateways have summed up in time; or none lives, and nothing was sent.
        NoTopic: nothing was sent.
        FleetError, AccessError, KafkaError: Kafka cannot be used.
    """
    command_id, order = order_of(name, payload, qos, deadline_s)
    assert config.kafka is not None
    return asyncio.run(_send(config.kafka, config.state or State(), downlink, group, command_id, order, deadline_s))


async def _send(
    kafka: Kafka, state: State, downlink: Downlink, group: str, command_id: str, order: bytes, deadline_s: float
) -> Whole:
    topic, key = downlink.command_topic or "", f"{GROUPS}{group}"
    expected, devices = await _alive(kafka, state, topic)
    if not expected:
        raise NoOutcome(f"no gateway lives that reads {topic}: nothing was sent (`busbridge devices gateways`)")
    settings = Access(kafka).settings()
    consumer = AIOKafkaConsumer(**settings, isolation_level="read_committed", auto_offset_reset="latest")
    producer = AIOKafkaProducer(**settings, acks="all")
    with progress(devices, f"{command_id} to {key}", at_least=1) as advance:
        hearing = _Hearing(command_id, key, expected, advance)
        try:
            async with asyncio.timeout(deadline_s + LINGER_S):
                await consumer.start()
                # Its end is looked for before the command is sent: the outcomes lie behind it.
                await partitions_of(consumer, topic)
                partitions = await partitions_of(consumer, downlink.outcome_topic)
                consumer.assign(partitions)
                await consumer.seek_to_end(*partitions)
                await producer.start()
                await producer.send_and_wait(topic, order, key=key.encode())
                await _hear(consumer, hearing)
        except TimeoutError:
            raise NoOutcome(
                f"command {command_id}: {', '.join(sorted(expected))} said nothing in the end: away, or stopped"
            ) from None
        finally:
            await producer.stop()
            await consumer.stop()
    counts = sum((Counter(each.get("counts") or {}) for each in hearing.finals.values()), Counter[str]())
    return Whole(command_id, group, sum(counts.values()), dict(counts), hearing.finals)


async def _hear(consumer: Any, hearing: _Hearing) -> None:
    while hearing.expected:
        for records in (await consumer.getmany(timeout_ms=_POLL_MS)).values():
            for record in records:
                hearing.take(record)


async def _alive(kafka: Kafka, state: State, command_topic: str) -> tuple[set[str], int]:
    """The gateways whose lease holds and that read the topic, and how many devices there are. Raises FleetError."""
    from bridge.cli.queue_source import quiet_log

    roster = Roster(kafka, state.topic, quiet_log("devices"), wanted=lambda device: True)
    try:
        await roster.refresh()
    finally:
        await roster.close()
    before = rfc3339(time.time_ns() - int(state.sweep_margin * 1e9))
    alive = {
        name
        for name, value in roster.gateways.items()
        if roster.lives[name].lease_until >= before
        and msgspec.json.decode(value, type=_Flows).topics.get("commands") == command_topic
    }
    return alive, len(roster.documents)
