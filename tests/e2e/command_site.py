"""A gateway, a real Kafka and devices that sleep and wake, for commands: who got what, and what Kafka heard."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Sequence
from typing import Any

import msgspec
import paho.mqtt.client as paho
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from firmware_sim.kafka_reader import KafkaReader
from tests.support.daemon import Gateway

COMMANDS, OUTCOMES = "device-commands", "device-command-outcomes"
_EXPIRY_S = 3600
_DOWNLINK = f"""[downlink]
command_topic = "{COMMANDS}"
outcome_topic = "{OUTCOMES}"
unsynchronised_clock = "trust"
"""


def take_commands(gateway: Gateway) -> None:
    """Adds them to its configuration."""
    text = gateway.config.read_text()
    gateway.config.write_text(text.replace("[downlink]\n", _DOWNLINK))


def make_topics(address: str) -> None:
    """As an administrator would."""
    admin = AdminClient({"bootstrap.servers": address})
    for future in admin.create_topics([NewTopic(COMMANDS, 4, 1), NewTopic(OUTCOMES, 4, 1)]).values():
        future.result(30)


def send(address: str, orders: Sequence[tuple[str, dict[str, object]]]) -> None:
    """As another program would; it waits as long as Kafka needs."""
    producer = Producer({"bootstrap.servers": address, "acks": "all", "enable.idempotence": True, "log_level": 0})
    for device, order in orders:
        producer.produce(COMMANDS, msgspec.json.encode(order), device)
    assert producer.flush(60) == 0


def outcomes(address: str) -> list[tuple[str, dict[str, object]]]:
    """All there are: device and outcome."""
    with KafkaReader(address, OUTCOMES) as reader:
        return [(str(record.key), msgspec.json.decode(record.value or b"")) for record in reader.read_to_end()]


class Sleeper:
    """A device that keeps its session, takes commands at QoS 2 and answers each, some twice, in its own thread."""

    def __init__(self, name: str, gateway: Gateway, version: int) -> None:
        self.name = name
        self.got: list[tuple[str, float]] = []
        """Id, and when (Unix seconds), of each command that its program was given."""
        self.subscribed = threading.Event()
        certificate = str(gateway.devices / f"{name}.pem")
        session = {"clean_session": False} if version != paho.MQTTv5 else {}
        self._client = paho.Client(paho.CallbackAPIVersion.VERSION2, name, protocol=version, **session)
        self._client.tls_set(str(gateway.ca), certificate, certificate)
        self._client.reconnect_delay_set(1, 1)
        self._client.on_connect = self._on_connect
        self._client.on_subscribe = lambda *_: self.subscribed.set()
        self._client.on_message = self._on_message
        self._start: dict[str, Any] = {"port": gateway.port, "keepalive": 30}
        if version == paho.MQTTv5:
            properties = Properties(PacketTypes.CONNECT)
            properties.SessionExpiryInterval = _EXPIRY_S
            self._start |= {"clean_start": False, "properties": properties}

    def live(self, chance: random.Random, until: threading.Event) -> None:
        """Sleeps and wakes, or loses its connection, until told, and stays awake then. Blocks."""
        self._client.connect_async("127.0.0.1", **self._start)
        self._client.loop_start()
        while not until.wait(chance.uniform(0.2, 3.0)):
            if chance.random() < 0.5:
                self._client.disconnect()
                self._client.loop_stop()
            else:
                self._client.loop_stop()
                if (connection := self._client.socket()) is not None:  # ends without a word
                    connection.close()
            until.wait(chance.uniform(0.0, 1.5))
            self._client.connect_async("127.0.0.1", **self._start)
            self._client.loop_start()

    def end(self) -> None:
        """Disconnects for good."""
        self._client.disconnect()
        self._client.loop_stop()

    def _on_connect(self, client: paho.Client, *_rest: object) -> None:
        client.subscribe(f"devices/{self.name}/commands/+", 2)

    def _on_message(self, client: paho.Client, _user: object, message: paho.MQTTMessage) -> None:
        self.got.append((message.topic.rpartition("/")[2], time.time()))
        qos = 1 + len(self.got) % 2
        client.publish(f"{message.topic}/result", b'{"status": "succeeded", "payload": 1}', qos)
        if len(self.got) % 5 == 0:
            client.publish(f"{message.topic}/result", b'{"status": "failed", "payload": 2}', qos)
