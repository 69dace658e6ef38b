"""The data types of MQTT (MQTT5 §1.5): integers, variable byte integers, strings and binary data.

Reading raises `PeerError` 0x81 for everything that is not as the standard says; writing raises ValueError, because what
does not fit is then our mistake.
"""

from __future__ import annotations

from bridge.mqtt.errors import malformed

VARINT_MAX = 268_435_455
"""The greatest variable byte integer, four bytes (MQTT5 §1.5.5)."""
BINARY_MAX = 0xFFFF


class Reader:
    """A cursor over the body of one packet."""

    __slots__ = ("at", "data", "end")

    def __init__(self, data: bytes, at: int = 0, end: int | None = None) -> None:
        self.data = data
        self.at = at
        self.end = len(data) if end is None else end

    def take(self, size: int) -> bytes:
        """The next `size` bytes."""
        start = self.at
        self.at = start + size
        if self.at > self.end:
            raise malformed("the packet ends within a field")
        return self.data[start : self.at]

    def u8(self) -> int:
        """A byte."""
        return self.take(1)[0]

    def u16(self) -> int:
        """A two byte integer, most significant byte first (MQTT5 §1.5.2)."""
        return int.from_bytes(self.take(2), "big")

    def u32(self) -> int:
        """A four byte integer (MQTT5 §1.5.3)."""
        return int.from_bytes(self.take(4), "big")

    def varint(self) -> int:
        """A variable byte integer, in the fewest bytes [MQTT-1.5.5-1]."""
        value = 0
        for shift in (0, 7, 14, 21):
            byte = self.u8()
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                if shift and not byte:
                    raise malformed("a variable byte integer is longer than it needs to be [MQTT-1.5.5-1]")
                return value
        raise malformed("a variable byte integer has more than four bytes")

    def binary(self) -> bytes:
        """Binary data (MQTT5 §1.5.6)."""
        return self.take(self.u16())

    def text(self) -> str:
        """A UTF-8 string without surrogates [MQTT-1.5.4-1] and U+0000 [MQTT-1.5.4-2]; a BOM stays [MQTT-1.5.4-3]."""
        return decode_text(self.binary())

    def rest(self) -> bytes:
        """What is left of the packet."""
        return self.take(self.end - self.at)

    def more(self) -> bool:
        """Whether anything is left."""
        return self.at < self.end


def decode_text(raw: bytes) -> str:
    """`raw` as an MQTT string; PeerError 0x81 when it is none."""
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        raise malformed("a string is not UTF-8 [MQTT-1.5.4-1]") from None
    if "\0" in text:
        raise malformed("a string holds U+0000 [MQTT-1.5.4-2]")
    return text


def u16(value: int) -> bytes:
    """A two byte integer; OverflowError when it does not fit."""
    return value.to_bytes(2, "big")


def u32(value: int) -> bytes:
    """A four byte integer; OverflowError when it does not fit."""
    return value.to_bytes(4, "big")


def varint(value: int) -> bytes:
    """A variable byte integer in the fewest bytes; ValueError outside 0..268,435,455."""
    if not 0 <= value <= VARINT_MAX:
        raise ValueError(f"{value} is no variable byte integer")
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def binary(value: bytes) -> bytes:
    """Binary data with its length; ValueError beyond 65,535 bytes."""
    if len(value) > BINARY_MAX:
        raise ValueError(f"{len(value)} bytes do not fit into an MQTT field")
    return u16(len(value)) + value


def text(value: str) -> bytes:
    """A UTF-8 string with its length; ValueError beyond 65,535 bytes or for what UTF-8 cannot say."""
    return binary(value.encode())
