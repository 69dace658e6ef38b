"""Which records a replay is about: of a queue that is still on the disk, of an export, or of the dead-letter log."""

from __future__ import annotations

import datetime
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from bridge.cli.failure import USAGE, Failure, plainly
from bridge.log.record import DOCUMENT, MESSAGE, Record, RecordError, decode_context

if TYPE_CHECKING:
    from bridge.bus_side.replay import Origin
    from bridge.cli.queue_source import Advance
    from bridge.log.forensics import LaneFiles

REPLAYED = frozenset({MESSAGE, DOCUMENT})
"""Events told of something once; told again they would be untrue."""
_NS_PER_S = 1_000_000_000


class Range(msgspec.Struct, frozen=True):
    """What is wanted; both ends are in it. None: no such bound."""

    first_seq: int | None = None
    last_seq: int | None = None
    from_ns: int | None = None
    to_ns: int | None = None
    """Received, Unix nanoseconds."""
    device: str | None = None
    topic: str | None = None
    """An MQTT topic filter."""

    def has(self, record: Record) -> bool:
        """Whether the record is wanted."""
        if record.kind not in REPLAYED:
            return False
        if not (self.first_seq or 0) <= record.seq <= (self.last_seq or sys.maxsize):
            return False
        if not (self.from_ns or 0) <= record.wall_ns <= (self.to_ns or sys.maxsize):
            return False
        return self._names(record)

    def _names(self, record: Record) -> bool:
        if self.device is None and self.topic is None:
            return True
        from bridge.mqtt.topics import matches

        try:
            device, topic, _ = decode_context(record.context)
        except RecordError:
            return False
        return self.device in (None, device) and (self.topic is None or matches(self.topic, topic))


def bound(text: str | None, name: str) -> tuple[int | None, int | None]:
    """`(number, Unix nanoseconds)` of what --from and --to take; a time without a zone is UTC. Raises Failure."""
    if text is None:
        return None, None
    if text.isdigit():
        return int(text), None
    try:
        moment = datetime.datetime.fromisoformat(text)
    except ValueError as error:
        words = f"{name} {text}: neither a record's number nor a time like 2026-11-21T10:00:00Z"
        raise Failure(words, USAGE) from error
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=datetime.UTC)
    return None, int(moment.timestamp() * _NS_PER_S)


def check_there(files: LaneFiles, wanted: Range) -> None:
    """Raises Failure: the beginning or the end of the range is not on this disk (any more)."""
    segments = files.segments()
    oldest = segments[0][0] if segments else 1
    first, last = wanted.first_seq, wanted.last_seq
    if first is not None and first < oldest:
        gone = min(last or oldest - 1, oldest - 1)
        words = f"lane {files.name}: records {first} to {gone} are not there any more, their segments were used again"
        raise Failure(f"{words}; the oldest is {oldest}", USAGE)
    newest = _end(files) - 1
    if (first is not None and first > newest) or (last is not None and last > newest):
        wrong = max(first or 0, last or 0)
        raise Failure(f"lane {files.name}: there is no record {wrong}; the newest is {newest}", USAGE)


def _end(files: LaneFiles) -> int:
    from bridge.log.forensics import LaneWalk

    segments = files.segments()
    if not segments:
        return 1
    walk = LaneWalk(files, since=segments[-1][0], live=True)
    for _ in walk:
        pass
    return walk.next_seq or segments[-1][0]


def of_lane(files: LaneFiles, wanted: Range, advance: Advance) -> Iterator[Record]:
    """The wanted records of a lane, their times corrected; what cannot be read is said on stderr. Raises OSError."""
    from bridge.log.forensics import LaneWalk
    from bridge.log.forensics_segment import Damage

    clocks = files.clocks()
    for item in LaneWalk(files, since=wanted.first_seq or 0, live=True):
        if isinstance(item, Damage):
            print(f"{files.name}: {item}", file=sys.stderr)
            continue
        clocks.correct(item.records)
        yield from filter(wanted.has, item.records)
        advance(item.size)
        if wanted.last_seq is not None and item.records and item.records[-1].seq >= wanted.last_seq:
            return


def of_file(path: Path, wanted: Range, gateway: str) -> list[tuple[Origin, list[Record]]]:
    """The wanted records of an export, by where they come from, in the order of the file. Raises Failure."""
    from bridge.bus_side.replay import Origin
    from bridge.cli.exported import RecordError as LineError
    from bridge.cli.queue_export import record_of

    found: dict[Origin, list[Record]] = {}
    with plainly(), path.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                lane, log_id, record = record_of(line)
            except (LineError, RecordError, msgspec.DecodeError, ValueError) as error:
                raise Failure(f"{path}, line {number}: no line of 'queue export': {error}", USAGE) from error
            if wanted.has(record):
                found.setdefault(Origin(gateway, lane, log_id), []).append(record)
    return list(found.items())
