"""MQTT over WebSocket: paho-mqtt's own, with and without TLS, and peers that get the upgrade or the frames wrong."""

from __future__ import annotations

import base64
import contextlib
import os
import socket
import ssl
import struct
from collections.abc import Iterator

import pytest

from tests.interop.gateway import SMALL_QUEUE, wait_until
from tests.interop.paho_device import V5, V311, Device
from tests.interop.websocket_gateway import WebSocketGateway as Site
from tests.interop.wire import packet, publish, text

CONNECT = packet(0x10, text("MQTT") + b"\x04\x02\0\x3c" + text("raw"))
CONNACK = b"\x20\x02\0\0"
LIMITS = '\n[limits]\nupgrade_bytes = "2 KiB"\n'
BINARY, TEXT, CLOSE, PING, PONG, CONTINUATION = 2, 1, 8, 9, 10, 0


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    site = Site(tmp_path_factory.mktemp("websocket"), SMALL_QUEUE + LIMITS)
    site.start()
    yield site
    assert site.stop() == 0
    assert "Traceback" not in site.log(), site.log()


def request(**changes: str | None) -> bytes:
    """The head of a good upgrade request, with headers (underscores for hyphens) changed or left out."""
    head = {
        "Host": "localhost",
        "Upgrade": "websocket",
        "Connection": "keep-alive, Upgrade",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": base64.b64encode(os.urandom(16)).decode(),
        "Sec-WebSocket-Protocol": "mqtt",
    }
    path = changes.pop("path", "/mqtt")
    head |= {name.replace("_", "-"): value for name, value in changes.items()}
    lines = [f"{name}: {value}" for name, value in head.items() if value is not None]
    return "\r\n".join([f"GET {path} HTTP/1.1", *lines, "", ""]).encode()


def frame(payload: bytes, kind: int = BINARY, *, final: bool = True, masked: bool = True) -> bytes:
    """RFC 6455 §5.2, as a client sends it."""
    length = len(payload)
    size = bytes([length]) if length < 126 else b"\x7e" + struct.pack(">H", length)
    head = bytes([0x80 * final | kind, 0x80 * masked | size[0]]) + size[1:]
    mask = os.urandom(4)
    return head + (mask + bytes(byte ^ mask[at % 4] for at, byte in enumerate(payload)) if masked else payload)


class Peer:
    """A WebSocket client that says exactly what a test wants."""

    def __init__(self, port: int, head: bytes | None = None) -> None:
        self.sock = socket.create_connection(("127.0.0.1", port), timeout=10)
        self.sock.sendall(request() if head is None else head)
        self.read = b""

    def head(self) -> str:
        """The answer's head."""
        while b"\r\n\r\n" not in self.read:
            self._more()
        head, _, self.read = self.read.partition(b"\r\n\r\n")
        return head.decode()

    def frame(self) -> tuple[int, bytes]:
        """The next frame, which must be final and short: its kind and payload."""
        while len(self.read) < 2 or len(self.read) < 2 + self.read[1]:
            self._more()
        length = self.read[1]
        assert self.read[0] & 0x80
        assert length < 126
        found, self.read = (self.read[0] & 0x0F, self.read[2 : 2 + length]), self.read[2 + length :]
        return found

    def ended(self) -> bool:
        """The server has closed, and said nothing more."""
        with contextlib.suppress(ConnectionResetError):
            assert not self.read + self.sock.recv(1 << 16)
        return True

    def _more(self) -> None:
        data = self.sock.recv(1 << 16)
        assert data, f"closed after {self.read!r}"
        self.read += data


@pytest.fixture
def peer(site: Site) -> Peer:
    """One behind its upgrade and its CONNECT."""
    peer = Peer(site.ws_port)
    peer.head()
    peer.sock.sendall(frame(CONNECT))
    assert peer.frame() == (BINARY, CONNACK)
    return peer


@pytest.mark.parametrize("version", [V311, V5], ids=["3.1.1", "5"])
@pytest.mark.parametrize("qos", [0, 1, 2])
def test_paho_speaks_mqtt_over_websocket(site: Site, version: int, qos: int) -> None:
    name = f"ws-{version}-{qos}"
    payload = os.urandom(100_000)
    with Device(site.ws_port, name, version, transport="websockets") as device:
        assert device.connects == [(False, 0)]
        assert device.subscribe(f"devices/{name}/telemetry/x", qos) == qos
        assert device.publish(f"devices/{name}/telemetry/x", payload, qos) == 0
        assert device.message()[1] == payload
    assert (name, payload) in site.messages()


