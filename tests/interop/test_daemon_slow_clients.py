"""Clients that do not read, do not write or do not stop: they cost themselves, not their neighbours."""

from __future__ import annotations

import contextlib
import ssl
import time
from collections.abc import Iterator

import pytest

from tests.interop.conftest import NewGateway
from tests.interop.gateway import Gateway, wait_until
from tests.interop.wire import PUBACK, PUBCOMP, PUBLISH, PUBREC, SUBACK, Wire, packet, publish, pubrel, subscribe

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


BATCH, BATCHES = 100, 80
STUCK = [(qos, secure) for qos in (0, 1, 2) for secure in (False, True)]
STUCK_GROWTH_MAX_BYTES = 20 * MIB
"""16 MB pass by; what the six do not take in would be three times as much."""


@pytest.fixture
def stuck(meeting: Gateway) -> Iterator[list[Wire]]:
    """Subscribers at every QoS, over TCP and over TLS, that read nothing from now on."""
    with contextlib.ExitStack() as stack:
        wires = []
        for qos, secure in STUCK:
            name = f"still-{qos}-{'tls' if secure else 'tcp'}"
            context = None
            if secure:
                context = ssl.create_default_context(cafile=str(meeting.authority.pem))
                context.load_cert_chain(meeting.authority.device(name))
            port = meeting.tls_port if secure else meeting.port
            wires.append(stack.enter_context(Wire(port, name, tls=context)))
            wires[-1].connected()
            assert wires[-1].subscribe("open/stuck", qos) == qos
        yield wires


def publish_batch(talker: Wire, number: int) -> None:
    """At QoS 2, to the end of every hand-shake."""
    identifiers = range(1, BATCH + 1)
    payloads = (b"%06d" % (number * BATCH + each) + bytes(1900) for each in identifiers)
    bodies = zip(payloads, identifiers, strict=True)
    talker.send(b"".join(publish("open/stuck", payload, 2, identifier) for payload, identifier in bodies))
    assert talker.packet_ids(PUBREC, BATCH) == list(identifiers)
    talker.send(b"".join(map(pubrel, identifiers)))
    assert talker.packet_ids(PUBCOMP, BATCH) == list(identifiers)


def test_subscribers_that_are_stuck_cost_their_neighbour_nothing(meeting: Gateway, stuck: list[Wire]) -> None:
    with Wire(meeting.port, "busy-talker") as talker, Wire(meeting.port, "awake") as awake:
        talker.connected(), awake.connected()
        assert awake.subscribe("open/stuck", 1) == 1
        before = meeting.memory()
        for batch in range(BATCHES):
            publish_batch(talker, batch)
            for number in range(1, BATCH + 1):
                got = awake.publication()
                assert int(got.payload[:6]) == batch * BATCH + number
                awake.send(packet(PUBACK, got.packet_id.to_bytes(2, "big")))
        assert meeting.memory() - before < STUCK_GROWTH_MAX_BYTES
        for (qos, _), wire in zip(STUCK, stuck, strict=True):
            first = wire.publication()
            assert (first.payload[:6], first.qos) == (b"000001", qos), "it was stuck, not gone"


def test_who_acknowledges_nothing_is_not_sent_it_again_for_ever(new_gateway: NewGateway) -> None:
    """A session that stays away with a window full of large messages: they go when all have too much of them."""
    gateway = new_gateway('[limits]\ninflight_bytes = "64 KiB"\n').start()
    with Wire(gateway.port, "mute", version=5, expiry_s=600) as mute:
        mute.connected()
        assert mute.subscribe(LOCAL.format("mute"), 1) == 1
        for number in range(1, 11):
            mute.publish(LOCAL.format("mute"), bytes(16 << 10), 1, number)
        assert sorted(mute.receive()[0] for _ in range(20)) == [PUBLISH] * 10 + [PUBACK] * 10
    wait_until(lambda: "limits.inflight_bytes is reached" in gateway.log(), "the look at what is in flight")
    with Wire(gateway.port, "mute", version=5, clean=False, expiry_s=600) as mute:
        assert mute.connected(), "the session is there"
        mute.publish(LOCAL.format("mute"), b"more", 1, 1)
        assert mute.packet_ids(PUBACK, 1) == [1]
        assert mute.publication().payload == b"more"
