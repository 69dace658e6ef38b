"""RecordBatch: records in the byte format that Kafka stores (message format v2, KIP-98). Pure.

aiokafka's own builder takes 1.5 µs for a record with nine headers because it encodes all of them anew each time. Here
everything that is the same for a device's stream was encoded once (`Stream`), and a record is one join
(`tests/bench/forward.py` measures the whole way). It stands in for `aiokafka.producer.message_accumulator.BatchBuilder`
in `send_batch`: the methods below `append` are those that aiokafka calls.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from typing import Final

import msgspec
from crc32c import crc32c

from bridge.bus_side.cloud_event import Header, rfc3339
from bridge.bus_side.records import TRACE_BYTES

Compress = Callable[[bytes], bytes]

# base offset, length, leader epoch, magic, crc | attributes, last offset delta, first and last timestamp, producer id
# and epoch, base sequence, count. The CRC is over everything behind it.
_HEAD = struct.Struct(">qiibI")
_BODY = struct.Struct(">hiqqqhii")
HEAD_BYTES: Final = _HEAD.size + _BODY.size
"""Of a batch, before its records."""
_LENGTH_COVERS_FROM: Final = 12
_MAGIC: Final = 2
_NO_LEADER_EPOCH: Final = -1
_TRANSACTIONAL: Final = 0x10
_NULL: Final = b"\x01"  # the length -1


def _varint(value: int) -> bytes:
    zigzag = value << 1 if value >= 0 else (-value << 1) - 1
    out = bytearray()
    while zigzag > 0x7F:
        out.append(0x80 | zigzag & 0x7F)
        zigzag >>= 7
    out.append(zigzag)
    return bytes(out)


_TABLE_SIZE: Final = 1 << 14
_VARINTS: Final = tuple(_varint(value) for value in range(_TABLE_SIZE))


def varint(value: int) -> bytes:
    """A zigzag varint (Kafka protocol guide, VARLONG): small numbers from a table."""
    return _VARINTS[value] if 0 <= value < _TABLE_SIZE else _varint(value)


_SEQ: Final = varint(3) + b"seq"
_TRACEPARENT: Final = varint(11) + b"traceparent" + varint(TRACE_BYTES)
_CE_ID: Final = varint(5) + b"ce_id"
_CE_TIME: Final = varint(7) + b"ce_time"


class Stream(msgspec.Struct, gc=False):
    """What is the same for each record of a stream, encoded."""

    key: bytes
    """Key with its length; an empty one is none."""
    headers: bytes
    """Their count, and all but the value of `seq`."""
    numbered: bool
    tombstone: bool
    common: bool
    """Numbered, and its value is neither null nor a CloudEvent's."""
    traced: bool
    """A traceparent follows the headers: see `with_trace`."""
    event_id: bytes
    """Not empty: a CloudEvent's `ce_id`, without the sequence number."""


def encode_stream(
    key: bytes,
    headers: Sequence[Header],
    *,
    numbered: bool,
    tombstone: bool,
    event_id: bytes = b"",
    traced: bool = False,
) -> Stream:
    """The constant part of records with these headers; a numbered one gets `seq` behind them. No key: `b""`.

    `event_id`: not empty for a CloudEvent, whose `ce_id` and `ce_time` come before `seq`; the number ends the `ce_id`.
    """
    parts = [varint(len(headers) + numbered + traced + (2 if event_id else 0))]
    for name, value in headers:
        encoded = name.encode()
        parts += (varint(len(encoded)), encoded, varint(len(value)), value)
    if traced:
        parts.append(_TRACEPARENT)
    elif numbered and not event_id:
        parts.append(_SEQ)
    held = varint(len(key)) + key if key else _NULL
    common = numbered and not tombstone and not event_id
    return Stream(held, b"".join(parts), numbered, tombstone, common, traced, event_id)


def with_trace(stream: Stream, traceparent: bytes) -> Stream:
    """The stream for one record, with its traceparent (`TRACE_BYTES`); `stream` was encoded as `traced`."""
    seq = b"" if stream.event_id or not stream.numbered else _SEQ
    headers = stream.headers + traceparent + seq
    return Stream(stream.key, headers, stream.numbered, stream.tombstone, stream.common, False, stream.event_id)