def test_paho_over_websocket_over_tls_is_who_its_certificate_says(site: Site) -> None:
    certificate = str(site.authority.pem), str(site.authority.device("dev-wss"))
    with Device(site.wss_port, "dev-wss", V5, transport="websockets", certificate=certificate) as device:
        assert device.connects == [(False, 0)]
        device.subscribe("devices/dev-wss/#", 1)
        device.publish("devices/dev-wss/telemetry/x", b"sealed way", 1)
        assert device.message()[:2] == ("devices/dev-wss/telemetry/x", b"sealed way")
        assert device.publish("devices/another/telemetry/x", b"not mine", 1) == 0x87
    assert ("dev-wss", b"sealed way") in site.messages()


def test_without_a_certificate_nothing_is_upgraded(site: Site) -> None:
    context = ssl.create_default_context(cafile=str(site.authority.pem))
    raw = socket.create_connection(("127.0.0.1", site.wss_port), timeout=10)
    sock = context.wrap_socket(raw, server_hostname="localhost")
    with pytest.raises((ssl.SSLError, ConnectionError)):  # TLS 1.3 tells the client when it reads
        sock.recv(100)
    sock.close()
    wait_until(lambda: "it presented no certificate" in site.log(), site.log())


@pytest.mark.mqtt("MQTT-6.0.0-4")
@pytest.mark.mqtt311("MQTT-6.0.0-4")
def test_a_good_upgrade_agrees_on_the_subprotocol_and_on_no_extension(site: Site) -> None:
    head = Peer(site.ws_port, request(Sec_WebSocket_Extensions="permessage-deflate")).head()
    assert head.startswith("HTTP/1.1 101 ")
    assert "sec-websocket-protocol: mqtt" in head.lower()
    assert "extensions" not in head.lower()


