"""Payloads byte by byte, from the numbers in the specification's schema: an encoder that shares nothing with ours."""

from __future__ import annotations

import struct
from collections.abc import Iterable


def varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(0x80 | value & 0x7F)
        value >>= 7
    out.append(value)
    return bytes(out)


def whole(number: int, value: int) -> bytes:
    return varint(number << 3) + varint(value)


def chunk(number: int, value: bytes | str) -> bytes:
    data = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(data)) + data


def single(number: int, value: float) -> bytes:
    return varint(number << 3 | 5) + struct.pack("<f", value)


def double(number: int, value: float) -> bytes:
    return varint(number << 3 | 1) + struct.pack("<d", value)


def metric(
    name: str | None = None,
    value: bytes = b"",
    *,
    alias: int | None = None,
    datatype: int | None = None,
    timestamp: int | None = None,
    more: bytes = b"",
) -> bytes:
    """A metric; `value` is a whole field, like `whole(10, 5)`."""
    parts = [chunk(1, name) if name is not None else b""]
    parts += [
        whole(number, given) for number, given in ((2, alias), (3, timestamp), (4, datatype)) if given is not None
    ]
    return b"".join(parts) + value + more


def payload(metrics: Iterable[bytes] = (), *, seq: int | None = None, timestamp: int | None = None) -> bytes:
    parts = [whole(1, timestamp) if timestamp is not None else b""]
    parts += [chunk(2, each) for each in metrics]
    return b"".join(parts) + (whole(3, seq) if seq is not None else b"")
