"""Wills of MQTT 5 on the wire: delay, cancellation, the session's end, take-over, DISCONNECT that asks for it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.interop.gateway import Gateway
from tests.interop.paho_device import Device
from tests.interop.wire import DISCONNECT, Wire, packet

WITH_WILL = packet(DISCONNECT, b"\x04")


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    """A client id of the test's own."""
    return str(request.node.name).replace("[", "-").replace("]", "")[:40]


@pytest.fixture
def watch(meeting: Gateway, name: str) -> Iterator[Device]:
    """Hears the will of `name`."""
    with Device(meeting.port, f"{name}-watch") as device:
        assert device.subscribe(f"open/{name}", 1) == 1
        yield device


def connect(meeting: Gateway, name: str, *, delay_s: int, expiry_s: int, clean: bool = True) -> Wire:
    wire = Wire(
        meeting.port,
        name,
        version=5,
        clean=clean,
        expiry_s=expiry_s,
        will=(f"open/{name}", b"gone"),
        will_delay_s=delay_s,
    )
    wire.connected()
    return wire


def silent(watch: Device, name: str) -> bool:
    """Whether nothing was published to it up to now."""
    watch.publish(f"open/{name}", b"marker", 1)
    return watch.message()[1] == b"marker"


@pytest.mark.paho("will delay")
def test_a_delay_is_waited_for(meeting: Gateway, name: str, watch: Device) -> None:
    connect(meeting, name, delay_s=2, expiry_s=60).sock.close()
    assert silent(watch, name)
    assert watch.message(6.0)[1] == b"gone"


def test_a_session_that_ends_first_brings_it_forward(meeting: Gateway, name: str, watch: Device) -> None:
    connect(meeting, name, delay_s=60, expiry_s=0).sock.close()
    assert watch.message(2.0)[1] == b"gone"
    connect(meeting, name, delay_s=60, expiry_s=1).sock.close()
    assert watch.message(6.0)[1] == b"gone"


@pytest.mark.paho("will delay")
@pytest.mark.mqtt("MQTT-3.1.3-9")
def test_who_comes_back_in_time_cancels_it(meeting: Gateway, name: str, watch: Device) -> None:
    """[MQTT-3.1.3-9]."""
    connect(meeting, name, delay_s=60, expiry_s=60).sock.close()
    with Wire(meeting.port, name, version=5, clean=False) as again:
        assert again.connected()
        assert silent(watch, name)
    assert silent(watch, name)


def test_a_clean_start_ends_the_session_and_publishes_it(meeting: Gateway, name: str, watch: Device) -> None:
    connect(meeting, name, delay_s=60, expiry_s=60).sock.close()
    with Wire(meeting.port, name, version=5) as again:
        assert not again.connected()
        assert watch.message(2.0)[1] == b"gone"


@pytest.mark.parametrize("delay_s", [0, 60])
def test_a_take_over_publishes_one_without_delay(meeting: Gateway, name: str, watch: Device, delay_s: int) -> None:
    """[MQTT-3.1.4-3]."""
    older = connect(meeting, name, delay_s=delay_s, expiry_s=60)
    with Wire(meeting.port, name, version=5, clean=False) as newer:
        assert newer.connected()
        assert older.receive()[1][:1] == b"\x8e"
        if delay_s:
            assert silent(watch, name)
        else:
            assert watch.message(2.0)[1] == b"gone"


@pytest.mark.mqtt("MQTT-3.14.4-3")
def test_a_good_bye_that_asks_for_it(meeting: Gateway, name: str, watch: Device) -> None:
    """DISCONNECT with reason 0x04; a plain one discards it [MQTT-3.14.4-3]."""
    with connect(meeting, name, delay_s=0, expiry_s=0) as wire:
        wire.send(packet(DISCONNECT))
        with pytest.raises(ConnectionError):
            wire.receive()
        assert silent(watch, name)
    with connect(meeting, name, delay_s=0, expiry_s=0) as wire:
        wire.send(WITH_WILL)
        assert watch.message(2.0)[1] == b"gone"
