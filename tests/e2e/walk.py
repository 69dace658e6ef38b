"""Walk: the fleet's way through kills and outages, and what it left behind.

50 devices publish over mutual TLS at QoS 1 and 2. Meanwhile both processes of the gateway are killed ten times, and a
real Kafka is frozen, stopped and killed; a desired state is set for a device that is there and for one that is away.
"""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import msgspec
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from bridge.security.envelope import Opener
from bridge.security.keys import load_private
from firmware_sim.arrival import Arrival
from firmware_sim.audit import Auditor
from firmware_sim.document_audit import Documents, hold_documents, latest_documents
from firmware_sim.findings import Findings
from firmware_sim.fleet import Figures, Fleet
from firmware_sim.kafka_reader import KafkaReader
from firmware_sim.ledger import Ledger, read_ledger
from firmware_sim.plan import Plan
from tests.support.daemon import DESIRED, STATE, TELEMETRY, Gateway, Service
from tests.support.kafka import Broker

DEVICES = tuple(f"dev-{number:05d}" for number in range(1, 51))
THERE, AWAY, *_ = DEVICES
ASLEEP_AT_THE_END = DEVICES[-5:]
WANTED = {"interval_s": 10, "mode": {"night": True}}
MARKER = "planted-d0c5f1a8e7"
RATE = 600.0
KILLS = 10
_DRAIN_S = 90.0


class Outcome(msgspec.Struct):
    """What is left to be looked at when all is over and the daemon has stopped."""

    gateway: Gateway
    output: Path
    starts: int
    figures: Figures
    ledger: Ledger
    findings: Findings
    records: list[Arrival]
    documents: Documents
    complaints: str


def make_topics(address: str) -> None:
    """Make the topics as an administrator would."""
    admin = AdminClient({"bootstrap.servers": address})
    compact = {"cleanup.policy": "compact"}
    topics = [NewTopic(TELEMETRY, 4, 1), NewTopic(STATE, 4, 1, config=compact), NewTopic(DESIRED, 4, 1, config=compact)]
    topics += [NewTopic("busbridge-events", 1, 1), NewTopic("busbridge-dead-letters", 1, 1)]
    for future in admin.create_topics(topics).values():
        future.result(30)


async def walk(directory: Path, broker: Broker, seed: int) -> Outcome:
    """Do all of it; the same seed kills in the same order and with the same pauses."""
    gateway = Gateway(directory, DEVICES, broker.address)
    chance = random.Random(seed)
    async with Service(gateway) as service:
        fleet = Fleet(_plan(gateway), directory / "fleet.ledger")
        await fleet.start()
        assert await fleet.connected(30), fleet.last_error()
        await fleet.devices[AWAY].link.stop()
        await asyncio.gather(_kill(service, chance), _trouble_kafka(broker), _desire(broker.address))
        fleet.devices[AWAY].link.start()
        fleet.stop_publishing()
        assert await fleet.drained(_DRAIN_S), f"{fleet.figures()} {fleet.last_error()}\n{service.complaints()}"
        for name in ASLEEP_AT_THE_END:
            await fleet.devices[name].link.stop()
        assert await fleet.until(lambda: all(fleet.devices[name].desired for name in (THERE, AWAY)), 30)
        assert await fleet.drained(_DRAIN_S), fleet.figures()
        outcome = await _look(gateway, service, broker, fleet)
        await fleet.stop()
    return outcome


def _plan(gateway: Gateway) -> Plan:
    return Plan(
        host="127.0.0.1",
        port=gateway.port,
        devices=DEVICES,
        marker=MARKER,
        ca=gateway.ca,
        certs=gateway.devices,
        rate=RATE,
        qos=(1, 2),
        report_every=15,
    )


async def _kill(service: Service, chance: random.Random) -> None:
    """At random moments, also before the last victim's successor is ready."""
    sides = [service.kill_device_side, service.kill_bus_side, service.kill_both]
    victims = [*sides * (KILLS // 3), *chance.sample(sides, KILLS % 3)]
    chance.shuffle(victims)
    for kill in victims:
        await asyncio.sleep(chance.uniform(0.3, 5.0))
        await kill()


async def _trouble_kafka(broker: Broker) -> None:
    """Three different outages: no answer for longer than a request waits, a clean stop, a crash."""
    await asyncio.sleep(3)
    broker.freeze()
    await asyncio.sleep(7)
    broker.thaw()
    await asyncio.sleep(4)
    for end in (broker.stop, broker.kill):
        await asyncio.to_thread(end)
        await asyncio.sleep(2)
        await asyncio.to_thread(broker.start)
        await asyncio.sleep(4)


async def _desire(address: str) -> None:
    """In the middle of it, by somebody who waits as long as Kafka needs."""
    await asyncio.sleep(5)
    producer = Producer({"bootstrap.servers": address, "acks": "all", "log_level": 0})
    for device in (THERE, AWAY):
        producer.produce(DESIRED, msgspec.json.encode({"version": 4, "state": WANTED}), device)
    assert await asyncio.to_thread(producer.flush, 60) == 0


async def _look(gateway: Gateway, service: Service, broker: Broker, fleet: Fleet) -> Outcome:
    fleet.write_truth()
    ledger = read_ledger([gateway.directory / "fleet.ledger"])
    auditor = Auditor(Opener([load_private(gateway.key)]))
    records = await asyncio.to_thread(_read_until_complete, broker.address, auditor, ledger)
    findings = auditor.findings(ledger)
    documents = await asyncio.to_thread(_documents_when_they_agree, broker.address, ledger)
    hold_documents(ledger, documents, findings)
    return Outcome(
        gateway,
        service.output,
        service.starts,
        fleet.figures(),
        ledger,
        findings,
        records,
        documents,
        service.complaints(),
    )


def _read_until_complete(address: str, auditor: Auditor, ledger: Ledger) -> list[Arrival]:
    """Everything a `read_committed` reader gets; it waits for the queue to empty, and then looks for doubles."""
    records: list[Arrival] = []
    with KafkaReader(address, TELEMETRY) as reader:
        for _ in range(60):
            some = reader.read_to_end()
            auditor.take(some)
            records += some
            if not some and not auditor.missing(ledger):
                break
            some = reader.read(1.0)
            auditor.take(some)
            records += some
    return records


def _documents_when_they_agree(address: str, ledger: Ledger) -> Documents:
    """The last reports are acknowledged, and on their way: give them a moment, then take what is there."""
    documents: Documents = {}
    for _ in range(30):
        with KafkaReader(address, STATE) as reader:
            documents = latest_documents(reader.read_to_end())
            tried = Findings()
            hold_documents(ledger, documents, tried)
            if tried.clean:
                break
            reader.read(0.5)
    return documents
