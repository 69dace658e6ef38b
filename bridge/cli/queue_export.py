"""Records of a queue as lines of JSON, or as files of their payloads."""

from __future__ import annotations

import base64
import datetime
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from bridge.cli.exported import header_bytes, header_text
from bridge.cli.queue_report import KINDS, OF_THE_HANDSHAKE
from bridge.device_side.clock import rfc3339
from bridge.log import record as rec
from bridge.log.forensics import LaneFiles, LaneWalk
from bridge.log.forensics_segment import Damage
from bridge.log.record import Record, RecordError, decode_context, decode_headers, encode_context

if TYPE_CHECKING:
    from bridge.bus_side.letter import Letter

_CLOCKS = {"synchronised": rec.CLOCK_SYNCHRONISED, "corrected": rec.CLOCK_CORRECTED}


class Line(msgspec.Struct, omit_defaults=True):
    """One record as `queue export` writes it; `bridge.cli.exported` reads it."""

    lane: str
    seq: int
    received: str
    device: str
    topic: str
    qos: int
    retain: bool
    headers: dict[str, str]
    payload_base64: str
    target: str
    """The Kafka topic it goes to; empty: none."""
    kind: str
    headers_repeated: list[tuple[str, str]] = []
    """Further values of a header that comes more than once."""
    tombstone: bool = False
    """The value is null, not empty."""
    log: str = ""
    """The log's id, 32 hexadecimal digits; empty: it is not known."""
    clock: str = "unsynchronised"
    """Whether `received` can be believed: `synchronised`, `corrected` (set later in that boot), `unsynchronised`."""
    error: str = ""
    """Of a dead letter: the kind of refusal, as in Kafka's header of that name."""
    error_detail: str = ""
    original_partition: int | None = None
    not_taken: str = ""
    """Of a dead letter: why the dead-letter topic has it not."""


def wanted(
    lane: LaneFiles, *, pending: bool, device: str | None, live: bool, advance: Callable[[int], None]
) -> Iterator[Record | Damage]:
    """The lane's records that mean something outside of the gateway, and the damages that cost some. Raises OSError."""
    since = lane.position() if pending else 0
    prefix = rec.encode_context(device, "")[: 2 + len(device.encode())] if device is not None else b""
    clocks = lane.clocks()
    for item in LaneWalk(lane, since=since, live=live):
        if isinstance(item, Damage):
            if item.next_seq is None or item.next_seq > max(since, item.first_seq):
                yield item
            continue
        clocks.correct(item.records)
        for record in item.records:
            if record.seq >= since and record.kind not in OF_THE_HANDSHAKE and record.context.startswith(prefix):
                yield record
        advance(item.size)


def line_of(lane: str, log_id: bytes | None, record: Record) -> bytes:
    """The record's line, with its end. Raises RecordError."""
    return msgspec.json.encode(fields_of(lane, log_id, record)) + b"\n"


def letter_line(letter: Letter) -> bytes:
    """A dead letter's line, with its end; a record that cannot be decoded has no device, and its payload alone."""
    record, refusal = letter.record, letter.refusal
    try:
        line = fields_of(letter.lane, letter.log_id, record)
    except RecordError:
        bare = msgspec.structs.replace(record, context=encode_context("", "", letter.topic), headers=b"")
        line = fields_of(letter.lane, letter.log_id, bare)
    line.error, line.error_detail = refusal.error, refusal.detail
    line.original_partition, line.not_taken = refusal.partition, letter.not_taken
    return msgspec.json.encode(line) + b"\n"


def fields_of(lane: str, log_id: bytes | None, record: Record) -> Line:
    """What the record's line says. Raises RecordError."""
    device, topic, target = decode_context(record.context)
    headers: dict[str, str] = {}
    repeated: list[tuple[str, str]] = []
    for name, value in decode_headers(record.headers):
        if name in headers:
            repeated.append((name, header_text(value)))
        else:
            headers[name] = header_text(value)
    return Line(
        lane=lane,
        seq=record.seq,
        received=rfc3339(record.wall_ns),
        device=device,
        topic=topic,
        qos=record.qos,
        retain=bool(record.flags & rec.RETAIN),
        headers=headers,
        payload_base64=base64.b64encode(record.payload).decode(),
        target=target,
        kind=KINDS.get(record.kind, str(record.kind)),
        headers_repeated=repeated,
        tombstone=bool(record.flags & rec.TOMBSTONE),
        log=log_id.hex() if log_id is not None else "",
        clock=rec.clock_word(record.flags),
    )


def record_of(line: bytes) -> tuple[str, bytes, Record]:
    """Lane, log id and record of a line that `line_of` or `letter_line` wrote; the time received is to the millisecond.

    Raises:
        msgspec.DecodeError, ValueError, RecordError: it is no such line.
    """
    told = msgspec.json.decode(line, type=Line)
    kind = next((kind for kind, name in KINDS.items() if name == told.kind), None)
    if kind is None:
        raise RecordError(f"a record of a kind that nobody knows, {told.kind!r}")
    pairs = [*told.headers.items(), *told.headers_repeated]
    flags = told.qos | (rec.RETAIN if told.retain else 0) | (rec.TOMBSTONE if told.tombstone else 0)
    flags |= _CLOCKS.get(told.clock, 0)
    received = datetime.datetime.fromisoformat(told.received)
    record = Record(
        told.seq,
        kind,
        flags,
        0,
        round(received.timestamp() * 1000) * 1_000_000,
        0,
        bytes(16),
        encode_context(told.device, told.topic, told.target),
        rec.encode_headers((name, header_bytes(text)) for name, text in pairs),
        base64.b64decode(told.payload_base64, validate=True),
    )
    return told.lane, bytes.fromhex(told.log) or bytes(16), record


def write_payload(directory: Path, lane: str, record: Record) -> None:
    """Writes the payload to DIRECTORY/LANE/SEQ, the number in 20 digits. Raises OSError."""
    place = directory / lane
    place.mkdir(parents=True, exist_ok=True)
    (place / f"{record.seq:020d}").write_bytes(record.payload)
