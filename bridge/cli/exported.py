"""Record: one record as readers of a topic get it, and its two forms as a line of JSON.

`busbridge queue export` writes the one, the `[jsonl]` sink the other (`bridge.bus_side.jsonl.Line`). In a line of the
former a header's value is its text; a value that is not UTF-8, or that begins with `base64:`, is written as `base64:`
and its base64. So every value has exactly one form, and the text ones stay readable.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Iterator, Mapping

import msgspec

BINARY = "base64:"


class RecordError(Exception):
    """A line or a record is not one that a gateway wrote; the message says why."""


class Record(msgspec.Struct, frozen=True):
    """What of a forwarded record matters for opening it."""

    device: str
    topic: str
    """The MQTT topic."""
    seq: int
    headers: dict[str, bytes]
    payload: bytes


class _Form(msgspec.Struct):
    """What tells the two forms apart."""

    payload_base64: str | None = None


class _Line(msgspec.Struct):
    device: str
    topic: str
    seq: int
    payload_base64: str
    headers: dict[str, str] = {}


def header_text(value: bytes) -> str:
    """Return a header's value as it stands in a line."""
    try:
        text = value.decode()
    except UnicodeDecodeError:
        text = BINARY
    return BINARY + base64.b64encode(value).decode() if text.startswith(BINARY) else text


def header_bytes(text: str) -> bytes:
    """Return the value that `header_text` wrote. Raises RecordError."""
    return _decode(text.removeprefix(BINARY)) if text.startswith(BINARY) else text.encode()


def read_line(line: bytes) -> Record:
    """Read one line of either form. Raises RecordError."""
    try:
        if msgspec.json.decode(line, type=_Form).payload_base64 is None:
            return _of_sink(line)
        return _of_export(msgspec.json.decode(line, type=_Line))
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise RecordError(f"not a record, neither of 'queue export' nor of a [jsonl] file: {error}") from error


def of_topic(key: bytes, headers: Mapping[str, bytes], value: bytes | None) -> Record:
    """Read a record as it stands in a Kafka topic. Raises RecordError."""
    try:
        topic, seq = headers.get("mqtt-topic", b"").decode(), int(headers["seq"])
        return Record(headers.get("device", key).decode(), topic, seq, dict(headers), value or b"")
    except (KeyError, ValueError) as error:
        raise RecordError(f"no record of a gateway: {type(error).__name__}: {error}") from error


def _of_export(line: _Line) -> Record:
    headers = {name: header_bytes(text) for name, text in line.headers.items()}
    return Record(line.device, line.topic, line.seq, headers, _decode(line.payload_base64))


def _of_sink(text: bytes) -> Record:
    from bridge.bus_side.jsonl import Line

    line = msgspec.json.decode(text, type=Line)
    headers = {name: value.encode() for name, value in line.headers}
    headers |= {name: _decode(value) for name, value in line.headers_base64}
    value = (line.value or "").encode() if line.value_base64 is None else _decode(line.value_base64)
    return of_topic(line.key.encode(), headers, value)


def read_lines(lines: Iterable[bytes]) -> Iterator[Record | RecordError]:
    """Read every line that is not empty; what is wrong with one is given in its place."""
    for number, line in enumerate(lines, 1):
        try:
            if line.strip():
                yield read_line(line)
        except RecordError as error:
            yield RecordError(f"line {number}: {error}")


def _decode(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise RecordError(f"wrong base64: {error}") from error
