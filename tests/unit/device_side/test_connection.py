"""The driver between a real socket and a real session; only the daemon around it is played by the test."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable, Sequence

import pytest

from bridge.config import Limits, Mqtt
from bridge.device_side.connection import LEFT, LOST, Connection
from bridge.device_side.meter import Meters
from bridge.message import Message
from bridge.mqtt.events import ConnectRequested, Disconnected, Event, Released
from bridge.mqtt.session import Session
from bridge.mqtt.session_state import SessionState
from bridge.mqtt.subscription import Subscription
from tests.interop.wire import packet, publish, pubrel, text

LIMITS = Limits(output_bytes=64 << 10)
CONNECT = packet(0x10, text("MQTT") + b"\x04\x00\0\0" + text("dev-1"))


class Daemon:
    """The daemon around a connection, as a test wants it."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.state = SessionState("dev-1", 4, 3600, Mqtt())
        self.events: list[Event] = []
        self.endings: list[tuple[str, bool]] = []
        self.held: list[Connection] = []
        self.take: Callable[[Connection, Event], bool] = lambda connection, event: True

    def publish(self, connection: Connection, events: Sequence[Event], at: int) -> int:
        return at + self.handle(connection, events[at])

    def handle(self, connection: Connection, event: Event) -> bool:
        if isinstance(event, ConnectRequested):
            connection.session.accept(self.state, present=False, now=self.loop.time())
            connection.resume()
            return True
        if not isinstance(event, Disconnected) and not self.take(connection, event):
            return False
        self.events.append(event)
        return True

    def flush_soon(self, connection: Connection) -> None:
        self.loop.call_soon(connection.flush)

    def hold(self, connection: Connection) -> None:
        self.held.append(connection)

    def closed(self, connection: Connection, reason: str, *, will: bool) -> None:
        self.endings.append((reason, will))

    def connect(self) -> tuple[Connection, socket.socket]:
        """A connection after CONNECT, and the client's end of its socket."""
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        theirs.setblocking(False)
        connection = Connection(self, ours, Session(Mqtt(), LIMITS.output_bytes), LIMITS, peer="test", identity="dev-1")
        connection.start()
        theirs.send(CONNECT)
        return connection, theirs


@pytest.fixture
async def daemon() -> Daemon:
    return Daemon()


async def until(condition: Callable[[], object]) -> None:
    for _ in range(10_000):
        if condition():
            return
        await asyncio.sleep(0.001)
    pytest.fail("waited in vain")


async def answers(client: socket.socket, count: int) -> bytes:
    loop, data = asyncio.get_running_loop(), b""
    async with asyncio.timeout(10):
        while len(data) < count:
            data += await loop.sock_recv(client, 1 << 16)
    return data


def acknowledge(connection: Connection, event: Event) -> bool:
    if isinstance(event, Message):
        connection.acknowledge(event)
    elif isinstance(event, Released):
        connection.complete(event.packet_id)
    return True


async def test_a_mistake_of_ours_closes_the_connection_and_the_device_says_it_all_again(daemon: Daemon) -> None:
    def stumble(connection: Connection, event: Event) -> bool:
        if isinstance(event, Message) and event.payload == b"poison":
            raise RuntimeError("a mistake")
        return acknowledge(connection, event)

    daemon.take = stumble
    _, client = daemon.connect()
    client.send(publish("t", b"good", 2, 1) + publish("t", b"poison", 2, 2) + publish("t", b"behind it", 2, 3))
    await until(lambda: daemon.endings)
    assert daemon.endings == [(LOST, True)]
    daemon.take = acknowledge
    _, again = daemon.connect()
    again.send(b"".join(publish("t", b"again", 2, number, dup=True) for number in (1, 2, 3)))
    assert await answers(again, 4 + 3 * 4) == b"\x20\x02\0\0" + b"".join(b"\x50\x02\0" + bytes([n]) for n in (1, 2, 3))
    assert [event.packet_id for event in daemon.events if isinstance(event, Message)] == [1, 2, 3]


