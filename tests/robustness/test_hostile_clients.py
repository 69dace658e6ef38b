"""Bad input, bad certificates and bad manners: each costs its own connection and nothing else (see `unharmed`)."""

from __future__ import annotations

import contextlib
import datetime
import os
import socket
import ssl
import struct
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from random import Random

import pytest

from tests.bench.support.certificates import Authority
from tests.robustness import packets
from tests.robustness.attacker import (
    CONNACK_ACCEPTED,
    client_hello,
    context,
    dial,
    dial_tls,
    read_exactly,
    read_until_closed,
)
from tests.robustness.target import CONNECT_TIMEOUT_S, HANDSHAKE_TIMEOUT_S, HANDSHAKES, Target

DAY = datetime.timedelta(days=1)
PACKETS = 10_000
ATTACKERS = 10
TLS_EVERY = 10
TOPICS = 20_000
DEAF_MAX_BYTES = 8 << 20
SWEEP_S = 3.0
"""The daemon looks for overdue connections once a second; the rest is patience."""


def reset(sock: socket.socket) -> None:
    """Closes with RST instead of FIN, as a crashed peer's kernel or a firewall does."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def half_close(sock: socket.socket) -> None:
    """Says that nothing more comes; harmless where the daemon has hung up already."""
    with contextlib.suppress(OSError):
        sock.shutdown(socket.SHUT_WR)


def send_bad_packet(daemon: Target, client_id: str, bad: bytes, settings: ssl.SSLContext | None, greet: bool) -> None:
    """One bad packet on a connection of its own, after a good CONNECT or in its place."""
    sock, _ = dial_tls(daemon.tls_port, settings) if settings is not None else dial(daemon.plain_port)
    with sock, contextlib.suppress(ConnectionError, ssl.SSLError):
        if greet:
            sock.sendall(packets.connect(client_id))
            read_exactly(sock, len(CONNACK_ACCEPTED))
        sock.sendall(bad)
        if settings is None:
            sock.shutdown(socket.SHUT_WR)  # whatever the packet meant, the daemon has the last word now
            read_until_closed(sock)


def attack(daemon: Target, number: int, certificate: Path) -> int:
    """One attacker's share of the packets, one after another; returns how many it sent."""
    client_id, count = f"fuzz-{number}", PACKETS // ATTACKERS
    settings = context(daemon.authority.pem, certificate)
    random = Random(number)
    bad_packets = packets.bad_packets(random, client_id)
    for sent in range(count):
        by_tls = settings if sent % TLS_EVERY == 0 else None
        send_bad_packet(daemon, client_id, next(bad_packets), by_tls, greet=random.random() < 0.5)
    return count


@pytest.mark.timeout(240)
def test_ten_thousand_bad_packets(daemon: Target, tmp_path: Path) -> None:
    certificates = [daemon.authority.device(f"fuzz-{number}", into=tmp_path) for number in range(ATTACKERS)]
    with ThreadPoolExecutor(ATTACKERS) as pool:
        sent = sum(pool.map(lambda number: attack(daemon, number, certificates[number]), range(ATTACKERS)))
    assert sent == PACKETS
    assert not [line for line in daemon.log_lines() if "Traceback" in line], (
        "a bad packet is the peer's error, not ours"
    )


@pytest.mark.parametrize(
    "bad",
    [
        pytest.param(packets.PINGREQ, id="another packet before CONNECT"),
        pytest.param(b"\x00\x00", id="packet type 0"),
        pytest.param(b"\x30\xff\xff\xff\xff\x7f", id="remaining length of five bytes"),
        pytest.param(b"\x10\xff\xff\xff\x7f", id="CONNECT of 256 MB"),
        pytest.param(packets.packet(0x10, packets.text("MQTT") + b"\x09\x02\x00\x3c\x00\x01x"), id="protocol level 9"),
        pytest.param(packets.packet(0x10, packets.text("HTTP") + b"\x04\x02\x00\x3c\x00\x01x"), id="another protocol"),
    ],
)
def test_a_bad_first_packet_is_logged_with_its_peer(daemon: Target, bad: bytes) -> None:
    sock, peer = dial(daemon.plain_port)
    with sock:
        sock.sendall(bad)
        read_until_closed(sock)
    assert daemon.line_about(peer, "refused")


