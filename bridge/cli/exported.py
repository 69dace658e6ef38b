"""Record: one record as readers of a topic get it, and its form as a line of JSON (`busbridge queue export`).

In a line, a header's value is its text; a value that is not UTF-8, or that begins with `base64:`, is written as
`base64:` and its base64. So every value has exactly one form, and the text ones stay readable.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Iterator

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
    """Read one line. Raises RecordError."""
    try:
        parsed = msgspec.json.decode(line, type=_Line)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise RecordError(f"not a record as 'queue export' writes it: {error}") from error
    headers = {name: header_bytes(text) for name, text in parsed.headers.items()}
    return Record(parsed.device, parsed.topic, parsed.seq, headers, _decode(parsed.payload_base64))


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
