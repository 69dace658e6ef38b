"""`./dev bench deliver`: the broker and the engine alone: 1 publisher to 1,000 subscribers and 1,000 to 1, no sockets.

It measures what the broker and the engine do: matching, encoding, windows and acknowledgements. What goes out is taken
from the sessions and thrown away. The best of several runs stands.
"""

from __future__ import annotations

import argparse
import asyncio
import platform
import socket
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec
from rich import box
from rich.console import Console
from rich.table import Table

from bridge.config import Acl as AclRules
from bridge.config import Limits, Mqtt
from bridge.device_side.broker import Broker, Client
from bridge.device_side.clock import Clock
from bridge.device_side.cold import ColdStore, ColdStoreFailure
from bridge.device_side.connection import Connection
from bridge.device_side.long_clock import LongClock
from bridge.device_side.retained import Retained
from bridge.message import Message
from bridge.mqtt import packets
from bridge.mqtt.encode import encode
from bridge.mqtt.events import ConnectRequested, Event, SubscribeRequested
from bridge.mqtt.session import Session
from bridge.mqtt.subscription import Subscription
from bridge.security.acl import Acl

RESULTS = Path(__file__).parents[2] / "bench-results"
LIMITS, MQTT = Limits(), Mqtt()
TOPIC = "site/line/{}/temperature"


class Result(msgspec.Struct, frozen=True):
    """Microseconds of CPU."""

    case: str
    qos: int
    version: int
    per_delivery_us: float
    """With `take_output` and the subscriber's acknowledgements."""


class Hall:
    """A broker and its clients; the connections' owner."""

    def __init__(self, directory: Path) -> None:
        self.loop = asyncio.new_event_loop()
        self.cold = ColdStore(directory / "cold.sqlite", _failed)
        rules = AclRules(publish=("#",), subscribe=("#",))
        long = LongClock(Clock(), self.cold)
        retained = Retained(self.cold, LIMITS, long)
        self.broker = Broker(
            Acl(rules), retained, self.cold, MQTT, LIMITS, time.monotonic, self.loop.call_soon_threadsafe, long
        )
        self.asked: list[Connection] = []
        self._sockets: list[socket.socket] = []

    def enter(self, name: str, version: int, subscription: Subscription | None = None) -> Client:
        """A client that is connected, and subscribed where it is told to what."""
        session, ours = Session(MQTT), socket.socket()
        self._sockets.append(ours)
        connection = Connection(self, ours, session, LIMITS, peer=name, identity=name)
        (request,) = session.receive(encode(packets.Connect(name, version=version), version), 1.0)
        assert isinstance(request, ConnectRequested)
        client, _ = self.broker.open_session(request, name)
        client.connection, connection.client = connection, client
        session.accept(client.state, present=False, now=1.0)
        if subscription is not None:
            self.broker.subscribe(client, SubscribeRequested(1, (subscription,), {}))
        session.take_output()
        return client

    def close(self) -> None:
        """Ends the store and the sockets."""
        for each in self._sockets:
            each.close()
        self.cold.close()
        self.loop.close()

    def publish(self, connection: Connection, events: Sequence[Event], at: int) -> int:
        """Nobody publishes through a connection here."""
        raise AssertionError(events[at])

    def handle(self, connection: Connection, event: Event) -> bool:
        """Nor says anything else."""
        raise AssertionError(event)

    def flush_soon(self, connection: Connection) -> None:
        """Remembers who has something to say."""
        self.asked.append(connection)

    def hold(self, connection: Connection) -> None:
        """Nothing is held."""

    def closed(self, connection: Connection, reason: str, *, will: bool) -> None:
        """Nobody goes."""


def _failed(failure: ColdStoreFailure) -> None:
    raise failure


def _settle(hall: Hall, acknowledgements: dict[int, bytes]) -> int:
    """Takes what goes out and has the subscribers acknowledge it; returns how many connections had something."""
    asked, hall.asked = hall.asked, []
    for connection in asked:
        connection.flush_asked = False
        connection.session.take_output()
        client = connection.client
        assert client is not None
        if client.state.in_flight:
            connection.session.receive(b"".join(acknowledgements[each] for each in client.state.in_flight), 1.0)
            connection.session.take_output()
    return len(asked)


def measure(directory: Path, publishers: int, subscribers: int, qos: int, version: int, deliveries: int) -> float:
    """Microseconds for each delivery from `publishers` to `subscribers`."""
    hall = Hall(directory)
    for number in range(subscribers):
        hall.enter(f"s{number}", version, Subscription("site/line/+/temperature", qos))
    by = [hall.enter(f"p{number}", version) for number in range(publishers)]
    answers = {number: encode(packets.Puback(number), version) for number in range(1, 1 << 16)} if qos else {}
    messages = [Message(TOPIC.format(number), bytes(128), qos) for number in range(publishers)]
    done = 0
    start = time.process_time()
    while done < deliveries:
        for publisher, message in zip(by, messages, strict=True):
            hall.broker.publish(message, publisher)
            if publishers == 1 or not done % MQTT.inflight_max:
                _settle(hall, answers)
            done += subscribers
    spent = time.process_time() - start
    hall.close()
    return spent / done * 1e6


def main(argv: Sequence[str] | None = None) -> int:
    """Measures every case; returns the exit code."""
    parser = argparse.ArgumentParser(prog="./dev bench deliver", description=__doc__)
    parser.add_argument("--deliveries", type=int, default=100_000, help="in each run")
    parser.add_argument("--clients", type=int, default=1000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--json", type=Path, default=RESULTS / "deliver.json", help="every figure goes to this file")
    options = parser.parse_args(argv)
    results = []
    for publishers, subscribers in ((1, options.clients), (options.clients, 1)):
        for qos, version in ((0, 4), (0, 5), (1, 4), (1, 5)):
            runs = []
            for _ in range(options.runs):
                with tempfile.TemporaryDirectory() as scratch:
                    runs.append(measure(Path(scratch), publishers, subscribers, qos, version, options.deliveries))
            results.append(Result(f"{publishers} → {subscribers}", qos, version, min(runs)))
    table = Table("case", "MQTT", "QoS", "µs a delivery", box=box.SIMPLE)
    for result in results:
        said = "5" if result.version == 5 else "3.1.1"
        table.add_row(result.case, said, str(result.qos), f"{result.per_delivery_us:.2f}")
    Console().print(table)
    options.json.parent.mkdir(parents=True, exist_ok=True)
    report = {"machine": platform.platform(), "python": platform.python_version(), "results": results}
    options.json.write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=2) + b"\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
