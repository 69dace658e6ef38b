"""Dropped: what was in segments that a bound made the log give up, so that it can be told in their place.

One file for each dropped segment, `FIRST.gap`, on the disk before the segment goes: after a crash there is the segment,
or the file, or both (then the segment goes at the next start). It is removed when the durable cursor is behind it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

import msgspec
from crc32c import crc32c

from bridge.durable import replace_file, sync_directory
from bridge.log.boot_clocks import BootClocks
from bridge.log.errors import LogDamaged, LogKeyMissing
from bridge.log.queue_key import Keyring
from bridge.log.reader import LogReader
from bridge.log.record import DOCUMENT, EVENT, LETTER, MESSAGE, OUTCOME, REQUEST, Record, RecordError, decode_context

SUFFIX: Final = ".gap"
FILES_MAX: Final = 64
"""In one lane; beyond it the two newest become one."""
_CRC_DIGITS: Final = 8
_AND: Final = ", "
_PURPOSE: Final = b"busbridge queue gap"
_TOLD: Final = frozenset({MESSAGE, DOCUMENT, EVENT, OUTCOME, REQUEST, LETTER})
_READ_RECORDS, _READ_BYTES = 500, 256 << 10


class Stream(msgspec.Struct):
    """What one device sent to one Kafka topic; both null: nobody knows, because it could not be read."""

    device: str | None
    target: str | None
    first_seq: int
    last_seq: int
    count: int
    from_ns: int | None = None
    to_ns: int | None = None
    """When the first and the last of them were received by the wall clock, Unix nanoseconds."""

    def add(self, other: Stream) -> None:
        """The other's records too."""
        self.first_seq = min(self.first_seq, other.first_seq)
        self.last_seq = max(self.last_seq, other.last_seq)
        self.count += other.count
        self.from_ns = min((ns for ns in (self.from_ns, other.from_ns) if ns is not None), default=None)
        self.to_ns = max((ns for ns in (self.to_ns, other.to_ns) if ns is not None), default=None)

    def behind(self, position: int) -> Stream | None:
        """What of it is at or behind `position`; the count of a stream that is cut is the most that it can be."""
        if self.last_seq < position:
            return None
        count = min(self.count, self.last_seq - position + 1)
        return msgspec.structs.replace(self, first_seq=max(self.first_seq, position), count=count)


class Dropped(msgspec.Struct, omit_defaults=True):
    """Records that the log has given up."""

    first_seq: int
    next_seq: int
    reason: str
    streams: list[Stream]
    key: str = ""
    """Id of the queue key that the streams are sealed with as they lie on disk, hexadecimal; empty: they are not."""
    sealed: bytes = b""
    """The streams, sealed; whoever has the key reads `streams` instead."""

    @classmethod
    def of_segment(
        cls,
        directory: Path,
        log_id: bytes,
        first_seq: int,
        next_seq: int,
        reason: str,
        clocks: BootClocks,
        keys: Keyring | None = None,
    ) -> Dropped:
        """What the segment holds, its times corrected by `clocks`. It is read once, whole.

        Raises:
            OSError: the disk refused.
        """
        streams: dict[tuple[str | None, str | None], Stream] = {}
        for stream in _streams(LogReader(directory, log_id, first_seq, keys), next_seq, clocks):
            _add(streams, stream)
        return cls(first_seq, next_seq, reason, list(streams.values()))

    def joined(self, later: Dropped) -> Dropped:
        """This and what follows it without a hole, as one."""
        streams: dict[tuple[str | None, str | None], Stream] = {}
        for stream in (*self.streams, *later.streams):
            _add(streams, msgspec.structs.replace(stream))
        reasons = dict.fromkeys([*self.reason.split(_AND), *later.reason.split(_AND)])
        return Dropped(self.first_seq, later.next_seq, _AND.join(reasons), list(streams.values()))

    def save(self, directory: Path, keys: Keyring | None = None) -> Path:
        """Makes it durable, its streams sealed with the current key, if there is one. Raises OSError."""
        key, stored = keys.current if keys is not None else None, self
        if key is not None:
            sealed = key.seal(_PURPOSE, msgspec.json.encode(self.streams))
            stored = Dropped(self.first_seq, self.next_seq, self.reason, [], key.id.hex(), sealed)
        body = msgspec.json.encode(stored)
        path = directory / f"{self.first_seq:020d}{SUFFIX}"
        replace_file(path, b"%08x" % crc32c(body) + body)
        return path

    @classmethod
    def load(cls, path: Path, keys: Keyring | None = None) -> Dropped | None:
        """What `save` wrote; None: there is no such file, or it is damaged. Without its key it stays sealed.

        Raises:
            LogKeyMissing: keys are given, but not this.
        """
        try:
            data = path.read_bytes()
            crc, body = int(data[:_CRC_DIGITS], 16), data[_CRC_DIGITS:]
            dropped = msgspec.json.decode(body, type=cls) if crc == crc32c(body) else None
            return dropped.opened(path, keys) if dropped is not None and keys is not None else dropped
        except (OSError, ValueError, msgspec.DecodeError):
            return None

    def opened(self, path: Path, keys: Keyring) -> Dropped:
        """With its streams, from the file `path`. Raises LogKeyMissing; ValueError: what is sealed was changed."""
        if not self.key:
            return self
        streams = keys.get(bytes.fromhex(self.key), path).open(_PURPOSE, self.sealed)
        return Dropped(self.first_seq, self.next_seq, self.reason, msgspec.json.decode(streams, type=list[Stream]))


