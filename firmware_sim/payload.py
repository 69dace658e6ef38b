"""What a simulated device publishes: a payload that says by itself who sent it, as which message, and when.

Compact JSON, so that people can read it once it was opened. The marker is text that must not be found anywhere on a
sealed way; it also tells one run of the fleet from another.
"""

from __future__ import annotations

import hashlib

import msgspec


class Payload(msgspec.Struct, frozen=True):
    """One telemetry message's content."""

    device: str
    n: int
    """Counts a device's messages from 1."""
    qos: int
    at: int
    """When it was first handed to the network, Unix ns."""
    marker: str
    fill: str = ""


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Payload)


def encode(device: str, n: int, qos: int, at: int, marker: str, size: int) -> bytes:
    """Build a payload of `size` bytes (more where the fields alone need more)."""
    bare = len(_encoder.encode(Payload(device, n, qos, at, marker)))
    return _encoder.encode(Payload(device, n, qos, at, marker, _fill(device, n, max(0, size - bare))))


def decode(value: bytes) -> Payload | None:
    """Read a payload back; None when it is not one of ours."""
    try:
        return _decoder.decode(value)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def digest(value: bytes) -> str:
    """Name a payload's content: BLAKE2b, 8 bytes, in hex."""
    return hashlib.blake2b(value, digest_size=8).hexdigest()


def _fill(device: str, n: int, length: int) -> str:
    block = hashlib.blake2b(f"{device}/{n}".encode(), digest_size=32).hexdigest()
    return (block * (length // len(block) + 1))[:length]