@pytest.mark.parametrize(
    ("head", "status", "why"),
    [
        (b"\x10\x0c\0\4MQTT\4\2\0\x3c\0\0\r\n\r\n", 400, "Bad HTTP message"),
        (request(Upgrade=None, Connection=None), 400, "Upgrade"),
        (request(Sec_WebSocket_Key=None), 400, "Sec-WebSocket-Key"),
        (request(Sec_WebSocket_Version="8"), 426, "Sec-WebSocket-Version"),
        (request().replace(b"GET", b"POST"), 400, "GET"),
        (request(path="/elsewhere"), 404, "/elsewhere"),
        (request(Sec_WebSocket_Protocol=None), 400, "sub-protocol"),
        (request(Sec_WebSocket_Protocol="mqttv3.1, chat"), 400, "sub-protocol"),
        (request(Origin="https://evil.example"), 403, "evil.example"),
        (request(Origin="https://[evil"), 403, "evil"),
        (request(Host="\xfc" * 70), 400, "header"),
        (request(Content_Length="3"), 400, "no body"),
        (request(Cookie="x" * 3000), 431, "2048 bytes"),
        (request() + frame(CONNECT), 400, "did not wait"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
@pytest.mark.mqtt("MQTT-6.0.0-3")
def test_a_bad_upgrade_is_answered_in_http_and_named_in_one_line(
    site: Site, head: bytes, status: int, why: str
) -> None:
    peer = Peer(site.ws_port, head)
    mine = f"peer=127.0.0.1:{peer.sock.getsockname()[1]} "
    answer = peer.head()
    assert answer.startswith(f"HTTP/1.1 {status} "), answer
    wait_until(lambda: mine in site.log(), "a line in the log")
    (line,) = (line for line in site.log().splitlines() if mine in line)
    assert "refused" in line
    assert why in line
    assert ("Sec-WebSocket-Version: 13" in answer) == (status == 426)


@pytest.mark.parametrize("origin", ["https://panel.example", "http://localhost:3000"])
def test_pages_of_the_gateways_own_host_and_of_those_named_may_connect(site: Site, origin: str) -> None:
    assert Peer(site.ws_port, request(Origin=origin)).head().startswith("HTTP/1.1 101 ")


@pytest.mark.mqtt("MQTT-6.0.0-2")
@pytest.mark.mqtt311("MQTT-6.0.0-2")
def test_packets_may_be_cut_by_frames_and_frames_may_hold_many(site: Site) -> None:
    peer = Peer(site.ws_port)
    peer.head()
    for at in range(len(CONNECT)):
        peer.sock.sendall(frame(CONNECT[at : at + 1], CONTINUATION if at % 3 else BINARY, final=at % 3 == 2))
    peer.sock.sendall(frame(b"", CONTINUATION))
    assert peer.frame() == (BINARY, CONNACK)
    peer.sock.sendall(frame(b"".join(publish("devices/raw/chat", b"x", 1, n) for n in (1, 2, 3))))
    assert peer.frame() == (BINARY, b"".join(b"\x40\x02\0" + bytes([n]) for n in (1, 2, 3)))


def test_pings_are_answered(peer: Peer) -> None:
    peer.sock.sendall(frame(b"are you there", PING) + frame(b"\xc0\0"))
    assert peer.frame() == (PONG, b"are you there")
    assert peer.frame() == (BINARY, b"\xd0\0")


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (frame(b"text", TEXT), 1003),
        (frame(b"unmasked", masked=False), 1002),
        (frame(b"", 5), 1002),
        (frame(struct.pack(">H", 1000) + b"bye", CLOSE), 1000),
        (frame(b"", CLOSE), 1000),
    ],
    ids=["text", "unmasked", "opcode", "close", "close-without-code"],
)
@pytest.mark.mqtt("MQTT-6.0.0-1")
@pytest.mark.mqtt311("MQTT-6.0.0-1")
def test_what_is_no_binary_frame_ends_the_connection_with_its_code(peer: Peer, data: bytes, code: int) -> None:
    peer.sock.sendall(data)
    assert peer.frame() == (CLOSE, struct.pack(">H", code))
    assert peer.ended()


def test_a_broken_packet_in_a_good_frame_ends_both(peer: Peer) -> None:
    peer.sock.sendall(frame(b"\xf0\0"))
    assert peer.frame() == (CLOSE, struct.pack(">H", 1000))
    assert peer.ended()


def test_a_message_before_the_closing_frame_is_taken_and_the_connection_does_not_linger(site: Site, peer: Peer) -> None:
    peer.sock.sendall(frame(publish("devices/raw/telemetry/last", b"word", 1)) + frame(b"", CLOSE))
    assert peer.frame()[0] == CLOSE
    assert peer.ended()
    wait_until(lambda: ("raw", b"word") in site.messages(), "the last message")


def test_a_peer_that_sends_pings_and_reads_nothing_is_given_up(site: Site, peer: Peer) -> None:
    before = site.memory()
    pings = frame(b"p" * 125, PING) * 500_000
    with pytest.raises(OSError, match=r"reset|pipe"):
        peer.sock.sendall(pings)
    assert site.memory() - before < 32 << 20


def test_a_frame_that_promises_gigabytes_is_not_waited_for_in_memory(site: Site, peer: Peer) -> None:
    before = site.memory()
    peer.sock.sendall(b"\x82\xff" + struct.pack(">Q", 1 << 40) + bytes(4))
    peer.sock.sendall(publish("devices/raw/chat", b"x" * 500_000, 1, 7))  # the mask is nought
    assert peer.frame() == (BINARY, b"\x40\x02\0\x07")
    assert site.memory() - before < 16 << 20


def test_large_messages_reach_a_peer_that_reads_slowly(site: Site, peer: Peer) -> None:
    peer.sock.sendall(frame(packet(0x82, b"\0\x01" + text("devices/raw/chat") + b"\1")))
    assert peer.frame()[1][:1] == b"\x90"
    body = os.urandom(800_000)
    sent = publish("devices/raw/chat", body, 1, 9)
    for at in range(0, len(sent), 60_000):
        peer.sock.sendall(frame(sent[at : at + 60_000]))
    data = b""
    while len(data) < len(body) + 20:
        data += peer.sock.recv(10_000)
    assert body in data
