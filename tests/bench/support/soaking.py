"""The soak: a fleet over mutual TLS, a real Kafka of three brokers, faults at random, an audit of all that arrived.

In the first third both processes of the gateway are killed, too; after that they live, so that their memory is seen
over a long life. Brokers are killed, frozen and stopped until shortly before the end.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic
from rich.console import Console
from rich.table import Table

from bridge.security.envelope import Opener
from bridge.security.keys import load_private
from firmware_sim.audit import Auditor
from firmware_sim.child import children_of
from firmware_sim.findings import Findings
from firmware_sim.fleet import Fleet
from firmware_sim.kafka_reader import KafkaReader
from firmware_sim.ledger import read_ledger
from firmware_sim.plan import Plan
from tests.bench.support.memory import Memory
from tests.support.daemon import DESIRED, STATE, TELEMETRY, Gateway, Service
from tests.support.kafka.cluster import Cluster
from tests.support.kafka.fetch import CHECKOUT

_DRAIN_S = 300.0
_SAMPLE_S = 2.0
_WRONG = 3


def main(argv: list[str]) -> int:
    """Soaks, prints a table, writes the figures; 3 where something is wrong."""
    parser = argparse.ArgumentParser(prog="./dev bench soak", description="Faults at random, audit, memory.")
    parser.add_argument("--minutes", type=float, default=30.0, help="of faults (default: 30)")
    parser.add_argument("--devices", type=int, default=50)
    parser.add_argument("--rate", type=float, default=300.0, help="messages a second, all together (default: 300)")
    parser.add_argument("--seed", type=int, default=None, help="repeats the faults of a run (default: random)")
    parser.add_argument("--json", type=Path, default=CHECKOUT / "bench-results" / "soak.json", metavar="FILE")
    options = parser.parse_args(argv)
    seed = options.seed if options.seed is not None else random.randrange(1 << 32)
    with tempfile.TemporaryDirectory(prefix="soak-") as scratch:
        cluster = Cluster(Path(scratch) / "cluster")
        cluster.start()
        try:
            soak = Soak(Path(scratch), cluster, options, random.Random(seed))
            findings = asyncio.run(soak.run())
        finally:
            cluster.kill()
    figures = soak.figures(findings) | {"seed": seed, "minutes": options.minutes}
    _show(figures, soak.memory)
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(figures, indent=2) + "\n")
    return 0 if findings.clean and not any(life.grows for life in soak.memory.lives) else _WRONG


class Soak:
    """One run."""

    def __init__(self, directory: Path, cluster: Cluster, options: argparse.Namespace, chance: random.Random) -> None:
        self.memory = Memory()
        self.faults: Counter[str] = Counter()
        self._directory = directory
        self._cluster = cluster
        self._devices = tuple(f"dev-{number:05d}" for number in range(1, options.devices + 1))
        self._rate = options.rate
        self._seconds = options.minutes * 60
        self._chance = chance

    async def run(self) -> Findings:
        """All of it, to the audit."""
        _make_topics(self._cluster)
        gateway = Gateway(self._directory, self._devices, '", "'.join(self._cluster.addresses))
        async with Service(gateway) as service:
            fleet = Fleet(self._plan(gateway), self._directory / "fleet.ledger")
            await fleet.start()
            watch = asyncio.create_task(self._watch(service))
            await asyncio.gather(self._kill(service), self._trouble())
            fleet.stop_publishing()
            if not await fleet.drained(_DRAIN_S):
                raise TimeoutError(f"{fleet.figures()} {fleet.last_error()}\n{service.complaints()}")
            fleet.write_truth()
            findings = await asyncio.to_thread(self._audit, gateway)
            watch.cancel()
            await fleet.stop()
        return findings

    def figures(self, findings: Findings) -> dict[str, object]:
        """Everything that is worth keeping."""
        sides = {}
        for side in ("device side", "bus side"):
            life = self.memory.longest(side)
            if life is not None:
                quarters = [round(life.quarter(number), 1) for number in range(4)]
                sides[side] = {"life_s": round(life.seconds), "resident_mib_by_quarter": quarters, "grows": life.grows}
        return {
            "published": findings.published,
            "acknowledged": findings.acknowledged,
            "arrived": findings.arrived,
            "wrong": {name: wrong.examples for name, wrong in findings.wrongs().items() if wrong.count},
            "faults": dict(self.faults),
            "memory": sides,
        }

    def _plan(self, gateway: Gateway) -> Plan:
        return Plan(
            host="127.0.0.1",
            port=gateway.port,
            devices=self._devices,
            marker="soak",
            ca=gateway.ca,
            certs=gateway.devices,
            rate=self._rate,
            qos=(1, 2),
            report_every=15,
        )

    async def _watch(self, service: Service) -> None:
        while True:
            daemon = service.daemon.pid if service.daemon.running else None
            children = children_of(daemon) if daemon is not None else []
            self.memory.sample(time.monotonic(), {"device side": daemon, "bus side": next(iter(children), None)})
            await asyncio.sleep(_SAMPLE_S)

    async def _kill(self, service: Service) -> None:
        end = time.monotonic() + self._seconds / 3
        while time.monotonic() < end:
            await asyncio.sleep(self._chance.uniform(2, 15))
            kill = self._chance.choice([service.kill_device_side, service.kill_bus_side, service.kill_both])
            self.faults[kill.__name__] += 1
            await kill()

    async def _trouble(self) -> None:
        end = time.monotonic() + self._seconds
        while time.monotonic() < end:
            await asyncio.sleep(self._chance.uniform(1, 10))
            trouble: Callable[[], None] = self._chance.choice(
                [self._freeze, self._freeze_two, self._die, self._restart]
            )
            self.faults[trouble.__name__.strip("_")] += 1
            await asyncio.to_thread(trouble)

    def _freeze(self, count: int = 1) -> None:
        frozen = self._chance.sample(self._cluster.brokers, count)
        for broker in frozen:
            broker.freeze()
        time.sleep(self._chance.uniform(1, 15))
        for broker in frozen:
            broker.thaw()

    def _freeze_two(self) -> None:
        self._freeze(2)

    def _die(self) -> None:
        self._chance.choice(self._cluster.brokers).kill()
        time.sleep(self._chance.uniform(1, 10))
        self._cluster.start()

    def _restart(self) -> None:
        self._chance.choice(self._cluster.brokers).stop()
        self._cluster.start()

    def _audit(self, gateway: Gateway) -> Findings:
        ledger = read_ledger([self._directory / "fleet.ledger"])
        auditor = Auditor(Opener([load_private(gateway.key)]))
        deadline = time.monotonic() + _DRAIN_S
        with KafkaReader(",".join(self._cluster.addresses), TELEMETRY) as reader:
            while True:
                some = reader.read_to_end()
                auditor.take(some)
                if time.monotonic() > deadline or (not some and not auditor.missing(ledger)):
                    break
                time.sleep(1)
        return auditor.findings(ledger)


def _make_topics(cluster: Cluster) -> None:
    compact = {"cleanup.policy": "compact"}
    topics = [NewTopic(TELEMETRY, 6, 3), NewTopic(STATE, 6, 3, config=compact), NewTopic(DESIRED, 6, 3, config=compact)]
    topics += [NewTopic("busbridge-events", 1, 3), NewTopic("busbridge-dead-letters", 1, 3)]
    admin = AdminClient({"bootstrap.servers": ",".join(cluster.addresses)})
    for future in admin.create_topics(topics).values():
        future.result(60)


def _show(figures: dict[str, object], memory: Memory) -> None:
    table = Table(title="soak")
    table.add_column("what")
    table.add_column("figure", justify="right")
    for name in ("minutes", "seed", "published", "acknowledged", "arrived", "wrong", "faults"):
        table.add_row(name, f"{figures[name]:,}" if isinstance(figures[name], int) else str(figures[name] or "nothing"))
    for side in ("device side", "bus side"):
        life = memory.longest(side)
        if life is not None:
            quarters = " → ".join(f"{life.quarter(number):.0f}" for number in range(4))
            grows = "[red]it grows[/]" if life.grows else "it does not grow"
            table.add_row(f"{side}, MiB over its longest life ({life.seconds:.0f} s)", f"{quarters}: {grows}")
    Console().print(table)