@pytest.mark.parametrize(
    "bad",
    [
        pytest.param(packets.connect("rude"), id="a second CONNECT"),
        pytest.param(packets.publish("devices/#", b""), id="a wildcard in a topic"),
        pytest.param(packets.publish("devices/rude/a", b"", packet_id=0), id="packet id 0"),
        pytest.param(b"\x36\x09\x00\x05topic\x00\x01", id="QoS 3"),
        pytest.param(packets.packet(0x80, b"\x00\x01\x00\x01a\x00"), id="SUBSCRIBE with wrong flags"),
        pytest.param(packets.packet(0x30, b"\x00\x02\xc3\x28"), id="a topic that is not UTF-8"),
        pytest.param(b"\x20\x02\x00\x00", id="a packet that only servers send"),
        pytest.param(b"\x30\xff\xff\xff\x7f", id="PUBLISH of 256 MB"),
    ],
)
def test_a_bad_packet_of_a_connected_client_is_logged_with_its_peer(daemon: Target, bad: bytes) -> None:
    sock, peer = dial(daemon.plain_port)
    with sock:
        sock.sendall(packets.connect("rude"))
        assert read_exactly(sock, 4) == CONNACK_ACCEPTED
        sock.sendall(bad)
        read_until_closed(sock)
    line = daemon.line_about(peer, "refused")
    assert "rude" in line


def refused_certificate(daemon: Target, settings: ssl.SSLContext, *words: str) -> None:
    """A connection with this TLS gets no answer to its CONNECT, and the log says why."""
    sock, peer = dial(daemon.tls_port)
    with sock, contextlib.suppress(ssl.SSLError, ConnectionError):
        tls = settings.wrap_socket(sock, server_hostname="localhost")
        tls.sendall(packets.connect("attacker"))
        assert read_until_closed(tls) == b""
    daemon.line_about(peer, *words)


def test_no_certificate(daemon: Target) -> None:
    refused_certificate(daemon, context(daemon.authority.pem, None), "no certificate")


def test_a_certificate_of_another_ca(daemon: Target, tmp_path: Path) -> None:
    foreign = Authority(tmp_path, "somebody else's CA").device("attacker")
    refused_certificate(daemon, context(daemon.authority.pem, foreign), "CA that is not ours")


def test_a_certificate_of_a_ca_with_our_ca_s_name(daemon: Target, tmp_path: Path) -> None:
    forged = Authority(tmp_path).device("attacker")
    refused_certificate(daemon, context(daemon.authority.pem, forged), "signature is wrong", "not ours")


def test_an_expired_certificate(daemon: Target, tmp_path: Path) -> None:
    expired = daemon.authority.device("attacker", starts=-2 * DAY, ends=-DAY, into=tmp_path)
    refused_certificate(daemon, context(daemon.authority.pem, expired), "has expired")


def test_a_certificate_that_is_not_valid_yet(daemon: Target, tmp_path: Path) -> None:
    early = daemon.authority.device("attacker", starts=DAY, ends=2 * DAY, into=tmp_path)
    refused_certificate(daemon, context(daemon.authority.pem, early), "not valid yet")


def test_a_certificate_whose_name_is_a_wildcard(daemon: Target, tmp_path: Path) -> None:
    wild = daemon.authority.device("attacker#", into=tmp_path)
    refused_certificate(daemon, context(daemon.authority.pem, wild), "attacker#")


def test_a_client_id_that_is_not_the_certificate_s(daemon: Target, device_certificate: Path) -> None:
    sock, peer = dial_tls(daemon.tls_port, context(daemon.authority.pem, device_certificate))
    with sock:
        sock.sendall(packets.connect("steady"))
        assert read_until_closed(sock) == b"\x20\x02\x00\x02"  # identifier rejected (MQTT 3.1.1 §3.2.2.3)
    line = daemon.line_about(peer, "client id")
    assert "attacker" in line
    assert "steady" in line


def test_a_resumed_session_is_its_own_device_and_no_other(daemon: Target, device_certificate: Path) -> None:
    settings = context(daemon.authority.pem, device_certificate)
    first, _ = dial_tls(daemon.tls_port, settings)
    with first:
        first.sendall(packets.connect("attacker"))
        assert read_exactly(first, 4) == CONNACK_ACCEPTED
        session = first.session
    for client_id, answer in (("attacker", CONNACK_ACCEPTED), ("steady", b"\x20\x02\x00\x02")):
        again, _ = dial_tls(daemon.tls_port, settings, session)
        with again:
            again.sendall(packets.connect(client_id))
            assert read_exactly(again, 4) == answer
            assert again.session_reused
            session = again.session


