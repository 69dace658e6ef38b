"""Where one packet ends and the next begins (MQTT5 §2.1).

`Session` has a loop of its own over the same rules, made for the hot path; `PacketStream` is the plain form of it, for
the client's side of a connection.
"""

from __future__ import annotations

from collections.abc import Iterator

from bridge.mqtt.decode import decode
from bridge.mqtt.errors import PeerError, malformed
from bridge.mqtt.packets import Packet
from bridge.mqtt.reasons import Reason
from bridge.mqtt.wire import VARINT_MAX


def remaining_length(data: bytes, at: int, end: int, version: int) -> tuple[int, int] | None:
    """(remaining length, where the body starts) of the field at `at`; None: not all of it is here yet.

    PeerError 0x81: more than four bytes, or in MQTT 5 more than needed [MQTT-1.5.5-1]. `version`: 0 before CONNECT,
    which says it itself.
    """
    value = 0
    for index in range(4):
        if at + index >= end:
            return None
        byte = data[at + index]
        value |= (byte & 0x7F) << (7 * index)
        if byte < 0x80:
            if index and not byte and (version or _level(data, at + index + 1)) >= 5:
                raise malformed("the remaining length is longer than it needs to be [MQTT-1.5.5-1]")
            return value, at + index + 1
    raise malformed("the remaining length has more than four bytes")


def _level(data: bytes, start: int) -> int:
    """The protocol level of a CONNECT of 3.1.1 or 5 whose body starts there; 0: it is another, or not here yet."""
    return data[start + 6] if data[start : start + 6] == b"\0\4MQTT" and len(data) > start + 6 else 0


class PacketStream:
    """Cuts a byte stream into packets."""

    def __init__(self, version: int, max_packet_size: int = VARINT_MAX) -> None:
        self.version = version
        self._max = max_packet_size
        self._buffer = bytearray()
        self._needed = 0
        """Bytes the buffer must hold before it is worth another look: a large packet in small pieces stays linear."""

    def feed(self, data: bytes) -> Iterator[Packet]:
        """The packets that `data` completes; PeerError for one that is malformed or too large, and nothing after it."""
        self._buffer += data
        if len(self._buffer) < self._needed:
            return
        whole = bytes(self._buffer)
        at = 0
        while (body := self._body(whole, at)) is not None:
            yield decode(whole[at], whole[body[0] : body[1]], self.version)
            at = body[1]
        del self._buffer[:at]

    def _body(self, data: bytes, at: int) -> tuple[int, int] | None:
        self._needed = 0
        header = remaining_length(data, at + 1, len(data), self.version)
        if header is None:
            return None
        size, start = header
        if start + size - at > self._max:
            raise PeerError(Reason.PACKET_TOO_LARGE, f"a packet of {size} bytes")
        if start + size > len(data):
            self._needed = start + size - at
            return None
        return start, start + size