async def test_what_was_held_when_the_connection_ended_counts_on_the_next(daemon: Daemon) -> None:
    daemon.take = lambda connection, event: acknowledge(connection, event) if event_id(event) == 1 else False
    connection, client = daemon.connect()
    client.send(publish("t", b"x", 2, 1))
    await answers(client, 4 + 4)
    daemon.take = lambda connection, event: False
    client.send(pubrel(1) + publish("t", b"y", 2, 2))
    await until(lambda: daemon.held)
    connection.end()
    daemon.take = acknowledge
    _, again = daemon.connect()
    again.send(pubrel(1) + publish("t", b"y", 2, 2, dup=True))
    assert await answers(again, 4 + 4 + 4) == b"\x20\x02\0\0" + b"\x70\x02\0\x01" + b"\x50\x02\0\x02"


def event_id(event: Event) -> int:
    return event.packet_id if isinstance(event, (Message, Released)) else 0


async def test_an_acknowledgement_that_comes_late_goes_out_on_the_client_s_next_connection(daemon: Daemon) -> None:
    taken: list[tuple[Connection, Message]] = []

    def take(connection: Connection, event: Event) -> bool:
        if isinstance(event, Message):
            taken.append((connection, event))
        return True

    daemon.take = take
    first, client = daemon.connect()
    client.send(publish("t", b"x", 2, 1))
    await until(lambda: taken)
    second, again = daemon.connect()
    first.client = second.client = Successor(second)  # what the broker keeps of the two
    again.send(publish("t", b"x", 2, 1, dup=True))
    await answers(again, 4)
    first.end()
    taken[0][0].acknowledge(taken[0][1])
    assert await answers(again, 4) == b"\x50\x02\0\x01"
    assert len(taken) == 1


