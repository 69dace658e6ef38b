"""A client that says exactly what a test wants, and reads only when asked: bytes on a socket, nothing of ours."""

from __future__ import annotations

import socket
import ssl
import time
from types import TracebackType

CONNACK, PUBLISH, PUBACK, PUBREC, PUBREL, PUBCOMP = 0x20, 0x30, 0x40, 0x50, 0x60, 0x70
SUBACK, PINGRESP, DISCONNECT = 0x90, 0xD0, 0xE0


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
    topic: str, payload: bytes, qos: int = 1, packet_id: int = 1, *, version: int = 4, dup: bool = False
) -> bytes:
    """PUBLISH without properties."""
    identifier = packet_id.to_bytes(2, "big") if qos else b""
    properties = b"\0" if version == 5 else b""
    return packet(0x30 | dup << 3 | qos << 1, text(topic) + identifier + properties + payload)


def subscribe(topic_filter: str, qos: int = 0, *, version: int = 4) -> bytes:
    """SUBSCRIBE with packet identifier 1."""
    return packet(0x82, b"\0\x01" + (b"\0" if version == 5 else b"") + text(topic_filter) + bytes([qos]))


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
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """Connects and sends CONNECT; the answer is left to be read."""
        raw = socket.create_connection(("127.0.0.1", port), timeout=10)
        self.sock = tls.wrap_socket(raw, server_hostname="localhost") if tls else raw
        self.version = version
        self._read = b""
        properties = will_part = b""
        if version == 5:
            expiry = b"\x11" + expiry_s.to_bytes(4, "big") if expiry_s else b""
            properties = bytes([len(expiry)]) + expiry
        if will is not None:
            delay = b"\x05\x18" + will_delay_s.to_bytes(4, "big") if will_delay_s else b"\0"
            will_part = (delay if version == 5 else b"") + text(will[0]) + len(will[1]).to_bytes(2, "big") + will[1]
        flags = (0x02 if clean else 0) | (0x04 if will else 0)
        head = text("MQTT") + bytes([version, flags]) + keepalive_s.to_bytes(2, "big")
        self.send(packet(0x10, head + properties + text(client_id) + will_part))

    def __enter__(self) -> Wire:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.sock.close()

    def connected(self) -> bool:
        """Reads CONNACK, which must say success; whether there was a session."""
        kind, body = self.receive()
        assert (kind, body[1]) == (CONNACK, 0), (kind, body)
        return bool(body[0])

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)

    def publish(self, topic: str, payload: bytes, qos: int = 1, packet_id: int = 1, *, dup: bool = False) -> None:
        self.send(publish(topic, payload, qos, packet_id, version=self.version, dup=dup))

    def receive(self, timeout_s: float = 10.0) -> tuple[int, bytes]:
        """The next packet: its type and what follows the length.

        Raises TimeoutError, or ConnectionError when the gateway has closed it.
        """
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
                return data[0] & 0xF0, data[at : at + size]
        return None
