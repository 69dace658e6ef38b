"""Gateways of one fleet with a real Kafka: topics for what comes down and goes up, and devices on each of them."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic

from tests.interop.gateway import Gateway
from tests.support.kafka.broker import Broker
from tests.support.kafka.documents import Topic

_SINK = """
[kafka]
bootstrap_servers = ["{server}"]
request_timeout = "5 s"
reconnect_backoff_max = "500 ms"
heartbeat = "500 ms"
event_topic = "{name}-events"
"""
_STATE = """
[state]
topic = "{name}-state"
[downlink]
desired_topic = "{name}-desired"
command_topic = "{name}-commands"
outcome_topic = "{name}-outcomes"
unsynchronised_clock = "trust"
"""
_QUEUE = """
[queue]
free_space_floor = "1 MiB"
segment_bytes = "2.5 MiB"
cursor_interval = "100 ms"
"""


class Fleet:
    """Topics of its own in a Kafka, and gateways that know only these."""

    def __init__(self, directory: Path, kafka: Broker, read: Callable[[str, str], list[Any]]) -> None:
        self.name = f"fleet-{time.time_ns()}"
        self.server = kafka.address
        self.gateways: list[Gateway] = []
        self._directory = directory
        self._read = read
        compact = {"cleanup.policy": "compact"}
        topics = [NewTopic(f"{self.name}-{which}", 2, 1, config=compact) for which in ("state", "desired")]
        topics += [NewTopic(f"{self.name}-{which}", 2, 1) for which in ("commands", "outcomes", "events")]
        admin = AdminClient({"bootstrap.servers": self.server})
        for future in admin.create_topics(topics).values():
            future.result(30)
        self.documents = Topic(f"{self.name}-state", self.read)

    def start(self, gateway: str, more: str = "") -> Gateway:
        """One more gateway, ready; `more` settings of `[downlink]`."""
        directory = self._directory / gateway
        directory.mkdir()
        sink, state = (text.format(server=self.server, name=self.name) for text in (_SINK, _STATE))
        made = Gateway(directory, _QUEUE, sink=sink, routes=state + more)
        made.config.write_text(made.config.read_text().replace('"gw-test"', f'"{gateway}"'))
        self.gateways.append(made)
        return made.start()

    def desire(self, *records: tuple[str, object]) -> None:
        """Key and value (None: a tombstone) into the desired topic, as another program would."""
        self._send("desired", records)

    def command(self, *records: tuple[str, object]) -> None:
        """The same into the command topic."""
        self._send("commands", records)

    def read(self, topic: str) -> list[Any]:
        """Every record of a topic."""
        return self._read(self.server, topic)

    def outcomes(self) -> list[tuple[str, str, dict[str, Any]]]:
        """Key, gateway and value of each outcome."""
        records = self.read(f"{self.name}-outcomes")
        return [
            (each.key().decode(), dict(each.headers())["gateway"].decode(), json.loads(each.value()))
            for each in records
        ]

    def end(self) -> None:
        """Kills what still runs."""
        for gateway in self.gateways:
            if gateway.running:
                gateway.kill()

    def _send(self, which: str, records: tuple[tuple[str, object], ...]) -> None:
        producer = Producer({"bootstrap.servers": self.server, "acks": "all"})
        for key, value in records:
            body = value if isinstance(value, bytes) else json.dumps(value).encode()
            producer.produce(f"{self.name}-{which}", key=key.encode(), value=None if value is None else body)
        assert producer.flush(30) == 0
