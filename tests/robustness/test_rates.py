"""Those that fail, come too often, send or hold too much: at a daemon with low bounds."""

from __future__ import annotations

import contextlib
import socket
import ssl
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.robustness import packets
from tests.robustness.attacker import CONNACK_ACCEPTED, context, dial, dial_tls, read_exactly, read_until_closed
from tests.robustness.target import Target, target, wait_until

BOUNDS = """\
address_exempt = []
address_failures_burst = 20
address_failures_per_s = 5
device_burst = 10
device_connects_per_s = 5
messages_per_s = 500
rate_burst = "1 s"
memory = "4 MiB"
"""
MESSAGES = 1500


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    with target(tmp_path_factory.mktemp("rates"), BOUNDS) as running:
        yield running


def connected(sock: socket.socket, client_id: str) -> bool:
    """Whether the daemon lets it in."""
    with contextlib.suppress(OSError):
        sock.sendall(packets.connect(client_id))
        return sock.recv(4) == CONNACK_ACCEPTED
    return False


def test_a_device_that_sends_too_much_is_read_slowly_and_loses_nothing(daemon: Target) -> None:
    sock, _ = dial(daemon.plain_port)
    sock.settimeout(30)
    with sock:
        assert connected(sock, "hasty")
        topic = "devices/hasty/telemetry/x"
        sock.sendall(b"".join(packets.publish(topic, b"x", packet_id=number) for number in range(1, MESSAGES + 1)))
        said = read_exactly(sock, 4 * MESSAGES)
    assert said == b"".join(b"\x40\x02" + number.to_bytes(2, "big") for number in range(1, MESSAGES + 1))
    held = [line for line in daemon.log_lines() if "held device=hasty" in line]
    assert len(held) == 1, "one line a minute"


def test_a_device_that_connects_all_the_time(daemon: Target, device_certificate: Path) -> None:
    settings = context(daemon.authority.pem, device_certificate)

    def once() -> bool:
        with contextlib.suppress(ssl.SSLError, OSError):
            sock, _ = dial_tls(daemon.tls_port, settings)
            with sock:
                return connected(sock, "attacker")
        return False

    assert wait_until(lambda: not once(), 30.0)
    assert wait_until(once, 10.0)
    assert any("device_connects_per_s" in line for line in daemon.log_lines())


def test_packets_that_never_end_do_not_add_up(daemon: Target) -> None:
    """Each is within `mqtt.max_packet_size`; together they are more than `limits.memory`."""
    begun = packets.publish("devices/greedy/x", bytes(1_000_000), qos=0)[:-1]
    with contextlib.ExitStack() as stack:
        for number in range(12):
            sock = stack.enter_context(dial(daemon.plain_port)[0])
            assert connected(sock, f"greedy-{number}")
            with contextlib.suppress(ConnectionError):
                sock.sendall(begun)
        daemon.line_about("limits.memory is reached", "ended")


def test_a_connect_of_a_megabyte_is_refused_at_its_length(daemon: Target) -> None:
    sock, peer = dial(daemon.plain_port)
    with sock:
        sock.sendall(packets.packet(0x10, bytes(1_000_000))[:5])
        read_until_closed(sock)
    daemon.line_about(peer, "a packet of")


def test_an_address_that_fails_all_the_time(daemon: Target) -> None:
    """Last here: it is everybody's address. Those that are connected go on (see `unharmed`)."""

    def refused_at_once() -> bool:
        sock, _ = dial(daemon.plain_port)
        with sock, contextlib.suppress(ConnectionError):
            sock.sendall(packets.PINGREQ)
            read_until_closed(sock)
        return any("address_failures_per_s" in line for line in daemon.log_lines())

    assert wait_until(refused_at_once, 30.0)

    def visitor_gets_in() -> bool:
        sock, _ = dial(daemon.plain_port)
        with sock:
            return connected(sock, "visitor")

    time.sleep(0.1)
    assert wait_until(visitor_gets_in, 30.0), "the pause ends"
