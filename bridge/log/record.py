"""The record: one thing that happened, as it stands in the log. Pure; this file is the format's one definition.

A record does not say its sequence number or the boot it was received in: the frame around it does, once for all of
them. It knows nothing of frames, segments or files. Byte by byte: docs/queue-format.md.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import Final

import msgspec

MESSAGE: Final = 1
"""A device's publication, to be forwarded."""
DOCUMENT: Final = 2
"""A device document, to be forwarded: key = device (or GATEWAYS and a gateway's id), payload = JSON, or TOMBSTONE."""
GATEWAYS: Final = "gateway/"
"""What the keys of gateways' own records begin with."""
EVENT: Final = 3
"""A lifecycle event or gap, to be forwarded: key = device or gateway id."""
RELEASE: Final = 4
"""QoS 2: PUBREL of (device, packet id); not forwarded."""
RESET: Final = 5
"""QoS 2: all hand-shakes of a device are forgotten; not forwarded."""
CHECKPOINT: Final = 6
"""The writer's fold as it was when the segment was opened; takes no sequence number, readers never see it."""
DESIRED: Final = 7
"""Downlink: key = device, payload = value."""
CLOCK: Final = 8
"""The wall clock of this boot is right now: what it says, and what the monotonic clock says; not forwarded."""
OUTCOME: Final = 9
"""What became of a command, to be forwarded: key = device, payload = JSON; the context's topic is the command's key."""
COMMAND: Final = 10
"""Downlink: key = device, payload = the order (`bridge.orders`)."""
KNOWN: Final = 11
"""Downlink: what the state topic has of a device or of this gateway; key as there, payload = value, or TOMBSTONE."""
LABELS: Final = 12
"""Downlink: labels of a device; key = device, payload = value, or TOMBSTONE."""
REQUEST: Final = 13
"""A desired state or a command that the admin side was given, to be forwarded: key = device, payload = value, or
TOMBSTONE; the target is the topic from which it comes back."""
LETTER: Final = 16
"""Dead-letter log: payload = a record that nobody takes, whole; headers = why, and where it was."""

QOS_MASK: Final = 3
"""The two lowest bits of the flags are the QoS."""
RETAIN: Final = 4
DUP: Final = 8
CLOCK_SYNCHRONISED: Final = 16
"""The wall clock was known to be right when the record was made."""
TOMBSTONE: Final = 32
"""The value is null, which is not the same as empty."""
CLOCK_CORRECTED: Final = 64
"""The clock was not set when the record was made, its reader has put the time right; on disk in dead letters only."""

_HEAD = struct.Struct("<IBBHqqHH")
HEAD_BYTES: Final = _HEAD.size
"""Of a record without context, headers and payload: 28."""
_LENGTH = struct.Struct("<H")
_PART_MAX = 0xFFFF


def clock_word(flags: int) -> str:
    """Whether the time of a record with these flags can be believed, as its readers are told."""
    if flags & CLOCK_SYNCHRONISED:
        return "synchronised"
    return "corrected" if flags & CLOCK_CORRECTED else "unsynchronised"


class RecordError(ValueError):
    """Bytes that are not a record, a context or headers; or values that do not fit into one."""


class Record(msgspec.Struct, gc=False):
    """One record as it was read. Not frozen only because building a frozen struct costs more on the hot path."""

    seq: int
    kind: int
    flags: int
    packet_id: int
    """Of the QoS 1 or 2 exchange; 0 otherwise."""
    wall_ns: int
    """Time received, Unix nanoseconds."""
    mono_ns: int
    """Time received, CLOCK_MONOTONIC nanoseconds of the boot below."""
    boot: bytes
    """16 bytes, the kernel's boot id."""
    context: bytes
    """See `encode_context`."""
    headers: bytes
    """See `encode_headers`."""
    payload: bytes

    @property
    def qos(self) -> int:
        """0, 1 or 2."""
        return self.flags & QOS_MASK


def encode(
    kind: int, flags: int, packet_id: int, wall_ns: int, mono_ns: int, context: bytes, headers: bytes, payload: bytes
) -> bytes:
    """The bytes of one record. `context` and `headers` come from the functions below (at most 65,535 bytes each)."""
    size = HEAD_BYTES + len(context) + len(headers) + len(payload)
    head = _HEAD.pack(size, kind, flags, packet_id, wall_ns, mono_ns, len(context), len(headers))
    return b"".join((head, context, headers, payload))