class RecordBatch:
    """One batch for one partition, being filled, then sent."""

    def __init__(self, max_bytes: int, codec: int, compress: Compress | None, *, transactional: bool) -> None:
        self.count = 0
        self._max_bytes = max_bytes
        self._attributes = codec | (_TRANSACTIONAL if transactional else 0)
        self._compress = compress
        self._parts: list[bytes] = []
        self._bytes = 0
        self._first_ms = self._last_ms = 0
        self._producer = (-1, -1, 0)
        self._records: bytes | None = None
        """All of them, compressed where that makes them smaller."""
        self._built: bytes | None = None
        self._closed = False

    def append(self, stream: Stream, seq: int, value: bytes, timestamp_ms: int) -> bool:
        """False where the batch is full (the first record always fits)."""
        count = self.count
        if count == 0:
            self._first_ms = self._last_ms = timestamp_ms
        delta = timestamp_ms - self._first_ms
        size = len(value)
        if stream.common:
            digits = b"%d" % seq
            body = b"".join(
                (
                    b"\0",
                    _VARINTS[delta] if 0 <= delta < _TABLE_SIZE else _varint(delta),
                    _VARINTS[count] if count < _TABLE_SIZE else _varint(count),
                    stream.key,
                    _VARINTS[size] if size < _TABLE_SIZE else _varint(size),
                    value,
                    stream.headers,
                    _VARINTS[len(digits)],
                    digits,
                )
            )
        else:
            body = _uncommon(stream, seq, value, delta, count, timestamp_ms)
        size = len(body)
        total = self._bytes + size + 5  # a length takes at most five bytes
        if total > self._max_bytes and count:
            return False
        self._bytes = total
        self._parts += (_VARINTS[size] if size < _TABLE_SIZE else _varint(size), body)
        self.count = count + 1
        if timestamp_ms > self._last_ms:
            self._last_ms = timestamp_ms
        return True

    def wire_size(self) -> int:
        """Bytes as sent; nothing can be appended any more."""
        return HEAD_BYTES + len(self._squeezed())

    def encode(self) -> bytes:
        """The whole batch, compressed where that makes it smaller."""
        records = self._squeezed()
        body = _BODY.pack(self._attributes, self.count - 1, self._first_ms, self._last_ms, *self._producer, self.count)
        length = _HEAD.size + len(body) + len(records) - _LENGTH_COVERS_FROM
        head = _HEAD.pack(0, length, _NO_LEADER_EPOCH, _MAGIC, crc32c(records, crc32c(body)))
        return head + body + records

    def _squeezed(self) -> bytes:
        if self._records is None:
            self.close()
            self._records = b"".join(self._parts)
            self._parts = []
            compressed = self._compress(self._records) if self._compress is not None else self._records
            if len(compressed) < len(self._records):
                self._records = compressed
            else:
                self._attributes &= _TRANSACTIONAL
        return self._records

    def record_count(self) -> int:
        return self.count

    def size(self) -> int:
        """Bytes before compression."""
        return self._bytes

    def close(self) -> None:
        self._closed = True

    def closed(self) -> bool:
        return self._closed

    def _set_producer_state(self, producer_id: int, producer_epoch: int, base_sequence: int) -> None:
        self._producer = (producer_id, producer_epoch, base_sequence)

    def _build(self) -> bytes:
        if self._built is None:
            self._built = self.encode()
            self._records = b""
        return self._built


def _uncommon(stream: Stream, seq: int, value: bytes, delta: int, count: int, timestamp_ms: int) -> bytes:
    held = _NULL if stream.tombstone else varint(len(value)) + value
    digits = b"%d" % seq
    number = varint(len(digits)) + digits if stream.numbered else b""
    event = _event(stream.event_id, digits, timestamp_ms) if stream.event_id else b""
    return b"".join((b"\0", varint(delta), varint(count), stream.key, held, stream.headers, event, number))


def _event(event_id: bytes, digits: bytes, timestamp_ms: int) -> bytes:
    """`ce_id`, `ce_time`, and the name of `seq`, which stands behind them."""
    moment = rfc3339(timestamp_ms)
    size = varint(len(event_id) + len(digits))
    return b"".join((_CE_ID, size, event_id, digits, _CE_TIME, varint(len(moment)), moment, _SEQ))
