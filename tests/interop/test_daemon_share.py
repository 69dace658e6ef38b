"""A device that babbles while nothing is forwarded: it waits at its share of the lane, the others go on."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest

from tests.bench.support.processes import children
from tests.interop.conftest import NewGateway
from tests.interop.gateway import NO_SINK, Gateway, wait_until
from tests.interop.wire import PUBACK, PUBREC, Wire

SHARED = """
[mqtt]
max_packet_size = "64 KiB"
receive_maximum = 1000
[queue]
free_space_floor = "1 MiB"
segment_bytes = "512 KiB"
{more}
[lanes.alarm]
segment_bytes = "256 KiB"
max_bytes = "4 MiB"
[lanes.state]
segment_bytes = "1 MiB"
"""
LANE_BYTES = 4 << 20
PAYLOAD = bytes(16 << 10)
MORE_THAN_FITS = 280
QUOTA_EXCEEDED = 0x97


def shared(new_gateway: NewGateway, more: str = "") -> Gateway:
    """A gateway whose Kafka does not answer."""
    return new_gateway(SHARED.format(more=more), sink=NO_SINK).start()


def babble(wire: Wire, device: str, count: int = MORE_THAN_FITS) -> int:
    """Publishes so many; returns how many bytes were acknowledged before nothing was for a second.

    What is not read any more waits in the buffers of the kernel, which hold 3 MB on one day and 4 on another:
    with more the sender would wait, too.
    """
    for number in range(1, count + 1):
        wire.publish(f"devices/{device}/alarm/a", PAYLOAD + b"%04d" % number, 1, number)
    taken = 0
    while True:
        try:
            kind, body = wire.receive(1.0)
        except TimeoutError:
            return taken * len(PAYLOAD)
        taken += 1
        assert (kind, int.from_bytes(body[:2], "big")) == (PUBACK, taken)


def takes(wire: Wire, device: str, count: int = 1) -> bool:
    """Whether so many of the device's messages are acknowledged."""
    for number in range(1, count + 1):
        wire.publish(f"devices/{device}/alarm/a", PAYLOAD, 1, number)
    return wire.packet_ids(PUBACK, count) == list(range(1, count + 1))


def test_one_of_several_gets_half_and_the_others_go_on(new_gateway: NewGateway) -> None:
    gateway = shared(new_gateway)
    with Wire(gateway.port, "babbler") as babbler, Wire(gateway.port, "two") as two, Wire(gateway.port, "late") as late:
        babbler.connected(), two.connected(), late.connected()
        assert takes(two, "two")
        assert LANE_BYTES * 0.4 < babble(babbler, "babbler", 180) < LANE_BYTES * 0.55
        assert takes(two, "two", 40)
        assert takes(late, "late", 20)
        assert babbler.silent(0.3), "it waits on, and is not thrown out"
    wait_until(lambda: "waiting: device=babbler in lane alarm" in gateway.log(), "the log names it")


def test_the_only_device_fills_the_lane_but_for_room_for_another(new_gateway: NewGateway) -> None:
    gateway = shared(new_gateway)
    with Wire(gateway.port, "babbler") as babbler, Wire(gateway.port, "late") as late:
        babbler.connected(), late.connected()
        assert babble(babbler, "babbler") > LANE_BYTES * 0.8
        assert takes(late, "late")


def test_a_share_that_is_set_holds_a_single_device_and_a_restart_does_not_renew_it(new_gateway: NewGateway) -> None:
    gateway = shared(new_gateway, "device_share = 20")
    with Wire(gateway.port, "babbler") as babbler:
        babbler.connected()
        taken = babble(babbler, "babbler", 100)
    assert LANE_BYTES * 0.15 < taken < LANE_BYTES * 0.22
    gateway.kill()
    gateway.start()
    with Wire(gateway.port, "babbler") as babbler, Wire(gateway.port, "two") as two:
        babbler.connected(), two.connected()
        assert babble(babbler, "babbler", 30) < LANE_BYTES * 0.1, "what it had there counts again"
        assert takes(two, "two", 5)


def test_mqtt_5_is_told_when_it_has_waited_and_older_versions_wait_on(new_gateway: NewGateway) -> None:
    gateway = shared(new_gateway, 'device_share = 20\nrefuse_after = "1 s"')
    with Wire(gateway.port, "new", version=5) as new, Wire(gateway.port, "old") as old:
        new.connected(), old.connected()
        for number in range(1, 101):
            new.publish("devices/new/alarm/a", PAYLOAD, 1 + number % 2, number)
            old.publish("devices/old/alarm/a", PAYLOAD, 1, number)
        answers = [new.receive(15) for _ in range(100)]
        codes = [body[2] if len(body) > 2 else 0 for _, body in answers]
        taken = codes.count(0)
        assert 0 < taken < 100
        assert codes == [0] * taken + [QUOTA_EXCEEDED] * (100 - taken)
        assert {kind for kind, _ in answers} == {PUBACK, PUBREC}
        assert [int.from_bytes(body[:2], "big") for _, body in answers] == list(range(1, 101))
        count = len(old.packet_ids(PUBACK, taken - 5))
        while not old.silent(1.5):
            count += 1
        assert count < 100, "it was not told anything else"
    numbers = [device for device, _ in gateway.messages("alarm")]
    assert numbers.count("new") == taken


@pytest.fixture
def stuck(new_gateway: NewGateway) -> Iterator[Gateway]:
    """A gateway whose bus side stands still until it is told to go on."""
    gateway = new_gateway(SHARED.format(more='refuse_after = "1 s"')).start()
    wait_until(lambda: "bus side is" in gateway.log(), "the bus side has begun")
    for process in children(gateway.pid):
        os.kill(process, signal.SIGSTOP)
    yield gateway
    if gateway.running:
        assert gateway.stop() == 0
        assert "Traceback" not in gateway.log(), gateway.log()


def test_a_full_lane_tells_mqtt_5_too_and_takes_all_again_when_there_is_room(stuck: Gateway) -> None:
    with Wire(stuck.port, "new", version=5) as new, Wire(stuck.port, "old") as old:
        new.connected(), old.connected()
        for number in range(1, 1 + MORE_THAN_FITS):
            old.publish("devices/old/alarm/a", PAYLOAD, 1, number)
            new.publish("devices/new/alarm/a", PAYLOAD, 1, number)
        codes = [body[2] if len(body) > 2 else 0 for _, body in (new.receive(15) for _ in range(MORE_THAN_FITS))]
        assert codes.count(QUOTA_EXCEEDED) > 100
        for process in children(stuck.pid):
            os.kill(process, signal.SIGCONT)
        assert old.packet_ids(PUBACK, MORE_THAN_FITS, 20) == list(range(1, 1 + MORE_THAN_FITS))
        new.publish("devices/new/alarm/a", b"again", 1, 7)
        assert new.receive() == (PUBACK, b"\0\x07")
    wait_until(lambda: len(stuck.forwarded("alarm")) == MORE_THAN_FITS + codes.count(0) + 1, "all of it is forwarded")
