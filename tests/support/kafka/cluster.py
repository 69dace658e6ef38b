"""Cluster: three brokers (each a controller, too) that share every topic, and what may happen to them."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from confluent_kafka import ElectionType
from confluent_kafka.admin import AdminClient

from tests.support.kafka.broker import Broker, new_cluster_id
from tests.support.ports import free_port

# Replicated as clusters are, with times that fit a test.
_PROPERTIES = {
    "num.partitions": "6",
    "default.replication.factor": "3",
    "min.insync.replicas": "2",
    "offsets.topic.replication.factor": "3",
    "transaction.state.log.replication.factor": "3",
    "transaction.state.log.min.isr": "2",
    "transaction.state.log.num.partitions": "3",
    "broker.session.timeout.ms": "3000",
    "broker.heartbeat.interval.ms": "500",
    "controller.quorum.election.timeout.ms": "500",
    "controller.quorum.fetch.timeout.ms": "1500",
    "replica.lag.time.max.ms": "3000",
    "auto.leader.rebalance.enable": "false",
    "log.cleaner.dedupe.buffer.size": "20000000",
}


class Cluster:
    """Three nodes under one directory."""

    def __init__(self, directory: Path) -> None:
        cluster_id, controllers = new_cluster_id(), [free_port() for _ in range(3)]
        voters = ",".join(f"{number}@127.0.0.1:{port}" for number, port in enumerate(controllers, 1))
        self.brokers = [
            Broker(
                directory / f"broker-{number}",
                properties={**_PROPERTIES, "node.id": str(number), "controller.quorum.voters": voters},
                controller_port=port,
                cluster_id=cluster_id,
                heap_mib=256,
            )
            for number, port in enumerate(controllers, 1)
        ]
        self.addresses = [broker.address for broker in self.brokers]
        self._pool = ThreadPoolExecutor(3)

    def start(self) -> None:
        """All that do not run; on return each of them answers."""
        list(self._pool.map(Broker.start, [broker for broker in self.brokers if not broker.running]))

    def kill(self) -> None:
        for broker in self.brokers:
            broker.kill()
        self._pool.shutdown()

    def prefer_leaders(self) -> None:
        """Each partition's leader is the first of its replicas again, where that is alive."""
        AdminClient({"bootstrap.servers": ",".join(self.addresses)}).elect_leaders(ElectionType.PREFERRED).result(30)