def decode(data: bytes, seq: int, boot: bytes) -> Record:
    """The record that `data` is, whole.

    Raises:
        RecordError: it is not exactly one record.
    """
    records: list[Record] = []
    if decode_many(data, 0, len(data), seq, boot, 1, len(data), records) != len(data) or not records:
        raise RecordError(f"these {len(data)} bytes are not exactly one record")
    return records[0]


def decode_many(
    data: bytes, start: int, end: int, seq: int, boot: bytes, max_records: int, max_bytes: int, into: list[Record]
) -> int:
    """Appends the records in `data[start:end]`, of which the first has the number `seq`, to `into`.

    Stops after `max_records`, or after the record that reaches `max_bytes`.

    Returns: the offset behind the last record taken.

    Raises:
        RecordError: a length does not agree with those around it; records before it were appended.
    """
    unpack, take = _HEAD.unpack_from, into.append
    stop = seq + max_records
    byte_stop = min(start + max_bytes, end)
    at = start
    while at < byte_stop and seq < stop:
        if end - at < HEAD_BYTES:
            raise RecordError(f"{end - at} bytes are left where a record should begin")
        size, kind, flags, packet_id, wall_ns, mono_ns, context_size, headers_size = unpack(data, at)
        headers_at = at + HEAD_BYTES + context_size
        payload_at = headers_at + headers_size
        after = at + size
        if not payload_at <= after <= end:
            raise RecordError(f"a record of {size} bytes does not fit its parts or its frame")
        take(
            Record(
                seq, kind, flags, packet_id, wall_ns, mono_ns, boot,
                data[at + HEAD_BYTES : headers_at], data[headers_at:payload_at], data[payload_at:after],
            )
        )  # fmt: skip
        at = after
        seq += 1
    return at


def encode_context(device: str, topic: str, target: str = "") -> bytes:
    """What is constant for a device's stream: who, on which MQTT topic, to which Kafka topic ("": none).

    Build it once and keep it: it is the same for every record of the stream.

    Raises:
        RecordError: longer than 65,535 bytes together.
    """
    return _limited(b"".join(_prefixed(part.encode()) for part in (device, topic, target)), "context")


def decode_context(context: bytes) -> tuple[str, str, str]:
    """`(device, topic, target)`.

    Raises:
        RecordError: it is not a context.
    """
    parts = _split(context)
    if len(parts) != 3:
        raise RecordError(f"a context has 3 parts, this one {len(parts)}")
    device, topic, target = (_text(part) for part in parts)
    return device, topic, target


def encode_headers(pairs: Iterable[tuple[str, bytes]]) -> bytes:
    """Headers in their order; a key may come more than once.

    Raises:
        RecordError: longer than 65,535 bytes together.
    """
    return _limited(b"".join(_prefixed(key.encode()) + _prefixed(value) for key, value in pairs), "headers")


def decode_headers(headers: bytes) -> tuple[tuple[str, bytes], ...]:
    """The pairs that `encode_headers` took.

    Raises:
        RecordError: these are not headers.
    """
    parts = _split(headers)
    if len(parts) % 2:
        raise RecordError("the last header has no value")
    return tuple((_text(key), value) for key, value in zip(parts[::2], parts[1::2], strict=True))


def _prefixed(part: bytes) -> bytes:
    if len(part) > _PART_MAX:
        raise RecordError(f"a part of {len(part)} bytes; at most {_PART_MAX} fit")
    return _LENGTH.pack(len(part)) + part


def _limited(data: bytes, what: str) -> bytes:
    if len(data) > _PART_MAX:
        raise RecordError(f"{what} of {len(data)} bytes; at most {_PART_MAX} fit")
    return data


def _split(data: bytes) -> list[bytes]:
    parts: list[bytes] = []
    at = 0
    while at < len(data):
        body = at + _LENGTH.size
        if body > len(data):
            raise RecordError("ends within a length")
        at = body + _LENGTH.unpack_from(data, body - _LENGTH.size)[0]
        if at > len(data):
            raise RecordError("ends within a part")
        parts.append(data[body:at])
    return parts


def _text(part: bytes) -> str:
    try:
        return part.decode()
    except UnicodeDecodeError as error:
        raise RecordError("a name is not UTF-8") from error
