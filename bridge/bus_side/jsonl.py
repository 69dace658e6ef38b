"""JsonlSink: rotated files of JSON Lines instead of Kafka.

What it promises: every record stands in exactly one finished file, once, and files in the order of their numbers hold
each lane's records in order (a compressed file takes a finished one's place). A write is lines, fsync, then the file
`position` (how far each lane is, and how long the current file was), replaced whole. After a crash the current file is
cut back to that length, so a reader that follows it may have seen lines at its end that are written again.
"""

from __future__ import annotations

import base64
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import msgspec

from bridge.bus_side.cloud_event import Header
from bridge.bus_side.dead_letter import letters_of
from bridge.bus_side.finished import Finished
from bridge.bus_side.forms import NO_ROUTES, Forms
from bridge.bus_side.records import Shape, Shapes, headers_of
from bridge.bus_side.refusal import Refusal
from bridge.bus_side.sink import LaneBatch, SinkAway, Written
from bridge.config import Jsonl
from bridge.durable import replace_file
from bridge.log.record import Record

_NS_PER_MS = 1_000_000
_SHAPES_MAX = 16_384


class Line(msgspec.Struct, omit_defaults=True):
    """One record in a file: as it would be in Kafka."""

    topic: str
    key: str
    timestamp: int
    """Time received, Unix milliseconds."""
    headers: list[tuple[str, str]]
    """Those whose value is UTF-8; the others follow in base64."""
    headers_base64: list[tuple[str, str]] = []
    value: str | None = None
    """The payload if it is UTF-8; neither value nor value_base64: null."""
    value_base64: str | None = None


class _State(msgspec.Struct):
    log: str
    positions: dict[str, int]
    file: int
    size: int


class JsonlSink:
    """See `sink.Sink`."""

    holds_positions = True

    def __init__(self, gateway: str, settings: Jsonl, forms: Forms = NO_ROUTES) -> None:
        self._gateway = gateway
        self._settings = settings
        self._forms = forms
        self._directory = settings.directory
        self._state = _State("", {}, 1, 0)
        self._shapes: dict[str, Shapes[None]] = {}
        self._finished = Finished(settings.directory, settings.compression)
        self._file: int | None = None
        """Descriptor of the current file."""

    async def start(self, lanes: Sequence[str], log_id: bytes) -> dict[str, int]:
        """Cuts off what a crash left behind the last position; see `Sink.start`. Raises SinkAway."""
        await self.stop()
        self._shapes = {lane: Shapes(self._gateway, lane, log_id, _SHAPES_MAX, self._forms) for lane in lanes}
        try:
            self._directory.mkdir(parents=True, exist_ok=True)
            self._state = self._load()
            self._open()
            self._finished.squeeze(self._state.file)
        except OSError as error:
            raise SinkAway(str(error)) from error
        if self._state.log != log_id.hex():
            self._state.log, self._state.positions = log_id.hex(), {}
        return {lane: position for lane, position in self._state.positions.items() if lane in lanes}

    async def write(self, batches: Sequence[LaneBatch]) -> Written:
        """Appends and syncs; see `Sink.write`. Raises SinkAway."""
        records: Counter[str] = Counter()
        lines: list[bytes] = []
        for batch in batches:
            of_lane = self._lines(batch)
            lines += of_lane
            records[batch.lane] += len(of_lane)
            self._state.positions[batch.lane] = batch.position
        try:
            self._append(b"".join(lines))
        except OSError as error:
            raise SinkAway(str(error)) from error
        return Written(dict(records), sum(map(len, lines)))

    async def probe(self) -> None:
        """A file system that is gone is noticed before something is to be written; see `Sink.probe`."""
        try:
            (self._directory / "position" if self._state.positions else self._directory).stat()
        except OSError as error:
            raise SinkAway(str(error)) from error

    async def stop(self) -> None:
        """See `Sink.stop`."""
        descriptor, self._file = self._file, None
        if descriptor is not None:
            os.close(descriptor)
        await self._finished.wait()

    def _lines(self, batch: LaneBatch) -> list[bytes]:
        shapes = self._shapes[batch.lane]
        lines: list[bytes] = []
        for record in batch.records:
            shape = shapes.of(record)
            if shape is not None:
                lines.append(msgspec.json.encode(self._line(shape, record)) + b"\n")
        return lines

    def _line(self, shape: Shape[None], record: Record) -> Line:
        headers = headers_of(shape, record)
        if shape.fault is None:
            return _line(shape.topic, headers, shape, record)
        letter = Refusal(*shape.fault)
        ((headers, _),) = letters_of(headers, shape.topic, record.payload, letter)
        return _line(self._settings.dead_letter_topic, headers, shape, record)

    def _append(self, data: bytes) -> None:
        if self._file is None:
            raise OSError("the file is not open")
        if data:
            view = memoryview(data)
            while view:
                view = view[os.write(self._file, view) :]
            os.fdatasync(self._file)
        state = self._state
        state.size += len(data)
        full = state.size >= self._settings.rotate_bytes
        if full:
            state.file, state.size = state.file + 1, 0
        replace_file(self._directory / "position", msgspec.json.encode(state))
        if full:
            self._open()
            self._finished.squeeze(state.file)

    def _load(self) -> _State:
        try:
            return msgspec.json.decode((self._directory / "position").read_bytes(), type=_State)
        except FileNotFoundError:
            return _State("", {}, 1, 0)
        except msgspec.DecodeError as error:
            raise OSError(f"{self._directory / 'position'} is damaged ({error})") from error

    def _open(self) -> None:
        if self._file is not None:
            os.close(self._file)
        path = _path(self._directory, self._state.file)
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o640)
        os.ftruncate(self._file, self._state.size)
        os.fsync(self._file)


def _path(directory: Path, number: int) -> Path:
    return directory / f"{number:012d}.jsonl"


def _line(topic: str, headers: Sequence[Header], shape: Shape[None], record: Record) -> Line:
    line = Line(topic, shape.key.decode(), record.wall_ns // _NS_PER_MS, [])
    for name, value in headers:
        text = _text(value)
        if text is None:
            line.headers_base64 = [*line.headers_base64, (name, _base64(value))]
        else:
            line.headers.append((name, text))
    if not shape.tombstone:
        line.value = _text(record.payload)
        if line.value is None:
            line.value_base64 = _base64(record.payload)
    return line


def _text(value: bytes) -> str | None:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return None


def _base64(value: bytes) -> str:
    return base64.b64encode(value).decode()