def test_plain_http_on_the_tls_port(daemon: Target) -> None:
    sock, peer = dial(daemon.tls_port)
    with sock:
        sock.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert not read_until_closed(sock).startswith(b"HTTP")
    daemon.line_about(peer, "HTTP")


def test_plain_mqtt_on_the_tls_port(daemon: Target) -> None:
    sock, peer = dial(daemon.tls_port)
    with sock:
        sock.sendall(packets.connect("attacker"))
        read_until_closed(sock)
    daemon.line_about(peer, "other than TLS")


@pytest.mark.parametrize("greet", [False, True], ids=["before CONNECT", "after CONNECT"])
def test_garbage_where_tls_records_should_be(daemon: Target, device_certificate: Path, greet: bool) -> None:
    sock, peer = dial_tls(daemon.tls_port, context(daemon.authority.pem, device_certificate))
    with sock:
        if greet:
            sock.sendall(packets.connect("attacker"))
            assert read_exactly(sock, 4) == CONNACK_ACCEPTED
        os.write(sock.fileno(), Random(0).randbytes(4096))  # past the TLS of this side
        read_until_closed(sock)
    daemon.line_about(peer, "gone", "refused")


@pytest.mark.parametrize("hang_up", [socket.socket.close, reset], ids=["closed", "reset"])
@pytest.mark.parametrize("part", [0.0, 0.5], ids=["nothing", "half a hello"])
def test_a_truncated_tls_hello(daemon: Target, part: float, hang_up: Callable[[socket.socket], None]) -> None:
    hello = client_hello(context(daemon.authority.pem, None))
    sock, peer = dial(daemon.tls_port)
    sock.sendall(hello[: int(len(hello) * part)])
    hang_up(sock)
    daemon.line_about(peer, "hung up", "truncated", "Closed before TLS handshake")


def test_a_tls_hello_that_never_ends(daemon: Target) -> None:
    """A byte now and then must not push the deadline on."""
    hello = client_hello(context(daemon.authority.pem, None))
    sock, peer = dial(daemon.tls_port)
    with sock, contextlib.suppress(ConnectionError):
        started = time.monotonic()
        for byte in hello:
            sock.sendall(bytes([byte]))
            time.sleep(0.1)
            assert time.monotonic() - started < 2 * HANDSHAKE_TIMEOUT_S + SWEEP_S, "the daemon waits for ever"
    daemon.line_about(peer, "in time")


def test_more_half_open_handshakes_than_there_are_places(daemon: Target, device_certificate: Path) -> None:
    """They wait for their time-out; devices on either port wait no longer than that, and get in."""
    half_open = [dial(daemon.tls_port)[0] for _ in range(HANDSHAKES + 16)]
    try:
        time.sleep(0.2)
        started = time.monotonic()
        plain, _ = dial(daemon.plain_port)
        plain.sendall(packets.connect("plain-visitor"))
        assert read_exactly(plain, 4) == CONNACK_ACCEPTED
        plain.close()
        secure, _ = dial_tls(daemon.tls_port, context(daemon.authority.pem, device_certificate))
        secure.sendall(packets.connect("attacker"))
        assert read_exactly(secure, 4) == CONNACK_ACCEPTED
        secure.close()
        assert time.monotonic() - started < 2 * HANDSHAKE_TIMEOUT_S + SWEEP_S
    finally:
        for sock in half_open:
            sock.close()


@pytest.mark.parametrize("secure", [False, True], ids=["plain", "TLS"])
def test_a_connect_that_never_comes(daemon: Target, device_certificate: Path, secure: bool) -> None:
    settings = context(daemon.authority.pem, device_certificate)
    sock, peer = dial_tls(daemon.tls_port, settings) if secure else dial(daemon.plain_port)
    with sock:
        started = time.monotonic()
        assert read_until_closed(sock) == b""
        assert time.monotonic() - started < CONNECT_TIMEOUT_S + SWEEP_S
    daemon.line_about(peer, "CONNECT")


