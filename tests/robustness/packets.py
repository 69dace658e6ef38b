"""Bad packets: random bytes, and good packets of both protocol versions with something changed.

Everything comes from a `random.Random` that the test seeds, so a failure can be had again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from random import Random

RANDOM_BYTES_MAX = 96
PINGREQ = b"\xc0\x00"
DISCONNECT = b"\xe0\x00"


def length(number: int) -> bytes:
    """The Remaining Length (MQTT 3.1.1 §2.2.3)."""
    encoded = bytearray()
    while True:
        number, low = divmod(number, 128)
        encoded.append(low | (0x80 if number else 0))
        if not number:
            return bytes(encoded)


def packet(first: int, body: bytes) -> bytes:
    """A control packet from its first byte and what follows the length."""
    return bytes([first]) + length(len(body)) + body


def text(value: str) -> bytes:
    """A UTF-8 string with its length before it."""
    encoded = value.encode()
    return len(encoded).to_bytes(2, "big") + encoded


def connect(
    client_id: str, *, version: int = 4, flags: int = 0x02, keepalive_s: int = 60, payload: bytes = b""
) -> bytes:
    """CONNECT; `payload` is what follows the client id (will, user name), as `flags` announce it."""
    properties = b"\x00" if version == 5 else b""
    head = text("MQTT") + bytes([version, flags]) + keepalive_s.to_bytes(2, "big")
    return packet(0x10, head + properties + text(client_id) + payload)


def publish(topic: str, payload: bytes, *, qos: int = 1, packet_id: int = 1, properties: bytes | None = None) -> bytes:
    """PUBLISH; `properties` (with their length) are there in version 5 only."""
    identifier = packet_id.to_bytes(2, "big") if qos else b""
    return packet(0x30 | qos << 1, text(topic) + identifier + (properties or b"") + payload)


def _will(version: int) -> bytes:
    """Will properties (version 5), will topic, will payload."""
    return (b"\x05\x18\x00\x00\x00\x05" if version == 5 else b"") + text("devices/x/will") + text("gone")


def corpus(client_id: str) -> list[bytes]:
    """Good packets of each kind, for the mutations."""
    topic = f"devices/{client_id}/telemetry/main"
    properties = b"\x16\x02\x00\x00\x00\x3c\x23\x00\x01\x26" + text("name") + text("value")
    return [
        connect(client_id),
        connect(client_id, version=5),
        connect(client_id, flags=0x02 | 0x04 | 0x08, payload=_will(4)),
        connect(client_id, version=5, flags=0x02 | 0x04 | 0x08, payload=_will(5)),
        connect(client_id, flags=0xC2, payload=text("user") + text("password")),
        publish(topic, b"payload"),
        publish(topic, b"payload", qos=0),
        publish(topic, b"payload", qos=2, packet_id=7),
        publish(topic, b"payload", properties=bytes([len(properties) - 1]) + properties[1:]),
        packet(0x40, b"\x00\x01"),
        packet(0x50, b"\x00\x01"),
        packet(0x62, b"\x00\x07"),
        packet(0x70, b"\x00\x07"),
        packet(0x82, b"\x00\x02" + text(f"devices/{client_id}/#") + b"\x01"),
        packet(0x82, b"\x00\x02\x00" + text(f"$share/group/devices/{client_id}/#") + b"\x01"),
        packet(0xA2, b"\x00\x03" + text(f"devices/{client_id}/#")),
        PINGREQ,
        DISCONNECT,
        packet(0xE0, b"\x04\x05\x11\x00\x00\x00\x00"),
        packet(0xF0, b"\x18\x00"),
    ]


def _flip_bit(good: bytearray, random: Random) -> None:
    good[random.randrange(len(good))] ^= 1 << random.randrange(8)


def _replace_byte(good: bytearray, random: Random) -> None:
    good[random.randrange(len(good))] = random.randrange(256)


def _insert(good: bytearray, random: Random) -> None:
    at = random.randrange(len(good) + 1)
    good[at:at] = random.randbytes(random.randint(1, 8))


def _remove(good: bytearray, random: Random) -> None:
    at = random.randrange(len(good))
    del good[at : at + random.randint(1, 8)]


def _lie_about_length(good: bytearray, random: Random) -> None:
    good[1:2] = random.choice(
        [b"\x00", b"\x7f", b"\xff\x7f", b"\xff\xff\xff\x7f", b"\xff\xff\xff\xff\x7f", b"\x80\x00"]
    )


def _repeat(good: bytearray, random: Random) -> None:
    good *= random.randint(2, 5)


MUTATIONS: tuple[Callable[[bytearray, Random], None], ...] = (
    _flip_bit,
    _replace_byte,
    _insert,
    _remove,
    _lie_about_length,
    _repeat,
)


def bad_packets(random: Random, client_id: str) -> Iterator[bytes]:
    """Without end: by turns random bytes and a good packet that was changed once to three times."""
    good_ones = corpus(client_id)
    while True:
        yield random.randbytes(random.randint(1, RANDOM_BYTES_MAX))
        changed = bytearray(random.choice(good_ones))
        for _ in range(random.randint(1, 3)):
            random.choice(MUTATIONS)(changed, random)
            changed = changed or bytearray(b"\x00")
        yield bytes(changed)
