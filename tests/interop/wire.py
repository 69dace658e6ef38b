"""A client that says exactly what a test wants, and reads only when asked: bytes on a socket, nothing of ours."""

from __future__ import annotations

import socket
import ssl
import time
from types import TracebackType
from typing import NamedTuple

from tests.interop import properties as props
from tests.interop.properties import Properties

CONNACK, PUBLISH, PUBACK, PUBREC, PUBREL, PUBCOMP = 0x20, 0x30, 0x40, 0x50, 0x60, 0x70
SUBACK, UNSUBACK, PINGRESP, DISCONNECT = 0x90, 0xB0, 0xD0, 0xE0


def text(value: str) -> bytes:
    """A UTF-8 string with its length before it."""
    encoded = value.encode()
    return len(encoded).to_bytes(2, "big") + encoded


def packet(first: int, body: bytes = b"") -> bytes:
    """A control packet; the length as MQTT 3.1.1 §2.2.3 says."""
    size, rest = bytearray(), len(body)
    while True:
        rest, low = divmod(rest, 128)
        size.append(low | (0x80 if rest else 0))
        if not rest:
            return bytes([first]) + bytes(size) + body


def publish(
    topic: str,
    payload: bytes,
    qos: int = 1,
    packet_id: int = 1,
    *,
    version: int = 4,
    dup: bool = False,
    retain: bool = False,
    properties: Properties | None = None,
) -> bytes:
    """PUBLISH; properties in MQTT 5 only."""
    identifier = packet_id.to_bytes(2, "big") if qos else b""
    encoded = props.encode(properties or {}) if version == 5 else b""
    return packet(0x30 | dup << 3 | qos << 1 | retain, text(topic) + identifier + encoded + payload)


def subscribe(topic_filter: str, options: int = 0, *, version: int = 4, properties: Properties | None = None) -> bytes:
    """SUBSCRIBE with packet identifier 1; `options`: the QoS, and in MQTT 5 what §3.8.3.1 adds."""
    encoded = props.encode(properties or {}) if version == 5 else b""
    return packet(0x82, b"\0\x01" + encoded + text(topic_filter) + bytes([options]))


def unsubscribe(topic_filter: str, *, version: int = 4) -> bytes:
    """UNSUBSCRIBE with packet identifier 2."""
    return packet(0xA2, b"\0\x02" + (b"\0" if version == 5 else b"") + text(topic_filter))


class Connack(NamedTuple):
    """The answer to CONNECT; no properties before MQTT 5."""

    present: bool
    reason: int
    properties: Properties


class Publication(NamedTuple):
    """A PUBLISH that came."""

    topic: str
    payload: bytes
    qos: int
    packet_id: int
    """0 at QoS 0."""
    dup: bool
    retain: bool
    properties: Properties


def pubrel(packet_id: int) -> bytes:
    return packet(0x62, packet_id.to_bytes(2, "big"))