def test_a_connect_a_byte_at_a_time(daemon: Target, device_certificate: Path) -> None:
    """Slow but in time: that is no offence."""
    sock, _ = dial_tls(daemon.tls_port, context(daemon.authority.pem, device_certificate))
    with sock:
        for byte in packets.connect("attacker"):
            sock.sendall(bytes([byte]))
            time.sleep(0.01)
        assert read_exactly(sock, 4) == CONNACK_ACCEPTED


def test_a_connect_that_never_ends(daemon: Target) -> None:
    sock, peer = dial(daemon.plain_port)
    with sock, contextlib.suppress(ConnectionError):
        started = time.monotonic()
        for byte in packets.connect("x" * 200):
            sock.sendall(bytes([byte]))
            time.sleep(0.1)
            assert time.monotonic() - started < CONNECT_TIMEOUT_S + SWEEP_S, "the daemon waits for ever"
    daemon.line_about(peer, "CONNECT")


def test_a_connection_that_goes_away_before_connect_is_complete(daemon: Target) -> None:
    sock, peer = dial(daemon.plain_port)
    sock.sendall(packets.connect("attacker")[:7])
    sock.close()
    daemon.line_about(peer, "refused", "gone", "hung up", "closed")


def test_a_client_that_falls_silent(daemon: Target) -> None:
    """One and a half times the keep-alive without a packet [MQTT-3.1.2-22]: as a peer that lost its power looks."""
    sock, peer = dial(daemon.plain_port)
    with sock:
        sock.sendall(packets.connect("silent", keepalive_s=1))
        assert read_exactly(sock, 4) == CONNACK_ACCEPTED
        started = time.monotonic()
        read_until_closed(sock)
        assert 1.0 < time.monotonic() - started < 1.5 + SWEEP_S
    assert "silent" in daemon.line_about(peer, "keepalive")


def test_a_device_that_never_uses_a_topic_twice(daemon: Target) -> None:
    """What is remembered of topics is bounded (`unharmed` looks at the memory), and every message is acknowledged."""
    sock, _ = dial(daemon.plain_port)
    with sock:
        sock.sendall(packets.connect("fickle"))
        assert read_exactly(sock, 4) == CONNACK_ACCEPTED
        for first in range(0, TOPICS, 100):
            numbers = range(first, first + 100)
            topics = (f"devices/fickle/telemetry/{number}/{'x' * 200}" for number in numbers)
            sock.sendall(b"".join(packets.publish(topic, b"x", packet_id=1 + first) for topic in topics))
            assert len(read_exactly(sock, 400)) == 400


def test_a_reset_behind_more_than_one_read(daemon: Target) -> None:
    """What was sent before it is there to be read; then the connection has to end, and not wait for its keep-alive."""
    peers = []
    for number in range(10):
        sock, peer = dial(daemon.plain_port)
        sock.sendall(packets.connect(f"resets-{number}"))
        assert read_exactly(sock, 4) == CONNACK_ACCEPTED
        sock.sendall(packets.publish(f"devices/resets-{number}/local", bytes(1000), qos=0) * 1000)
        reset(sock)
        peers.append(peer)
    for peer in peers:
        daemon.line_about(peer, "gone", timeout_s=10.0)


def test_a_subscriber_that_does_not_read(daemon: Target) -> None:
    """What waits for it is bounded: here it publishes 32 MB to itself and takes none of it."""
    before = daemon.memory()
    sock, _ = dial(daemon.plain_port)
    with sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        subscribe = packets.packet(0x82, b"\x00\x01" + packets.text("devices/deaf/#") + b"\x01")
        sock.sendall(packets.connect("deaf") + subscribe)
        message = packets.publish("devices/deaf/local", bytes(32768), qos=0)
        sock.settimeout(2.0)
        with contextlib.suppress(TimeoutError, ConnectionError):  # to stop reading from it is a fair answer
            for _ in range(1000):
                sock.sendall(message)
        assert daemon.memory() - before < DEAF_MAX_BYTES


def test_every_listener_still_takes_devices(daemon: Target, device_certificate: Path) -> None:
    """After all of the above."""
    secure, _ = dial_tls(daemon.tls_port, context(daemon.authority.pem, device_certificate))
    plain, _ = dial(daemon.plain_port)
    for sock, name in ((secure, "attacker"), (plain, "visitor")):
        with sock:
            sock.sendall(packets.connect(name))
            assert read_exactly(sock, 4) == CONNACK_ACCEPTED
