"""A reader who knows only the compacted topic agrees with what is true of a restless fleet, whatever has happened; and
at no record was he told something older than before.

With more effort (`BUSBRIDGE_EFFORT=10`) they go on for minutes while one gateway has no uplink.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import signal
import threading
import time

from confluent_kafka import Consumer, TopicPartition

from firmware_sim.child import children_of
from tests.crash.conftest import preload  # noqa: F401 - fixture
from tests.interop.gateway import wait_until
from tests.interop.test_gateway_record import schema
from tests.kafka.test_presence import make, topic  # noqa: F401 - fixtures
from tests.support.effort import EFFORT, seed
from tests.support.kafka.documents import believed, replaced
from tests.support.kafka.restless import Fleet

DEVICES, PARTITIONS = 1000, 2
SEED = seed(8)
OUTAGE_S = 15.0 * (EFFORT - 1)


class Witness:
    """Reads every record all the time, before Kafka compacts it away."""

    def __init__(self, server, name):
        self.records = []
        self._consumer = Consumer(
            {"bootstrap.servers": server, "group.id": f"witness-{time.time_ns()}", "enable.auto.commit": False}
            | {"isolation.level": "read_committed", "auto.offset.reset": "earliest"}
        )
        self._consumer.assign([TopicPartition(name, number, 0) for number in range(PARTITIONS)])
        self._turn, self._closed = threading.Lock(), False
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def look(self):
        """Up to what is there now."""
        with self._turn:
            while records := self._consumer.consume(1000, 0.5):
                self.records += [record for record in records if record.error() is None]

    def close(self):
        self._closed = True
        self._thread.join()
        self._consumer.close()

    def _run(self):
        while not self._closed:
            self.look()


def disagreements(fleet, documents, names):
    """Between what the fleet knows and what the reader believes."""
    found = []
    for device in fleet.devices:
        document = documents.get(device.name)
        if not device.reported:
            continue
        if document is None:
            found.append(f"{device.name} has no document")
            continue
        said = believed(documents, device.name), document["presence"]["gateway"], document["reported"]["state"]["n"]
        gateway = names[device.port] if device.port is not None else said[1]
        true = "online" if device.port is not None else "offline", gateway
        if said not in ((*true, device.reported), (*true, device.said)):
            found.append(f"{device.name} is {true} and has said {device.reported}, the reader believes {said}")
    return found


def misfits(records):
    """Values that do not fit their schema."""
    devices, gateways = schema("device-document.schema.json"), schema("gateway-record.schema.json")
    values = [(each.key(), each.value()) for each in records if each.value() is not None]
    return [
        value
        for key, value in values
        if not (gateways if key.startswith(b"gateway/") else devices).is_valid(json.loads(value))
    ]


async def agree(topic, fleet, names):  # noqa: F811
    """In the end they do. (On a thread: what the fleet has just done is still to leave by the loop.)"""
    found = [["nobody has looked"]]

    def look(documents):
        found.append(disagreements(fleet, documents, names))
        return not found[-1]

    with contextlib.suppress(AssertionError):  # of the wait: this one says more
        await asyncio.to_thread(topic.wait, look)
    assert found[-1] == []


async def test_the_reader_agrees_with_a_restless_fleet(kafka, topic, make, preload):  # noqa: F811
    a, b = make("gw-a", sweep=True, mains=preload("record_calls.c")), make("gw-b", sweep=True)
    names, ports = {a.port: "gw-a", b.port: "gw-b"}, [a.port, b.port]
    fleet, witness = Fleet(DEVICES, SEED), Witness(kafka.address, topic.name)
    with contextlib.closing(witness):
        for share in (1.0, 0.7):
            await fleet.stir(ports, share)
            await agree(topic, fleet, names)
        await fleet.bounce(ports, 0.2, 5)
        b.cut()
        mended_s = time.monotonic() + OUTAGE_S
        await fleet.stir([b.port], 0.2)
        await fleet.stir([a.port], 0.7)
        while time.monotonic() < mended_s:
            await fleet.stir(ports, 0.1)
        await fleet.stir(ports, 0.3, lambda: asyncio.to_thread(a.power_cut, random.Random(SEED)))
        fleet.lose(a.port)
        a.gateway.start()
        await fleet.stir([a.port], 0.4)
        b.mend()
        await agree(topic, fleet, names)
        a.gateway.kill()
        fleet.lose(a.port)
        await fleet.stir([b.port], 0.4)
        a.gateway.start()
        await fleet.bounce(ports, 0.2, 4)
        for pid in children_of(a.gateway.pid):
            os.kill(pid, signal.SIGKILL)
        await fleet.stir([a.port], 0.5)
        await agree(topic, fleet, names)
        for device in fleet.devices:
            device.drop()
        await agree(topic, fleet, names)
        witness.look()
        await asyncio.to_thread(
            wait_until, lambda: topic.count() < len(witness.records) / 2, "Kafka compacts the topic", 120
        )
        await agree(topic, fleet, names)
    assert replaced(witness.records) == []
    assert misfits(witness.records) == []
