"""The Confluent wire format: a zero byte, the schema's id, for protobuf the message's place in its file, the value.

Pure. As "Wire format" in the documentation of Confluent's Schema Registry has it; ids in headers (GUIDs) are not known.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Final

from bridge.schemas.schema import Misfit

_PREFIX = struct.Struct(">bI")
PREFIX_BYTES: Final = _PREFIX.size
_INDEXES_MAX: Final = 32
"""Messages that stand in each other; protoc's own limit is of this size."""


def prefix(schema_id: int, indexes: Sequence[int] | None = None) -> bytes:
    """What stands before a value of that schema; `indexes`: of a protobuf message."""
    head = _PREFIX.pack(0, schema_id)
    if indexes is None:
        return head
    if tuple(indexes) == (0,):
        return head + b"\0"  # the first message of a file, in short
    return head + b"".join(_varint(number) for number in (len(indexes), *indexes))


def schema_id(payload: bytes) -> int:
    """The id before the value. Raises Misfit."""
    if len(payload) < PREFIX_BYTES or payload[0] != 0:
        raise Misfit("it does not begin with a zero byte and a schema id")
    return int.from_bytes(payload[1:PREFIX_BYTES], "big")


def indexes_at(payload: bytes, at: int) -> tuple[tuple[int, ...], int]:
    """The protobuf message's place in its file, and the offset behind it. Raises Misfit."""
    count, at = _read(payload, at)
    if count == 0:
        return (0,), at
    if not 0 < count <= _INDEXES_MAX:
        raise Misfit("the place of its message in the schema is no list of numbers")
    found: list[int] = []
    for _ in range(count):
        number, at = _read(payload, at)
        found.append(number)
    return tuple(found), at


def _varint(value: int) -> bytes:
    zigzag, out = value << 1, bytearray()
    while zigzag > 0x7F:
        out.append(0x80 | zigzag & 0x7F)
        zigzag >>= 7
    return bytes((*out, zigzag))


def _read(payload: bytes, at: int) -> tuple[int, int]:
    """A zigzag varint of at most 32 bits."""
    value = 0
    for shift in range(0, 35, 7):
        if at >= len(payload):
            break
        byte = payload[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return (value >> 1) ^ -(value & 1), at
    raise Misfit("the place of its message in the schema is cut short")
