"""DemoKafka: the broker of a demonstration, embedded or real, and its outage."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from firmware_sim.child import Child, children_of
from firmware_sim.demo_site import DESIRED, STATE, TELEMETRY

_PARTITIONS = 4
_START_S = 90.0


class DemoKafka:
    """One broker in a process of its own."""

    def __init__(self, directory: Path, *, real: bool) -> None:
        """Start it and make the topics.

        Raises:
            ChildError: it did not start.
        """
        self.real = real
        self.name = "a real Kafka" if real else "an embedded Kafka-protocol broker"
        module, arguments = "firmware_sim.embedded_kafka", []
        if real:
            module, arguments = "tests.support.kafka", ["--data", str(directory / "kafka")]
        self._child = Child(module, arguments, directory / "kafka.out")
        self.address = self._child.wait_for("READY", _START_S)
        self._make_topics()

    def freeze(self) -> None:
        """Begin an outage: connections stay, nothing is answered (SIGSTOP)."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """End it."""
        self._signal(signal.SIGCONT)

    def put(self, topic: str, key: str, value: bytes) -> None:
        """Write one record, as another program in the company would.

        Raises:
            TimeoutError: Kafka did not take it.
        """
        producer = Producer({"bootstrap.servers": self.address, "log_level": 0})
        producer.produce(topic, value, key)
        if producer.flush(10):
            raise TimeoutError(f"Kafka at {self.address} did not take a record for {topic}")

    def stop(self) -> None:
        """End it, frozen or not."""
        if self._child.running:
            self.thaw()
        self._child.stop()

    def _signal(self, number: signal.Signals) -> None:
        for pid in [self._child.pid, *children_of(self._child.pid)]:
            os.kill(pid, number)

    def _make_topics(self) -> None:
        admin = AdminClient({"bootstrap.servers": self.address, "log_level": 0})
        names = (TELEMETRY, STATE, DESIRED, "busbridge-events", "busbridge-dead-letters")
        if not self.real:  # the embedded one makes a topic when it is asked for it, and knows no compaction
            for name in names:
                admin.list_topics(name, timeout=10)
            return
        policy = {STATE: "compact", DESIRED: "compact"}
        topics = [NewTopic(n, _PARTITIONS, 1, config={"cleanup.policy": policy.get(n, "delete")}) for n in names]
        for future in admin.create_topics(topics).values():
            future.result(30)
