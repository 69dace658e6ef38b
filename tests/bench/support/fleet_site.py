"""A gateway that knows many devices: its cold store and the topics as an earlier life left them, a real Kafka."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import msgspec
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from bridge.device_side.cold import Changes, ColdStore, ColdStoreFailure
from bridge.device_side.desired import Desired
from bridge.device_side.documents import Document, Presence, Versioned
from bridge.device_side.state_parts import EPOCH_KEY
from tests.bench.support.busbridge import bus_side_of
from tests.support.kafka import Broker
from tests.support.ports import free_port

GATEWAY, STATE, DESIRED = "gw-bench", "device-state", "device-desired"
PARTITIONS = 4
_WARNING = 4
"""librdkafka's log level, as syslog(3) counts."""
_SOME = 10_000
_CONFIG = """\
[gateway]
id = "{gateway}"
data_dir = "data"

[[listeners]]
bind = "127.0.0.1:{port}"
anonymous = true

[queue]
segment_bytes = "16 MiB"

[state]
topic = "{state}"

[kafka]
bootstrap_servers = ["{kafka}"]

[downlink]
desired_topic = "{desired}"
"""


class Site:
    """One gateway's directory and broker."""

    def __init__(self, directory: Path, broker: Broker) -> None:
        directory.mkdir(parents=True)
        self.directory = directory
        self.broker = broker
        self.port = free_port()
        self.config = directory / "busbridge.toml"
        names = {"gateway": GATEWAY, "state": STATE, "desired": DESIRED, "kafka": broker.address, "port": self.port}
        self.config.write_text(_CONFIG.format(**names))
        self.document_bytes = 0.0
        """Of the mean document, as JSON."""

    def fill(self, devices: int, state: str) -> None:
        """Devices that this gateway knows: in its store, in the state topic, and what is desired of them in the other.

        `state`: of their presence.
        """
        (self.directory / "data").mkdir()
        store = ColdStore(self.directory / "data" / "cold.sqlite", _failed)
        store.write("meta", EPOCH_KEY, b"1")
        producer = Producer(
            {"bootstrap.servers": self.broker.address, "linger.ms": 50, "compression.type": "zstd",
             "partitioner": "murmur2_random", "queue.buffering.max.messages": 1_000_000, "log_level": _WARNING}
        )  # fmt: skip
        total = 0
        for first in range(0, devices, _SOME):
            changes: Changes = {}
            for number in range(first, min(devices, first + _SOME)):
                document = document_of(number, state)
                body = msgspec.json.encode(document)
                total += len(body)
                changes[("documents", document.device)] = body
                producer.produce(STATE, body, document.device, headers={"gateway": GATEWAY})
                producer.produce(DESIRED, _desired(document), document.device)
            store.write_all(changes)
            producer.poll(0)
        assert producer.flush(120) == 0
        store.close()
        self.document_bytes = total / max(1, devices)

    def bus_side(self, device_side: int) -> int:
        """Its process id."""
        return bus_side_of(device_side)

    def stored_bytes(self) -> int:
        """Of the state topic in Kafka: batches as they were sent."""
        logs = (self.directory.parent / "kafka" / "data").glob(f"{STATE}-[0-9]/*.log")
        return sum(path.stat().st_size for path in logs)


def document_of(number: int, state: str) -> Document:
    """What a gateway keeps of a common device: about 700 bytes."""
    instant = f"2026-11-21T12:{number // 60_000 % 60:02}:{number // 1000 % 60:02}.{number % 1000:03}Z"
    online = state == "online"
    presence = Presence(
        state, instant, instant, None if online else "connection-lost", GATEWAY, 1,
        lease_until=instant if online else None, connected=instant, address="private", protocol="mqtt-5",
        session="new",
    )  # fmt: skip
    reported = Versioned(
        12,
        instant,
        {"firmware": "1.4.2", "interval_s": 60, "signal_dbm": -40 - number % 50, "serial": f"SN{number:08}"},
    )
    desired = Desired(version=4, at=instant, state={"firmware": "1.4.2", "interval_s": 10})
    return Document(f"device-{number:06}", presence, reported, desired, {"interval_s": 10})


@contextlib.contextmanager
def topics(broker: Broker) -> Iterator[None]:
    """Fresh ones, gone afterwards."""
    admin = AdminClient({"bootstrap.servers": broker.address, "log_level": _WARNING})
    compacted = {"cleanup.policy": "compact"}
    wanted = [NewTopic(name, PARTITIONS, 1, config=compacted) for name in (STATE, DESIRED)]
    for future in admin.create_topics(wanted).values():
        future.result(30)
    yield
    for future in admin.delete_topics([STATE, DESIRED]).values():
        future.result(30)


def send(address: str, topic: str, key: str, value: bytes) -> None:
    """One record."""
    producer = Producer({"bootstrap.servers": address, "partitioner": "murmur2_random", "log_level": _WARNING})
    producer.produce(topic, value, key)
    assert producer.flush(30) == 0


def _desired(document: Document) -> bytes:
    assert document.desired is not None
    return msgspec.json.encode({"version": document.desired.version, "state": document.desired.state})


def _failed(failure: ColdStoreFailure) -> None:
    raise failure
