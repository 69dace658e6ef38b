"""Real Kafka for tests: one broker for the session, and one of its own for a test that stops, kills or freezes it."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from confluent_kafka import Consumer, KafkaError, Message, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from tests.support.kafka import Broker
from tests.support.kafka.bus_process import BusProcess
from tests.support.kafka.feed import Feed

_CONFIG = """
[gateway]
id = "{gateway}"
data_dir = "data"
[[listeners]]
bind = "127.0.0.1:1883"
anonymous = true
[[routes]]
filter = "#"
topic = "telemetry"
seal = "plain"
[queue]
cursor_interval = "200 ms"
{kafka}
"""
_KAFKA = """
[kafka]
bootstrap_servers = ["{server}"]
request_timeout = "{patience}"
reconnect_backoff_max = "500 ms"
"""


class Site:
    """One gateway without its device side: a data directory, a feed, and the lives of its bus side."""

    def __init__(
        self,
        directory: Path,
        server: str,
        gateway: str,
        topic: str,
        *,
        lanes: Sequence[str],
        extra: str,
        patience: str,
    ) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.server = server
        self.gateway = gateway
        self.topic = topic
        self.log = directory / "bus.log"
        self.data = directory / "data"
        self.feed = Feed(self.data, lanes, topic=topic)
        self.bus: BusProcess | None = None
        self._config = directory / "busbridge.toml"
        self._config.write_text(
            _CONFIG.format(gateway=gateway, kafka=_KAFKA.format(server=server, patience=patience) + extra)
        )

    def start(self, wrapper: Sequence[str] = ()) -> BusProcess:
        """A new life of the bus side, told what is committed; `wrapper` as for BusProcess."""
        self.bus = BusProcess(self._config, self.log, wrapper)
        self.bus.tell(self.feed.note())
        return self.bus

    def tell(self) -> None:
        """Rings: what is committed by now."""
        assert self.bus is not None
        self.bus.tell(self.feed.note())

    def wait(self, seconds: float = 30.0) -> None:
        """Until everything written is forwarded."""
        assert self.bus is not None
        self.tell()
        ends = self.feed.note().committed
        self.bus.listen_until(lambda: self.bus is not None and self.bus.forwarded | ends == self.bus.forwarded, seconds)

    def wait_for(self, state: str, seconds: float = 30.0) -> None:
        """Until the bus side says that it is in that state."""
        bus = self.bus
        assert bus is not None
        bus.listen_until(lambda: bus.health.state == state, seconds)

    def said(self, words: str) -> int:
        """How many lines of the bus side's log have these words in them."""
        return sum(words in line for line in self.log.read_text().splitlines())

    def close(self) -> None:
        if self.bus is not None:
            self.bus.kill()
        self.feed.close()


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """The session's broker: four partitions a topic, topics made when asked for."""
    # So that a transaction's time-out is noticed within a test's patience (default: every 10 s).
    often = {"transaction.abort.timed.out.transaction.cleanup.interval.ms": "500"}
    # And compaction within moments, where a topic asks for it (default: a look every 15 s).
    often |= {"log.cleaner.backoff.ms": "1000"}
    # Nobody is refused anything, unless a test says so.
    access = {
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "super.users": "User:nobody",
        "allow.everyone.if.no.acl.found": "true",
    }
    broker = Broker(tmp_path_factory.mktemp("kafka"), properties=often | access)
    broker.start()
    yield broker
    broker.kill()


@pytest.fixture
def own_kafka(tmp_path: Path) -> Iterator[Broker]:
    """A broker that the test may do anything to; it does not run yet."""
    broker = Broker(tmp_path / "kafka")
    yield broker
    broker.kill()


@pytest.fixture
def make_site(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Callable[..., Site]]:
    """`make_site(server, gateway=…, topic=…, lanes=…, extra=…, patience=…)`; names are the test's own unless given."""
    sites: list[Site] = []
    numbers = itertools.count(1)
    name = f"{request.node.name.strip(']').replace('[', '-')}-{time.time_ns():x}"

    def make(
        server: str,
        *,
        gateway: str = "",
        topic: str = "",
        lanes: Sequence[str] = ("normal",),
        extra: str = "",
        patience: str = "2 s",
    ) -> Site:
        number = next(numbers)
        place, gateway = tmp_path / f"site-{number}", gateway or f"gw-{number}-{name}"
        site = Site(place, server, gateway, topic or name, lanes=lanes, extra=extra, patience=patience)
        sites.append(site)
        return site

    yield make
    for site in sites:
        site.close()


@pytest.fixture
def make_topic() -> Callable[..., None]:
    """`make_topic(server, name, partitions=1, **settings)`; settings with `_` for `.`."""

    def make(server: str, name: str, partitions: int = 1, **settings: str) -> None:
        config = {key.replace("_", "."): value for key, value in settings.items()}
        admin = AdminClient({"bootstrap.servers": server})
        admin.create_topics([NewTopic(name, partitions, 1, config=config)])[name].result(30)

    return make


@pytest.fixture
def produce() -> Callable[..., None]:
    """`produce(server, topic, (key, value), …)`, as another program would; on return they are in Kafka."""

    def send(server: str, topic: str, *records: tuple[bytes | None, bytes | None]) -> None:
        producer = Producer({"bootstrap.servers": server})
        for key, value in records:
            producer.produce(topic, key=key, value=value)
        assert producer.flush(30) == 0

    return send


@pytest.fixture
def read() -> Callable[[str, str], list[Message]]:
    """`read(server, topic)`: every committed record there is, partition by partition (`read_committed`)."""

    def read_all(server: str, topic: str) -> list[Message]:
        consumer = Consumer(
            {
                "bootstrap.servers": server,
                "group.id": f"test-{time.time_ns()}",
                "isolation.level": "read_committed",
                "auto.offset.reset": "earliest",
                "enable.auto.commit": False,
                "enable.partition.eof": True,
            }
        )
        try:
            partitions = consumer.list_topics(topic, timeout=10).topics[topic].partitions
            consumer.assign([TopicPartition(topic, number, 0) for number in partitions])
            return _until_the_ends(consumer, len(partitions))
        finally:
            consumer.close()

    return read_all


def _until_the_ends(consumer: Consumer, partitions: int) -> list[Message]:
    messages: list[Message] = []
    ends: set[int] = set()
    deadline = time.monotonic() + 30
    while len(ends) < partitions:
        assert time.monotonic() < deadline, "the topic does not come to an end"
        message = consumer.poll(1)
        if message is None:
            continue
        error = message.error()
        if error is None:
            messages.append(message)
        else:
            assert error.code() == KafkaError._PARTITION_EOF, error
            ends.add(message.partition())
    return messages