class Successor:
    """A client whose newest connection this is."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection


async def test_answers_that_nobody_reads_are_bounded_and_come_in_the_end(daemon: Daemon) -> None:
    daemon.take = acknowledge
    connection, client = daemon.connect()
    one, sent, stuck = publish("t", b"", 1, 7), 0, 0
    while stuck < 200:
        try:
            sent += client.send(one * 1000)
            stuck = 0
        except BlockingIOError:
            stuck += 1
            await asyncio.sleep(0.001)
    assert connection.output_bytes < 4 * LIMITS.output_bytes
    assert len(daemon.events) < 400_000
    client.send(one[sent % len(one) :] if sent % len(one) else b"")
    whole = -(-sent // len(one))
    assert (await answers(client, 4 + 4 * whole))[4:] == b"\x40\x02\0\x07" * whole


@pytest.mark.parametrize(("last", "ending"), [(packet(0xE0), (LEFT, False)), (packet(0x30), (LOST, True))])
async def test_a_good_bye_counts_though_our_last_words_cannot_be_sent(
    daemon: Daemon, last: bytes, ending: tuple[str, bool]
) -> None:
    daemon.take = lambda connection, event: True
    _, client = daemon.connect()
    await answers(client, 4)
    client.send(packet(0xC0) + last)  # PINGRESP is still to be sent when the client is gone
    client.close()
    await until(lambda: daemon.endings)
    assert daemon.endings == [ending]


async def test_a_peer_that_does_not_read_our_good_bye_still_goes_for_the_reason_given(daemon: Daemon) -> None:
    daemon.take = acknowledge
    connection, client = daemon.connect()
    while not connection.output_bytes:
        client.send(publish("t", b"", 1, 7) * 1000)
        await asyncio.sleep(0.001)
    connection.dismiss(0x8D, why="keepalive", will=True)
    assert daemon.endings == []
    connection.end()
    assert daemon.endings == [("keepalive", True)]


async def test_a_subscriber_slower_than_its_stream_is_still_heard(daemon: Daemon) -> None:
    daemon.take = lambda connection, event: True
    connection, client = daemon.connect()
    await answers(client, 4)
    while connection.output_bytes <= LIMITS.output_bytes:
        connection.session.deliver(Message("t", bytes(4096)), Subscription("t"))
        connection.flush()
    client.send(publish("t", b"still here", 0))
    await until(lambda: daemon.events)
    assert isinstance(daemon.events[0], Message)


async def test_a_subscriber_that_reads_nothing_holds_bounded_bytes_and_gets_it_all_in_the_end(daemon: Daemon) -> None:
    daemon.take = lambda connection, event: True
    connection, client = daemon.connect()
    await answers(client, 4)
    sizes = 64 * (32 << 10)
    for number in range(64):
        connection.session.deliver(Message("t", b"%02d" % number + bytes((32 << 10) - 2), 1), Subscription("t", 1))
        connection.flush_soon()
        await asyncio.sleep(0)
    assert connection.output_bytes < 4 * LIMITS.output_bytes
    data = await answers(client, sizes)
    await until(lambda: not connection.output_bytes and not connection.session.has_output())
    with contextlib.suppress(BlockingIOError):
        data += client.recv(1 << 20)
    whole = 4 + 3 + 2 + (32 << 10)
    assert [data[start + 9 : start + 11] for start in range(0, len(data), whole)] == [b"%02d" % n for n in range(64)]


async def test_a_packet_a_byte_at_a_time_and_many_at_once(daemon: Daemon) -> None:
    daemon.take = acknowledge
    _, client = daemon.connect()
    for byte in publish("t", b"slow", 1, 1):
        client.send(bytes([byte]))
        await asyncio.sleep(0)
    client.send(b"".join(publish("t", b"fast", 1, number) for number in range(2, 100)))
    assert (await answers(client, 4 + 4 * 99))[-4:] == b"\x40\x02\0\x63"
    assert [event_id(event) for event in daemon.events] == list(range(1, 100))


async def metered(daemon: Daemon, meters: Meters) -> tuple[Connection, socket.socket]:
    """A connection that is measured from CONNACK on."""
    connection, client = daemon.connect()
    await answers(client, 4)
    connection.meter = meters.of("dev-1")
    return connection, client


class Moment:
    """A clock that stands."""

    def __init__(self) -> None:
        self.now = asyncio.get_running_loop().time()

    def __call__(self) -> float:
        return self.now


async def test_more_messages_than_allowed_wait_and_none_is_lost(daemon: Daemon) -> None:
    daemon.take = acknowledge
    meters = Meters(Limits(messages_per_s=200, rate_burst=0.1), daemon.loop.time)
    connection, client = await metered(daemon, meters)
    client.send(b"".join(publish("t", b"x", 1, number) for number in range(1, 101)))
    await until(lambda: daemon.events)
    assert len(daemon.events) < 100
    assert connection.paused
    assert meters.held_now == 1
    await until(lambda: len(daemon.events) == 100)
    assert [event_id(event) for event in daemon.events] == list(range(1, 101))
    assert (await answers(client, 400))[-4:] == b"\x40\x02\0\x64"
    await until(lambda: not meters.held_now)
    assert meters.pauses > 1


async def test_more_bytes_than_allowed_stop_the_reading(daemon: Daemon) -> None:
    daemon.take = acknowledge
    meters = Meters(Limits(bytes_per_s=1024, rate_burst=0.01), daemon.loop.time)
    connection, client = await metered(daemon, meters)
    client.send(publish("t", bytes(20_000), 1, 1))
    await until(lambda: daemon.events)
    client.send(publish("t", b"behind it", 1, 2))
    await asyncio.sleep(0.05)
    assert connection.paused
    assert len(daemon.events) == 1
    connection.end()
    assert (daemon.endings, meters.held_now) == ([(LOST, True)], 0)


async def test_what_the_pipeline_holds_is_not_counted_twice(daemon: Daemon) -> None:
    moment, blocked = Moment(), [True]
    meters = Meters(Limits(messages_per_s=3, rate_burst=1), moment)
    daemon.take = lambda connection, event: not blocked[0] and acknowledge(connection, event)
    connection, client = await metered(daemon, meters)
    client.send(b"".join(publish("t", b"x", 1, number) for number in (1, 2)))
    await until(lambda: daemon.held)
    for _ in range(10):
        connection.resume()
    assert not connection.paused
    blocked[0] = False
    connection.resume()
    assert len(daemon.events) == 2


async def test_a_pause_ends_with_the_good_bye(daemon: Daemon) -> None:
    daemon.take = acknowledge
    meters = Meters(Limits(messages_per_s=1, rate_burst=1), daemon.loop.time)
    connection, client = await metered(daemon, meters)
    client.send(b"".join(publish("t", b"x", 1, number) for number in (1, 2, 3)))
    await until(lambda: connection.paused)
    connection.dismiss(0x8D, why="revoked")
    assert daemon.endings == [("revoked", True)]
    assert meters.held_now == 0
    assert len(daemon.events) == 1
