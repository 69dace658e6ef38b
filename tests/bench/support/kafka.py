"""The real Kafka behind the daemon, and how far into the queue its committed position has come."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from confluent_kafka import Consumer, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from tests.bench.support.processes import running
from tests.support.ports import free_port

CHECKOUT = Path(__file__).resolve().parents[3]
EVENT_TOPIC = "busbridge-events"
OFFSETS_TOPIC = "__consumer_offsets"
START_TIMEOUT_S = 90.0
REQUEST_TIMEOUT_S = 10.0
WARNING = 4
"""librdkafka's log level, as syslog(3) counts; it notes each client's end at the next one."""


class Broker:
    """A running single-node Kafka."""

    def __init__(self, port: int, process: subprocess.Popen[bytes]) -> None:
        self.address = f"127.0.0.1:{port}"
        self.process = process

    def create_topic(self, name: str, partitions: int) -> None:
        """Creates a topic; raises KafkaException where that fails."""
        admin = AdminClient({"bootstrap.servers": self.address, "log_level": WARNING})
        for future in admin.create_topics([NewTopic(name, partitions, 1)]).values():
            future.result(REQUEST_TIMEOUT_S)

    def delete_topic(self, name: str) -> None:
        """Deletes a topic with its records."""
        admin = AdminClient({"bootstrap.servers": self.address, "log_level": WARNING})
        for future in admin.delete_topics([name]).values():
            future.result(REQUEST_TIMEOUT_S)


@contextlib.contextmanager
def kafka(directory: Path) -> Iterator[Broker]:
    """A Kafka of its own for this run, its data in `directory`."""
    directory.mkdir(parents=True)
    port, log = free_port(), directory / "kafka.log"
    command: list[str | Path] = [
        sys.executable,
        "-m",
        "tests.support.kafka",
        "--port",
        str(port),
        "--data",
        directory / "data",
    ]
    with running(command, log, CHECKOUT) as process:
        deadline = time.monotonic() + START_TIMEOUT_S
        while f"READY 127.0.0.1:{port}" not in log.read_text(errors="replace"):
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"Kafka did not start: {log.read_text(errors='replace')[-2000:]}")
            time.sleep(0.1)
        broker = Broker(port, process)
        broker.create_topic(EVENT_TOPIC, 1)
        yield broker


class Position:
    """The queue position that the forwarder has committed in Kafka for one lane (its transactions write it)."""

    def __init__(self, broker: Broker, gateway: str, lane: str) -> None:
        group = f"busbridge.{gateway}.{lane}"
        # read_uncommitted: otherwise the request waits for as long as a transaction is open, which is always.
        settings = {"bootstrap.servers": broker.address, "group.id": group, "isolation.level": "read_uncommitted"}
        self._consumer = Consumer(settings)

    def read(self) -> int:
        """The next sequence number to be forwarded; 1 when nothing was.

        A broker that has just started says for a moment that it does not coordinate the group: asked again.
        """
        deadline = time.monotonic() + REQUEST_TIMEOUT_S
        while True:
            try:
                (answer,) = self._consumer.committed([TopicPartition(EVENT_TOPIC, 0)], timeout=REQUEST_TIMEOUT_S)
                return max(1, int(answer.offset))
            except KafkaException:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)

    def wait(self, position: int, timeout_s: float) -> float:
        """Seconds until the position was reached; RuntimeError when the time is up."""
        started = time.monotonic()
        while (reached := self.read()) < position:
            if time.monotonic() - started > timeout_s:
                raise RuntimeError(f"the forwarder is at {reached} of {position} after {timeout_s:.0f} s")
            time.sleep(0.02)
        return time.monotonic() - started

    def transactions(self) -> int:
        """Transactions committed so far, all gateways': each leaves two records in the offsets topic, the position and
        its commit marker."""
        partitions = (
            self._consumer.list_topics(OFFSETS_TOPIC, timeout=REQUEST_TIMEOUT_S).topics[OFFSETS_TOPIC].partitions
        )
        places = [TopicPartition(OFFSETS_TOPIC, number) for number in partitions]
        ends = [self._consumer.get_watermark_offsets(place, timeout=REQUEST_TIMEOUT_S)[1] for place in places]
        return sum(ends) // 2

    def close(self) -> None:
        """Leaves Kafka."""
        self._consumer.close()
