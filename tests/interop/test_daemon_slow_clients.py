"""Clients that do not read, do not write or do not stop: they cost themselves, not their neighbours."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

import pytest

from tests.interop.gateway import Gateway, wait_until
from tests.interop.wire import PUBACK, SUBACK, Wire, publish, subscribe

MIB = 1 << 20
GROWTH_MAX_BYTES = 24 * MIB
LOCAL, TELEMETRY = "devices/{}/local", "devices/{}/telemetry/x"


@pytest.fixture
def neighbour(broker: Gateway) -> Iterator[Wire]:
    """A device that minds its own business, and must get its acknowledgements all the while."""
    with Wire(broker.port, "neighbour") as wire:
        wire.connected()
        yield wire


def check(neighbour: Wire, within_s: float = 2.0) -> None:
    """It is served as if it were alone."""
    begun = time.monotonic()
    neighbour.publish(TELEMETRY.format("neighbour"), b"x")
    assert neighbour.packet_ids(PUBACK, 1) == [1]
    assert time.monotonic() - begun < within_s


def send_until_stuck(wire: Wire, data: bytes, most: int) -> int:
    """Sends until nothing is taken for a while; returns the bytes, at most about `most`."""
    wire.sock.settimeout(0.5)
    sent = 0
    with contextlib.suppress(TimeoutError):
        while sent < most:
            sent += wire.sock.send(data)
    wire.sock.settimeout(10)
    return sent


def test_a_client_that_never_reads_its_acknowledgements(broker: Gateway, neighbour: Wire) -> None:
    before = broker.memory()
    with Wire(broker.port, "deaf") as wire:
        wire.connected()
        one = publish(LOCAL.format("deaf"), b"", 1, 7)
        sent = send_until_stuck(wire, one * 1000, 200 * MIB)
        assert sent < 150 * MIB, "it could go on for ever"
        assert broker.memory() - before < GROWTH_MAX_BYTES
        check(neighbour)
        rest = one[sent % len(one) :] if sent % len(one) else b""
        # It reads after all: not one acknowledgement is missing.
        count, wanted = 0, 4 * -(-sent // len(one))
        while count < wanted:
            count += len(wire.sock.recv(1 << 20))
            if rest:
                with contextlib.suppress(BlockingIOError):
                    wire.sock.setblocking(False)
                    rest = rest[wire.sock.send(rest) :]
                wire.sock.settimeout(10)
        assert count == wanted


@pytest.mark.parametrize("qos", [0, 1])
def test_a_subscriber_that_never_reads(broker: Gateway, neighbour: Wire, qos: int) -> None:
    name = f"stuck-{qos}"
    before = broker.memory()
    with Wire(broker.port, name) as stuck:
        stuck.connected()
        stuck.send(subscribe(LOCAL.format(name), qos))
        assert stuck.receive()[0] == SUBACK
        # By the ACL nobody else may publish there, so it talks to itself.
        one = publish(LOCAL.format(name), bytes(32 << 10), qos)
        sent = send_until_stuck(stuck, one * 8, 300 * MIB)
        check(neighbour)
        assert broker.memory() - before < GROWTH_MAX_BYTES, f"after {sent} bytes"
    check(neighbour)
    wait_until(lambda: f"gone device={name} " in broker.log(), "it is gone")


def test_many_that_never_read_at_once(broker: Gateway, neighbour: Wire) -> None:
    before = broker.memory()
    with contextlib.ExitStack() as stack:
        for number in range(10):
            wire = stack.enter_context(Wire(broker.port, f"crowd-{number}"))
            wire.connected()
            wire.send(subscribe(LOCAL.format(f"crowd-{number}"), 0))
            wire.receive()
            send_until_stuck(wire, publish(LOCAL.format(f"crowd-{number}"), bytes(64 << 10), 0) * 4, 24 * MIB)
            check(neighbour)
        assert broker.memory() - before < 10 * 4 * MIB
    check(neighbour)