def dropped_in(directory: Path, keys: Keyring | None = None) -> list[tuple[Path, Dropped]]:
    """Every file of a lane that can be read, the oldest first. Raises LogKeyMissing: see `Dropped.load`."""
    found = ((path, Dropped.load(path, keys)) for _, path in names_in(directory))
    return [(path, dropped) for path, dropped in found if dropped is not None]


def names_in(directory: Path) -> list[tuple[int, Path]]:
    """The first number and the path of each file by its name, the oldest first; they may be damaged."""
    return sorted((int(path.stem), path) for path in directory.glob("*" + SUFFIX) if path.stem.isdigit())


def dropped_at(directory: Path, position: int, keys: Keyring | None = None) -> Dropped | None:
    """What was dropped at `position` and behind it; None: nothing was. Raises LogKeyMissing: see `Dropped.load`."""
    for dropped in (Dropped.load(path, keys) for first, path in reversed(names_in(directory)) if first <= position):
        if dropped is not None and position < dropped.next_seq:
            streams = [part for stream in dropped.streams if (part := stream.behind(position)) is not None]
            return Dropped(position, dropped.next_seq, dropped.reason, streams)
    return None


class Ledger:
    """The files of one lane, in the hands of the log's writer."""

    def __init__(self, directory: Path, keys: Keyring) -> None:
        """Raises LogKeyMissing: what was dropped before is sealed with a key that is not here."""
        self._directory = directory
        self._keys = keys
        self._files = dropped_in(directory, keys)

    def holds(self, seq: int) -> bool:
        """Whether the record is among those dropped."""
        return any(dropped.first_seq <= seq < dropped.next_seq for _, dropped in self._files)

    def begins(self, after: int, before: int) -> int | None:
        """The first number between these two that begins what was dropped; None: nothing does."""
        begun = (dropped.first_seq for _, dropped in self._files)
        return min((seq for seq in begun if after < seq < before), default=None)

    def add(self, dropped: Dropped) -> None:
        """Durable on return. Raises OSError."""
        replaced = [(path, former) for path, former in self._files if former.first_seq == dropped.first_seq]
        self._files = [each for each in self._files if each not in replaced]
        former = self._files[-1][1] if self._files else None
        if former is not None and former.next_seq == dropped.first_seq and len(self._files) >= FILES_MAX:
            self._files.pop()
            dropped = former.joined(dropped)
        self._files.append((dropped.save(self._directory, self._keys), dropped))

    def forget(self, position: int) -> None:
        """Removes those wholly before `position`. Raises OSError."""
        before = len(self._files)
        while self._files and self._files[0][1].next_seq <= position:
            self._files[0][0].unlink(missing_ok=True)
            self._files.pop(0)
        if len(self._files) != before:
            sync_directory(self._directory)


def _add(streams: dict[tuple[str | None, str | None], Stream], stream: Stream) -> None:
    known = streams.setdefault((stream.device, stream.target), stream)
    if known is not stream:
        known.add(stream)


def _streams(reader: LogReader, next_seq: int, clocks: BootClocks) -> Iterator[Stream]:
    while reader.position < next_seq:
        try:
            records = reader.read(next_seq, _READ_RECORDS, _READ_BYTES)
            clocks.correct(records)
            yield from _of(records)
        except LogKeyMissing:
            yield Stream(None, None, reader.position, next_seq - 1, next_seq - reader.position)
            break
        except LogDamaged:
            first, after = reader.skip_damage(next_seq)
            yield Stream(None, None, first, after - 1, after - first)
    reader.close()


def _of(records: Iterable[Record]) -> Iterator[Stream]:
    """One for each run of records of the same context."""
    current, context = None, b""
    for record in records:
        if record.kind not in _TOLD:
            continue
        if current is None or record.context != context:
            if current is not None:
                yield current
            context = record.context
            current = _begin(record)
        else:
            current.last_seq = record.seq
            current.count += 1
            current.from_ns = min(current.from_ns or record.wall_ns, record.wall_ns)
            current.to_ns = max(current.to_ns or record.wall_ns, record.wall_ns)
    if current is not None:
        yield current


def _begin(record: Record) -> Stream:
    try:
        device, _, target = decode_context(record.context)
    except RecordError:
        return Stream(None, None, record.seq, record.seq, 1)
    return Stream(device, target, record.seq, record.seq, 1, record.wall_ns, record.wall_ns)
