"""Reading what the jsonl sink wrote: rotated files of JSON Lines, in the order of their names."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path

import msgspec

from firmware_sim.arrival import Arrival


class _Line(msgspec.Struct):
    topic: str
    key: str
    headers: list[tuple[str, str]]
    headers_base64: list[tuple[str, str]] = []
    value: str | None = None
    value_base64: str | None = None

    def arrival(self, place: str) -> Arrival:
        value = None if self.value is None else self.value.encode()
        if self.value_base64 is not None:
            value = base64.b64decode(self.value_base64)
        headers = {name: text.encode() for name, text in self.headers}
        headers |= {name: base64.b64decode(text) for name, text in self.headers_base64}
        return Arrival(self.topic, self.key, value, headers, place)


def read_jsonl(directory: Path, topic: str) -> Iterator[Arrival]:
    """Yield the records of one topic.

    Raises:
        OSError: a file cannot be read.
        ValueError: a line is not the sink's (the file and line are named).
    """
    decoder = msgspec.json.Decoder(_Line)
    for path in sorted(directory.glob("*.jsonl")):
        for number, text in enumerate(path.read_bytes().splitlines(), 1):
            place = f"{path.name}:{number}"
            try:
                line = decoder.decode(text)
            except (msgspec.DecodeError, ValueError) as error:
                raise ValueError(f"{place}: not a line of the jsonl sink: {error}") from error
            if line.topic == topic:
                yield line.arrival(place)
