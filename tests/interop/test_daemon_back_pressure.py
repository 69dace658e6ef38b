"""A queue that is full: nothing is acknowledged that has no place, nobody is thrown out, the others go on."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest

from tests.bench.support.processes import children, cpu_seconds
from tests.interop.conftest import NewGateway
from tests.interop.gateway import NO_SINK, Gateway, wait_until
from tests.interop.wire import PINGRESP, PUBACK, PUBCOMP, PUBREC, Wire, packet, pubrel

TINY = """
[mqtt]
max_packet_size = "64 KiB"
receive_maximum = 1000
[queue]
free_space_floor = "1 MiB"
segment_bytes = "512 KiB"
device_share = 100
[lanes.alarm]
max_bytes = "1 MiB"
[lanes.state]
segment_bytes = "1 MiB"
[limits]
connect_timeout = "1 s"
"""
PAYLOAD = bytes(16 << 10)
MORE_THAN_FITS = 80
ALARM, TELEMETRY = "devices/{}/alarm/a", "devices/{}/telemetry/t"


@pytest.fixture
def stuck(new_gateway: NewGateway) -> Iterator[Gateway]:
    """A gateway whose bus side stands still until `go_on`."""
    gateway = new_gateway(TINY).start()
    wait_until(lambda: "bus side is" in gateway.log(), "the bus side has begun")
    [bus_side] = children(gateway.pid)
    os.kill(bus_side, signal.SIGSTOP)
    yield gateway
    if gateway.running:
        go_on(gateway)
        assert gateway.stop() == 0
        assert "Traceback" not in gateway.log(), gateway.log()


def go_on(gateway: Gateway) -> None:
    """The bus side works again, and with it space comes back."""
    for process in children(gateway.pid):
        os.kill(process, signal.SIGCONT)


def fill(wire: Wire, device: str, qos: int = 1) -> int:
    """Sends more than fits the alarm lane; returns how many were acknowledged before it was full."""
    for number in range(1, MORE_THAN_FITS + 1):
        wire.publish(ALARM.format(device), PAYLOAD + b"%04d" % number, qos, number)
    return acknowledged(wire, PUBACK if qos == 1 else PUBREC)


def acknowledged(wire: Wire, kind: int) -> int:
    """How many acknowledgements come until nothing has come for a second; they must come in order."""
    count = 0
    while True:
        try:
            found, body = wire.receive(1.0)
        except TimeoutError:
            return count
        count += 1
        assert (found, int.from_bytes(body[:2], "big")) == (kind, count)


def numbers(gateway: Gateway, lane: str = "alarm") -> list[int]:
    return [int(payload[-4:]) for _, payload in gateway.messages(lane)]


def test_with_kafka_away_for_good_publishing_blocks_and_nobody_is_thrown_out(new_gateway: NewGateway) -> None:
    gateway = new_gateway(TINY, sink=NO_SINK).start()
    with Wire(gateway.port, "one", keepalive_s=1) as one, Wire(gateway.port, "two", keepalive_s=60) as two:
        assert not one.connected()
        assert not two.connected()
        first = fill(one, "one")
        assert 0 < first < MORE_THAN_FITS
        assert one.silent(2.6), "closed, or acknowledged without a place"  # twice its keep-alive
        two.publish(TELEMETRY.format("two"), b"other lanes go on")
        assert two.packet_ids(PUBACK, 1) == [1]
    assert numbers(gateway) == list(range(1, first + 1))
    assert gateway.stop() == 0


def test_when_space_comes_back_all_that_was_held_is_acknowledged_in_order(stuck: Gateway) -> None:
    with Wire(stuck.port, "one", keepalive_s=1) as one:
        one.connected()
        first = fill(one, "one")
        assert 0 < first < MORE_THAN_FITS
        one.send(packet(0xC0))
        assert one.silent(2.5)
        go_on(stuck)
        answers = [one.receive() for _ in range(MORE_THAN_FITS - first + 1)]
        answers.remove((PINGRESP, b""))
        assert [int.from_bytes(body, "big") for _, body in answers] == list(range(first + 1, MORE_THAN_FITS + 1))
    wait_until(lambda: len(stuck.forwarded("alarm")) == MORE_THAN_FITS, "all of it forwarded")
    assert [int(payload[-4:]) for payload in stuck.forwarded("alarm")] == list(range(1, MORE_THAN_FITS + 1))


def test_two_devices_held_are_both_served_when_there_is_room(stuck: Gateway) -> None:
    with Wire(stuck.port, "one") as one, Wire(stuck.port, "two") as two:
        one.connected(), two.connected()
        first = fill(one, "one")
        for number in range(1, 11):
            two.publish(ALARM.format("two"), PAYLOAD, 1, number)
        assert two.silent(0.5)
        go_on(stuck)
        assert two.packet_ids(PUBACK, 10) == list(range(1, 11))
        assert one.packet_ids(PUBACK, MORE_THAN_FITS - first) == list(range(first + 1, MORE_THAN_FITS + 1))


def test_a_device_may_connect_and_use_the_other_lanes_while_one_is_full(stuck: Gateway) -> None:
    with Wire(stuck.port, "one") as one:
        one.connected()
        fill(one, "one")
        for client, clean in (("new", True), ("kept", False), ("kept", True)):
            with Wire(stuck.port, client, clean=clean) as wire:
                wire.connected()
                wire.publish(TELEMETRY.format(client), b"x")
                assert wire.packet_ids(PUBACK, 1) == [1]


def test_a_qos_2_message_that_was_held_when_its_connection_ended_is_taken_on_the_next(stuck: Gateway) -> None:
    with Wire(stuck.port, "one", clean=False) as one:
        one.connected()
        first = fill(one, "one", qos=2)
        assert 0 < first < MORE_THAN_FITS
    with Wire(stuck.port, "one", clean=False) as again:
        assert again.connected()
        for number in range(1, MORE_THAN_FITS + 1):
            again.publish(ALARM.format("one"), PAYLOAD + b"%04d" % number, 2, number, dup=True)
        assert again.packet_ids(PUBREC, first) == list(range(1, first + 1))
        assert again.silent(0.5)
        go_on(stuck)
        assert again.packet_ids(PUBREC, MORE_THAN_FITS - first) == list(range(first + 1, MORE_THAN_FITS + 1))


def test_a_release_that_was_held_when_its_connection_ended_is_completed_on_the_next(stuck: Gateway) -> None:
    with Wire(stuck.port, "one", clean=False) as one, Wire(stuck.port, "two") as two:
        one.connected(), two.connected()
        one.publish(ALARM.format("one"), b"x", 2, 7)
        assert one.packet_ids(PUBREC, 1) == [7]
        fill(two, "two")
        one.send(pubrel(7))
        assert one.silent(0.5)
    with Wire(stuck.port, "one", clean=False) as again:
        assert again.connected()
        again.send(pubrel(7))
        assert again.silent(0.5)
        go_on(stuck)
        assert again.packet_ids(PUBCOMP, 1) == [7]


def test_many_held_devices_do_not_slow_the_other_lanes_down(stuck: Gateway) -> None:
    """Every commit looks after those who wait; that must not cost a turn for each of them."""
    with Wire(stuck.port, "one") as one, Wire(stuck.port, "two") as two:
        one.connected(), two.connected()
        alone = cost(stuck, two)
        fill(one, "one")
        held = [Wire(stuck.port, f"held-{number}") for number in range(300)]
        for number, wire in enumerate(held):
            wire.connected()
            wire.publish(ALARM.format(f"held-{number}"), PAYLOAD)
        assert held[-1].silent(0.2)
        crowded = cost(stuck, two)
        for wire in held:
            wire.sock.close()
    assert crowded < 2 * alone + 0.1, f"{crowded:.2f} s of CPU against {alone:.2f} s"


def cost(gateway: Gateway, wire: Wire, count: int = 500) -> float:
    """Seconds of CPU for so many messages one after the other, each acknowledged."""
    begun = cpu_seconds(gateway.pid)
    for _ in range(count):
        wire.publish(TELEMETRY.format("two"), b"x")
        wire.receive()
    return cpu_seconds(gateway.pid) - begun


def test_the_wills_that_find_no_room_are_lost_aloud(stuck: Gateway) -> None:
    with Wire(stuck.port, "one") as one:
        one.connected()
        fill(one, "one")
        wills = [Wire(stuck.port, f"w-{n}", will=(ALARM.format(f"w-{n}"), PAYLOAD)) for n in range(12)]
        for wire in wills:
            wire.connected()
            wire.sock.close()
        wait_until(lambda: "its will is not in the queue" in stuck.log(), "the log names a will that is lost", 5.0)
