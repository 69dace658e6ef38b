"""Thousands of connections that are opened and not used: those that are in go on, and new devices get in meanwhile."""

from __future__ import annotations

import resource
import socket
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest

from tests.robustness import packets
from tests.robustness.attacker import CONNACK_ACCEPTED, PATIENCE_S, client_hello, context, dial, dial_tls, read_exactly
from tests.robustness.target import HANDSHAKES, Target, wait_until

CROWD = 10_000
"""More than twice `limits.half_open` by default."""
STALLED = 4 * HANDSHAKES


@contextmanager
def crowd(port: int, says: bytes, wanted: int) -> Iterator[list[socket.socket]]:
    """That many connections, each of which says so much and no more; as many as this process may have open."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    with ExitStack() as stack:
        sockets = []
        for _ in range(min(wanted, hard // 2)):
            sock = stack.enter_context(dial(port)[0])
            with suppress(ConnectionError):  # pushed out by those that came behind it
                sock.sendall(says)
            sockets.append(sock)
        yield sockets


def gets_in(daemon: Target, certificate: Path) -> None:
    """A device that comes now gets its CONNACK (at the latest when `dial` runs out of patience)."""
    sock, _ = dial_tls(daemon.tls_port, context(daemon.authority.pem, certificate))
    with sock:
        sock.sendall(packets.connect("attacker"))
        assert read_exactly(sock, 4) == CONNACK_ACCEPTED


@pytest.mark.parametrize("part", [0.0, 0.5], ids=["nothing", "half a hello"])
def test_thousands_of_silent_connections(daemon: Target, device_certificate: Path, part: float) -> None:
    hello = client_hello(context(daemon.authority.pem, None))
    with crowd(daemon.tls_port, hello[: int(len(hello) * part)], CROWD) as sockets:
        gets_in(daemon, device_certificate)
        assert len(sockets) <= CROWD


def test_handshakes_that_stand_still_give_their_places_up(daemon: Target, device_certificate: Path) -> None:
    """They have had our answer and are silent: their places go to those that wait for one, the newest first."""
    hello = client_hello(context(daemon.authority.pem, None))
    with crowd(daemon.tls_port, hello, STALLED):
        plain, _ = dial(daemon.plain_port)  # needs none
        with plain:
            plain.sendall(packets.connect("visitor"))
            assert read_exactly(plain, 4) == CONNACK_ACCEPTED
        gets_in(daemon, device_certificate)
        stood_still = "it stood still"
        assert wait_until(lambda: any(stood_still in line for line in daemon.log_lines()), 10.0)


def renewed(port: int, hello: bytes, stop: threading.Event) -> None:
    """Another machine (loopback has many addresses) that says hello and no more, again and again."""
    standing: deque[socket.socket] = deque()
    while not stop.is_set():
        with suppress(OSError):
            standing.append(socket.create_connection(("127.0.0.1", port), PATIENCE_S, ("127.0.0.66", 0)))
            standing[-1].sendall(hello)
        if len(standing) > CROWD // 3:
            standing.popleft().close()
    for sock in standing:
        sock.close()


def test_a_flood_from_one_address_keeps_no_device_of_another_waiting(daemon: Target, device_certificate: Path) -> None:
    stop = threading.Event()
    hello = client_hello(context(daemon.authority.pem, None))
    attacker = threading.Thread(target=renewed, args=(daemon.tls_port, hello, stop))
    attacker.start()
    try:
        assert wait_until(lambda: any("it stood still" in line for line in daemon.log_lines()), PATIENCE_S)
        for _ in range(3):
            gets_in(daemon, device_certificate)
    finally:
        stop.set()
        attacker.join(PATIENCE_S)


def test_silent_connections_to_a_port_without_tls(daemon: Target) -> None:
    with crowd(daemon.plain_port, b"", CROWD):
        sock, _ = dial(daemon.plain_port)
        with sock:
            sock.sendall(packets.connect("visitor"))
            assert read_exactly(sock, 4) == CONNACK_ACCEPTED
        pushed_out = [line for line in daemon.log_lines() if "limits.half_open" in line]
        assert len(pushed_out) <= 1, "one line a minute for all of them"
