"""A reader who knows only the compacted topic agrees with what is true of a restless fleet, whatever has happened.

`PRESENCE_DEVICES=1000` is the long version; it also waits until Kafka has compacted the topic.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time

from confluent_kafka import Consumer, TopicPartition

from firmware_sim.child import children_of
from tests.interop.gateway import wait_until
from tests.kafka.test_presence import make, topic  # noqa: F401 - fixtures
from tests.support.kafka.documents import believed, replaced
from tests.support.kafka.restless import Fleet

DEVICES = int(os.environ.get("PRESENCE_DEVICES", "200"))
LONG = DEVICES >= 1000
SEED = int(os.environ.get("PRESENCE_SEED", "8"))
PARTITIONS = 2


class Witness:
    """Reads every record before Kafka compacts it away."""

    def __init__(self, server, name):
        self.records = []
        self._consumer = Consumer(
            {"bootstrap.servers": server, "group.id": f"witness-{time.time_ns()}", "enable.auto.commit": False}
            | {"isolation.level": "read_committed", "auto.offset.reset": "earliest"}
        )
        self._consumer.assign([TopicPartition(name, number, 0) for number in range(PARTITIONS)])

    def look(self):
        while records := self._consumer.consume(1000, 0.5):
            self.records += [record for record in records if record.error() is None]

    def close(self):
        self._consumer.close()


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
        true = "online" if device.port is not None else "offline", gateway, device.reported
        if said != true:
            found.append(f"{device.name} is {true}, the reader believes {said}")
    return found


async def agree(topic, fleet, names):  # noqa: F811
    """In the end they do. (On a thread: what the fleet has just done is still to leave by the loop.)"""
    found = [["nobody has looked"]]

    def look(documents):
        found.append(disagreements(fleet, documents, names))
        return not found[-1]

    with contextlib.suppress(AssertionError):  # of the wait: this one says more
        await asyncio.to_thread(topic.wait, look)
    assert found[-1] == []


async def test_the_reader_agrees_with_a_restless_fleet(kafka, topic, make):  # noqa: F811
    a, b = make("gw-a"), make("gw-b", sweep=True)
    names, ports = {a.port: "gw-a", b.port: "gw-b"}, [a.port, b.port]
    fleet, witness = Fleet(DEVICES, seed=SEED), Witness(kafka.address, topic.name)
    for share in (1.0, 0.7):
        await fleet.stir(ports, share)
        await agree(topic, fleet, names)
    b.cut()
    await fleet.stir([b.port], 0.2)
    await fleet.stir([a.port], 0.7)
    a.gateway.kill()
    fleet.lose(a.port)
    a.gateway.start()
    await fleet.stir([a.port], 0.4)
    b.mend()
    await agree(topic, fleet, names)
    for pid in children_of(a.gateway.pid):
        os.kill(pid, signal.SIGKILL)
    await fleet.stir([a.port], 0.5)
    await agree(topic, fleet, names)
    witness.look()
    assert replaced(witness.records) == []
    if LONG:
        await asyncio.to_thread(
            wait_until, lambda: topic.count() < len(witness.records) / 2, "Kafka compacts the topic", 120
        )
        await agree(topic, fleet, names)
    for device in fleet.devices:
        device.drop()
    await agree(topic, fleet, names)
    witness.look()
    assert replaced(witness.records) == []
    witness.close()
