"""A broker with clients, for tests: real sessions on real connections, whose sockets nobody reads."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from queue import Empty, SimpleQueue

from bridge.config import Acl as AclRules
from bridge.config import Limits, Mqtt
from bridge.device_side.broker import Broker, Client
from bridge.device_side.clock import Clock
from bridge.device_side.cold import ColdStore
from bridge.device_side.connection import Connection
from bridge.device_side.retained import Retained
from bridge.message import Message
from bridge.mqtt import packets
from bridge.mqtt.encode import encode
from bridge.mqtt.events import ConnectRequested, Event, SubscribeRequested, UnsubscribeRequested
from bridge.mqtt.framing import PacketStream
from bridge.mqtt.packets import Packet, Properties
from bridge.mqtt.properties import Property
from bridge.mqtt.session import Session
from bridge.mqtt.session_name import session_name
from bridge.mqtt.subscription import Subscription
from bridge.security.acl import Acl
from tests.unit.device_side.clocks import long_clock


class Local:
    """The broker and what the daemon around it would do."""

    def __init__(
        self, cold: ColdStore, mqtt: Mqtt | None = None, limits: Limits | None = None, clock: Clock | None = None
    ) -> None:
        self.loop = asyncio.new_event_loop()
        self.now = 1000.0
        self.mqtt, self.limits = mqtt or Mqtt(), limits or Limits()
        self.long = long_clock(cold, clock)
        self.retained = Retained(cold, self.limits, self.long, lambda: self.now)
        acl = Acl(AclRules(publish=("#",), subscribe=("#", "$SYS/#")))
        self._soon: SimpleQueue[Callable[[], object]] = SimpleQueue()
        self._cold = cold
        self.broker = Broker(
            acl, self.retained, cold, self.mqtt, self.limits, lambda: self.now, self._soon.put, self.long
        )
        self._sockets: list[socket.socket] = []

    def connect(
        self,
        client_id: str,
        version: int = 5,
        *,
        clean: bool = True,
        expiry_s: int = 0,
        properties: Properties | None = None,
        device: str | None = None,
    ) -> Peer:
        """A client that is let in; `device`: whose, where that is not its client id."""
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        self._sockets.append(theirs)
        session = Session(self.mqtt)
        connection = Connection(self, ours, session, self.limits, peer="test", identity=device or client_id)
        options: Properties = {Property.SESSION_EXPIRY_INTERVAL: expiry_s} if version == 5 else {}
        connect = packets.Connect(client_id, clean, version, properties=options | (properties or {}))
        (request,) = session.receive(encode(connect, version), self.now)
        assert isinstance(request, ConnectRequested)
        client, present = self.broker.open_session(request, session_name(device or client_id, client_id))
        client.connection, connection.client = connection, client
        if not present and request.expiry_s:
            self.broker.keep(client, lambda: None)
        session.accept(client.state, present=present, now=self.now)
        return Peer(self, client, connection, version)

    def tell(self, topic: str, payload: str = "x", qos: int = 1, *, by: Peer | None = None, **fields: object) -> None:
        """As the pipeline does when a message is durable."""
        message = Message(topic, payload.encode(), qos, **fields)  # type: ignore[arg-type]
        self.broker.publish(message, by.client if by else None)

    def run_soon(self) -> int:
        """What the loop would call now; returns how much that was."""
        count = 0
        with contextlib.suppress(Empty):
            while True:
                self._soon.get_nowait()()
                count += 1
        return count

    def settle(self) -> None:
        """Runs the loop until nothing waits for the disk any more."""
        more = True
        while more:
            self.run_soon()
            on_disk = threading.Event()
            self._cold.after_commit(on_disk.set)
            assert on_disk.wait(20)
            more = self.run_soon() > 0

    def close(self) -> None:
        self.loop.close()
        for sock in self._sockets:
            sock.close()

    # The connections' owner.

    def flush_soon(self, connection: Connection) -> None:
        connection.flush_asked = False

    def hold(self, connection: Connection) -> None:
        raise AssertionError("nothing is held here")

    def publish(self, connection: Connection, events: Sequence[Event], at: int) -> int:
        raise AssertionError(f"nobody reads, and yet {events[at]}")

    def handle(self, connection: Connection, event: Event) -> bool:
        raise AssertionError(f"nobody reads, and yet {event}")

    def closed(self, connection: Connection, reason: str, *, will: bool) -> None:
        assert connection.client is not None
        self.broker.left(connection.client)


class Peer:
    """The client's end: packets in, packets out."""

    def __init__(self, local: Local, client: Client, connection: Connection, version: int) -> None:
        self.client = client
        self.connection = connection
        self._local = local
        self._version = version
        self._stream = PacketStream(version)
        self._came: list[Packet] = []
        self.connack, *self._came = self.answers()

    def send(self, *sent: Packet) -> list[Event]:
        data = b"".join(encode(packet, self._version) for packet in sent)
        return self.connection.session.receive(data, self._local.now)

    def subscribe(self, *subscriptions: Subscription, identifier: int | None = None) -> tuple[int, ...]:
        """Returns the reasons."""
        options: Properties = {Property.SUBSCRIPTION_IDENTIFIER: [identifier]} if identifier else {}
        (event,) = self.send(packets.Subscribe(1, subscriptions, options))
        assert isinstance(event, SubscribeRequested)
        return tuple(self._local.broker.subscribe(self.client, event))

    def unsubscribe(self, *filters: str) -> list[int]:
        (event,) = self.send(packets.Unsubscribe(1, filters))
        assert isinstance(event, UnsubscribeRequested)
        return self._local.broker.unsubscribe(self.client, event)

    def answers(self) -> list[Packet]:
        """The packets that came."""
        came, self._came = self._came, []
        return came + list(self._stream.feed(self.connection.session.take_output()))

    def messages(self) -> list[Message]:
        """Those that came; not acknowledged."""
        return [packet for packet in self.answers() if isinstance(packet, Message)]

    def payloads(self) -> list[str]:
        """Of the messages that came, each acknowledged at QoS 1."""
        found = []
        while came := self.messages():
            found += [message.payload.decode() for message in came]
            self.send(*(packets.Puback(message.packet_id) for message in came if message.qos == 1))
        return found

    def drop(self) -> None:
        """The connection ends without a word."""
        self.connection.close("gone", will=True)


@contextlib.contextmanager
def local(cold: ColdStore, mqtt: Mqtt | None = None, limits: Limits | None = None) -> Iterator[Local]:
    """A broker of the test's own."""
    made = Local(cold, mqtt, limits)
    yield made
    made.close()
