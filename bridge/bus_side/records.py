"""What readers of the topics see: a log record's topic, key, headers and timestamp. Table: docs/kafka-records.md.

Everything but the sequence number, the value and the time is the same for each record of a device's stream: that part
is a Shape, made once and found again by the bytes that made it.
"""

from __future__ import annotations

from typing import Final, Generic, TypeVar

import msgspec

from bridge.bus_side.cloud_event import Header, changing_headers, constant_headers
from bridge.bus_side.forms import NO_ROUTES, By, Forms, by_of, key_of
from bridge.log import record as log_record
from bridge.log.record import Record, decode_context, decode_headers, encode_headers

Place = TypeVar("Place")

_NS_PER_MS: Final = 1_000_000
TRACE_BYTES: Final = 55
"""Of a traceparent of version 00 (W3C Trace Context §3.2)."""
_TRACE_NAME: Final = encode_headers((("traceparent", bytes(TRACE_BYTES)),))[:-TRACE_BYTES]
"""What stands before its value where it is the last header, as the device side writes it."""
_REMEMBERED_MAX: Final = 2048
"""Bytes of context and headers: what is longer is made anew each time, for a cache of such would have no bound."""
_FORWARDED: Final = frozenset(
    {log_record.MESSAGE, log_record.DOCUMENT, log_record.EVENT, log_record.OUTCOME, log_record.REQUEST}
)


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
    by: By = b""
    """What decides the partition."""
    event_id: bytes = b""
    """Not empty: a CloudEvent; its `ce_id` without the sequence number."""
    traced: bool = False
    """Each record has a traceparent of its own behind these headers (`trace_of`)."""
    fault: tuple[str, str] | None = None
    """Why all of its records are dead letters, found on the device side: `error` and `error-detail`."""
    place: Place | None = None
    """The sink's own: where it puts records of this shape; None until it has looked."""


class Shapes(Generic[Place]):
    """The shapes of one lane of one log; remembers at most `limit` of them."""

    def __init__(self, gateway: str, lane: str, log_id: bytes, limit: int, forms: Forms = NO_ROUTES) -> None:
        self._forms = forms
        self._id = gateway
        self._event_id = f"{log_id.hex()}/{lane}/".encode()
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
            traced = record.kind == log_record.MESSAGE and record.headers.endswith(_TRACE_NAME, 0, -TRACE_BYTES)
        if traced:
            # What is left is the same for the whole stream; with it each record would take a place of its own here.
            mark = (record.kind, record.flags, record.context, record.headers[:-TRACE_BYTES])
            if mark in self._known:
                return self._known[mark]
        shape = self._make(record, traced=traced) if record.kind in _FORWARDED else None
        if len(record.context) + len(record.headers) > _REMEMBERED_MAX:
            return shape
        if len(self._known) >= self._limit:
            # Headers that differ from message to message would fill any cache: begin anew, which is cheap.
            self._known.clear()
        self._known[mark] = shape
        return shape

    def bare(self) -> Shape[Place]:
        """The shape of a record whose own cannot be made out."""
        return Shape("", b"", [self._gateway, *self._lane], numbered=True, tombstone=False)

    def _make(self, record: Record, *, traced: bool) -> Shape[Place]:
        device, topic, target = decode_context(record.context)
        own = list(decode_headers(record.headers))
        if record.kind == log_record.MESSAGE:
            shape = self._message(record, device, topic, target, own[:-1] if traced else own)
            shape.traced = traced
            return shape
        key, headers = device.encode(), [self._gateway, *own]
        numbered = record.kind == log_record.DOCUMENT
        return Shape(target, key, headers, numbered, bool(record.flags & log_record.TOMBSTONE), key)

    def _message(self, record: Record, device: str, topic: str, target: str, own: list[Header]) -> Shape[Place]:
        fault, own = _without_fault(own)
        route = self._forms.of(device, topic, target)
        key = key_of(route, device, topic)
        shape: Shape[Place] = Shape(target, key, [], numbered=True, tombstone=False, fault=fault)
        shape.by = by_of(route, device, key)
        if route.format == "cloudevents":
            sealed = any(name == "seal" for name, _ in own)
            own = constant_headers(
                route.cloudevents, own, gateway=self._id, device=device, topic=topic, key=key, sealed=sealed
            )
            shape.event_id = self._event_id
        if key != device.encode():
            own = [("device", device.encode()), *own]  # the seal binds it, and the key does not say it
        shape.headers = [*self._headers(record, topic), *own]
        return shape

    def _headers(self, record: Record, topic: str) -> list[Header]:
        return [
            ("mqtt-topic", topic.encode()),
            ("mqtt-qos", b"%d" % record.qos),
            ("mqtt-retain", b"true" if record.flags & log_record.RETAIN else b"false"),
            self._gateway,
            *self._lane,
            ("clock", log_record.clock_word(record.flags).encode()),
        ]


def _without_fault(own: list[Header]) -> tuple[tuple[str, str] | None, list[Header]]:
    """A message's own headers have names of their kind (`user-…`): these two only the device side can have set."""
    given = {name: value.decode() for name, value in own if name in ("error", "error-detail")}
    if "error" not in given:
        return None, own
    rest = [header for header in own if header[0] not in given]
    return (given["error"], given.get("error-detail", "")), rest


def trace_of(record: Record) -> bytes:
    """The traceparent of a record whose shape is `traced`."""
    return record.headers[-TRACE_BYTES:]


def headers_of(shape: Shape[Place], record: Record) -> list[Header]:
    """The record's own headers: the shape's, and what differs from record to record."""
    if not shape.numbered:
        return shape.headers
    trace = (("traceparent", trace_of(record)),) if shape.traced else ()
    event = changing_headers(shape.event_id, record.seq, record.wall_ns // _NS_PER_MS) if shape.event_id else ()
    return [*shape.headers, *trace, *event, ("seq", b"%d" % record.seq)]