class Wire:
    """One connection."""

    def __init__(
        self,
        port: int,
        client_id: str,
        *,
        version: int = 4,
        clean: bool = True,
        keepalive_s: int = 60,
        expiry_s: int = 0,
        will: tuple[str, bytes] | None = None,
        will_delay_s: int = 0,
        will_qos: int = 0,
        tls: ssl.SSLContext | None = None,
        properties: Properties | None = None,
        raw: bytes | None = None,
        plain: socket.socket | None = None,
        username: str | None = None,
        password: bytes | None = None,
    ) -> None:
        """Connects, or takes `plain`, and sends CONNECT (`raw`: these bytes instead); the answer is left to be read."""
        plain = plain or socket.create_connection(("127.0.0.1", port), timeout=10)
        self.sock = tls.wrap_socket(plain, server_hostname="localhost") if tls else plain
        self.version = version
        self._read = b""
        encoded = will_part = b""
        if version == 5:
            encoded = props.encode(({props.EXPIRY: expiry_s} if expiry_s else {}) | (properties or {}))
        if will is not None:
            delay = b"\x05\x18" + will_delay_s.to_bytes(4, "big") if will_delay_s else b"\0"
            will_part = (delay if version == 5 else b"") + text(will[0]) + len(will[1]).to_bytes(2, "big") + will[1]
        account = b"" if username is None else text(username)
        account += b"" if password is None else len(password).to_bytes(2, "big") + password
        flags = (0x02 if clean else 0) | (0x04 | will_qos << 3 if will else 0)
        flags |= (0x80 if username is not None else 0) | (0x40 if password is not None else 0)
        head = text("MQTT") + bytes([version, flags]) + keepalive_s.to_bytes(2, "big")
        self.send(raw or packet(0x10, head + encoded + text(client_id) + will_part + account))

    def __enter__(self) -> Wire:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.sock.close()

    def connected(self) -> bool:
        """Reads CONNACK, which must say success; whether there was a session."""
        answer = self.connack()
        assert answer.reason == 0, answer
        return answer.present

    def connack(self) -> Connack:
        """Reads CONNACK."""
        kind, body = self.receive()
        assert (kind, body[0] & 0xFE) == (CONNACK, 0), (kind, body)
        return Connack(bool(body[0]), body[1], props.decode(body[2:])[0] if self.version == 5 else {})

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)

    def publish(
        self,
        topic: str,
        payload: bytes,
        qos: int = 1,
        packet_id: int = 1,
        *,
        dup: bool = False,
        properties: Properties | None = None,
    ) -> None:
        self.send(publish(topic, payload, qos, packet_id, version=self.version, dup=dup, properties=properties))

    def subscribe(self, topic_filter: str, options: int = 0, properties: Properties | None = None) -> int:
        """Returns the reason in SUBACK, which must come next."""
        self.send(subscribe(topic_filter, options, version=self.version, properties=properties))
        kind, body = self.receive()
        assert (kind, body[:2]) == (SUBACK, b"\0\x01"), (kind, body)
        return body[-1]

    def receive(self, timeout_s: float = 10.0) -> tuple[int, bytes]:
        """The next packet: its type and what follows the length.

        Raises TimeoutError, or ConnectionError when the gateway has closed it.
        """
        first, body = self._next(timeout_s)
        return first & 0xF0, body

    def publication(self, timeout_s: float = 10.0) -> Publication:
        """The next packet, which must be PUBLISH. Raises as `receive` does."""
        first, body = self._next(timeout_s)
        assert first & 0xF0 == PUBLISH, (first, body)
        qos, at = first >> 1 & 3, 2 + int.from_bytes(body[:2], "big")
        topic, rest = body[2:at].decode(), body[at:]
        packet_id = int.from_bytes(rest[:2], "big") if qos else 0
        found, payload = props.decode(rest[2 * bool(qos) :]) if self.version == 5 else ({}, rest[2 * bool(qos) :])
        return Publication(topic, payload, qos, packet_id, bool(first & 8), bool(first & 1), found)

    def _next(self, timeout_s: float) -> tuple[int, bytes]:
        deadline = time.monotonic() + timeout_s
        while (found := self._take()) is None:
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError
            self.sock.settimeout(left)
            data = self.sock.recv(1 << 16)
            if not data:
                raise ConnectionError("closed")
            self._read += data
        return found

    def packet_ids(self, kind: int, count: int, timeout_s: float = 10.0) -> list[int]:
        """The packet identifiers of the next `count` packets, all of this kind."""
        found = [self.receive(timeout_s) for _ in range(count)]
        assert {each for each, _ in found} <= {kind}, found
        return [int.from_bytes(body[:2], "big") for _, body in found]

    def silent(self, for_s: float) -> bool:
        """Nothing comes for so long, and the connection stands."""
        try:
            self.receive(for_s)
        except TimeoutError:
            return True
        return False

    def _take(self) -> tuple[int, bytes] | None:
        data, size, shift, at = self._read, 0, 0, 1
        while at < len(data):
            size |= (data[at] & 0x7F) << shift
            shift, at = shift + 7, at + 1
            if not data[at - 1] & 0x80:
                if len(data) < at + size:
                    return None
                self._read = data[at + size :]
                return data[0], data[at : at + size]
        return None
