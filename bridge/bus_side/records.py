"""What readers of the topics see: a log record's topic, key, headers and timestamp. Table: docs/kafka-records.md.

Everything but the sequence number, the value and the time is the same for each record of a device's stream: that part
is a Shape, made once and found again by the bytes that made it.
"""

from __future__ import annotations

from typing import Final, Generic, TypeVar

import msgspec

from bridge.log import record as log_record
from bridge.log.record import Record, decode_context, decode_headers

Header = tuple[str, bytes]
Place = TypeVar("Place")

_FORWARDED: Final = frozenset({log_record.MESSAGE, log_record.DOCUMENT, log_record.EVENT})


class Shape(msgspec.Struct, Generic[Place]):
    """The constant part of a stream's records."""

    topic: str
    """Of Kafka."""
    key: bytes
    headers: list[Header]
    """All but `seq`."""
    numbered: bool
    """`seq` is the last header."""
    tombstone: bool
    """The value is null."""
    place: Place | None = None
    """The sink's own: where it puts records of this shape; None until it has looked."""


class Shapes(Generic[Place]):
    """The shapes of one lane of one log; remembers at most `limit` of them."""

    def __init__(self, gateway: str, lane: str, log_id: bytes, limit: int) -> None:
        self._gateway = ("gateway", gateway.encode())
        self._lane: list[Header] = [("lane", lane.encode()), ("log", log_id.hex().encode())]
        self._limit = limit
        self._known: dict[tuple[int, int, bytes, bytes], Shape[Place] | None] = {}

    def of(self, record: Record) -> Shape[Place] | None:
        """The record's shape; None if its kind is not forwarded.

        Raises:
            RecordError: its context or headers are damaged.
        """
        mark = (record.kind, record.flags, record.context, record.headers)
        try:
            return self._known[mark]
        except KeyError:
            shape = self._make(record) if record.kind in _FORWARDED else None
        if len(self._known) >= self._limit:
            # Headers of its own for each message (trace context) would fill any cache: begin anew, which is cheap.
            self._known.clear()
        self._known[mark] = shape
        return shape

    def bare(self) -> Shape[Place]:
        """The shape of a record whose own cannot be made out."""
        return Shape("", b"", [self._gateway, *self._lane], numbered=True, tombstone=False)

    def _make(self, record: Record) -> Shape[Place]:
        device, topic, target = decode_context(record.context)
        headers = self._headers(record, topic)
        numbered = record.kind != log_record.EVENT
        return Shape(target, device.encode(), headers, numbered, bool(record.flags & log_record.TOMBSTONE))

    def _headers(self, record: Record, topic: str) -> list[Header]:
        own = list(decode_headers(record.headers))
        if record.kind != log_record.MESSAGE:
            return [self._gateway, *own]
        clock = b"synchronised" if record.flags & log_record.CLOCK_SYNCHRONISED else b"unsynchronised"
        return [
            ("mqtt-topic", topic.encode()),
            ("mqtt-qos", b"%d" % record.qos),
            ("mqtt-retain", b"true" if record.flags & log_record.RETAIN else b"false"),
            self._gateway,
            *self._lane,
            ("clock", clock),
            *own,
        ]


def headers_of(shape: Shape[Place], record: Record) -> list[Header]:
    """The record's own headers: the shape's, and its sequence number."""
    if shape.numbered:
        return [*shape.headers, ("seq", b"%d" % record.seq)]
    return shape.headers
