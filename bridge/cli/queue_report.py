"""What `busbridge queue inspect` says about a queue: lanes, segments, streams, and what is waiting and why."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec

from bridge.cli.queue_daemon import way_to_kafka
from bridge.log import record as rec
from bridge.log.cursor import Cursor
from bridge.log.forensics import LaneFiles, LaneWalk, faults
from bridge.log.forensics_segment import Damage, Piece
from bridge.log.record import Record, RecordError, decode_context

KINDS = {
    rec.MESSAGE: "message",
    rec.DOCUMENT: "document",
    rec.EVENT: "event",
    rec.OUTCOME: "outcome",
    rec.COMMAND: "command",
    rec.RELEASE: "release",
    rec.RESET: "reset",
    rec.CHECKPOINT: "checkpoint",
    rec.DESIRED: "desired",
    rec.KNOWN: "known",
    rec.LABELS: "labels",
    rec.REQUEST: "request",
    rec.CLOCK: "clock",
    rec.LETTER: "dead letter",
}
OF_THE_HANDSHAKE = frozenset({rec.RELEASE, rec.RESET, rec.CHECKPOINT, rec.CLOCK})
"""They are the gateway's own and go nowhere."""
CONTEXTS_MAX = 16_384
"""Whose stream is remembered; memory must not grow with the number of topics."""


class Segment(msgspec.Struct):
    """One file."""

    file: str
    bytes: int
    first_seq: int
    next_seq: int
    frames: int = 0
    records: int = 0
    forwarded: bool = False
    """Wholly: it is not needed any more."""


class Stream(msgspec.Struct):
    """The records of one device to one target."""

    device: str
    target: str
    """The Kafka topic; empty: none."""
    records: int = 0
    bytes: int = 0
    waiting: int = 0
    waiting_bytes: int = 0
    oldest_ns: int | None = None
    """Received, Unix nanoseconds; of those that wait if any do."""
    newest_ns: int | None = None


class Lane(msgspec.Struct):
    """One lane."""

    lane: str
    directory: str
    log: str | None
    bytes: int
    spares: int
    oldest_seq: int | None
    written: int
    """The position behind the last record."""
    forwarded: int | None
    """The position the reading side wrote down; None: it never did, or what it wrote is damaged or another log's."""
    waiting: int = 0
    waiting_bytes: int = 0
    oldest_waiting_ns: int | None = None
    why: str = ""
    segments: list[Segment] = []
    streams: list[Stream] = []
    damage: list[str] = []
    dropped: int = 0
    """Records that a bound made the gateway give up and Kafka has not been told of yet."""
    quarantine: list[str] = []
    """What recovery kept aside, by file name."""


class Report(msgspec.Struct):
    """The queue of one gateway."""

    directory: str
    daemon: str | None
    """The process id of the daemon that runs on it."""
    lanes: list[Lane]
    dead_letters: int = 0
    """That stay on the gateway, and were not forwarded after all."""


def make_report(directory: Path, lanes: list[LaneFiles], daemon: str | None, advance: Callable[[int], None]) -> Report:
    """Reads the lanes to their ends. `advance` is told the bytes done. Raises OSError."""
    way = way_to_kafka(directory) if daemon is not None else None
    reports = [lane_report(files, daemon, way, advance) for files in lanes]
    return Report(str(directory), daemon, reports, _dead_letters(directory))


def _dead_letters(directory: Path) -> int:
    if not (directory / "dead-letters").is_dir():
        return 0
    from bridge.cli.dead_letters import Filed, find_letters, waiting_letters

    files = find_letters(directory)
    return sum(isinstance(each, Filed) for each in waiting_letters(files)) if files is not None else 0


def lane_report(files: LaneFiles, daemon: str | None, way: str | None, advance: Callable[[int], None]) -> Lane:
    """Reads one lane to its end. `way`: how the daemon's way to Kafka is, in its words. Raises OSError."""
    cursor, position = files.cursor(), files.position()
    ours = cursor is not None and files.log_id in (None, cursor.log_id)
    segments = files.segments()
    lane = Lane(
        lane=files.name,
        directory=str(files.directory),
        log=files.log_id.hex() if files.log_id else None,
        bytes=files.size(),
        spares=len(list(files.directory.glob("spare-*"))),
        oldest_seq=segments[0][0] if segments else None,
        written=1,
        forwarded=position if ours else None,
        dropped=sum(stream.count for each in files.dropped() for stream in each.streams),
        quarantine=[path.name for path in files.quarantined()],
    )
    walk = LaneWalk(files, live=daemon is not None)
    counted = _Counting(lane, position)
    for item in walk:
        if isinstance(item, Damage):
            lane.damage.append(str(item))
        else:
            counted.add(item)
            advance(item.size)
    lane.written = walk.next_seq or 1
    lane.damage += map(str, faults(files, walk))
    lane.streams = sorted(counted.streams.values(), key=lambda each: (-each.waiting, each.device, each.target))
    lane.why = _why(lane, daemon, way, cursor)
    return lane


class _Counting:
    def __init__(self, lane: Lane, position: int) -> None:
        self.streams: dict[tuple[str, str], Stream] = {}
        self._by_context: dict[bytes, Stream] = {}
        self._lane = lane
        self._position = position

    def add(self, piece: Piece) -> None:
        segment = self._segment(piece)
        segment.frames += 1
        segment.records += len(piece.records)
        for record in piece.records:
            segment.next_seq = record.seq + 1
            if record.kind not in OF_THE_HANDSHAKE:
                self._count(record)
        segment.forwarded = segment.next_seq <= self._position

    def _segment(self, piece: Piece) -> Segment:
        segments, path = self._lane.segments, piece.path
        if not segments or segments[-1].file != path.name:
            first = int(path.stem)
            size = path.stat().st_size if path.exists() else 0
            segments.append(Segment(path.name, size, first, first))
        return segments[-1]

    def _count(self, record: Record) -> None:
        stream, size = self._stream(record.context), rec.HEAD_BYTES + _length(record)
        stream.records += 1
        stream.bytes += size
        if record.seq < self._position:
            if not stream.waiting:
                stream.oldest_ns = record.wall_ns if stream.oldest_ns is None else stream.oldest_ns
                stream.newest_ns = record.wall_ns
            return
        if not stream.waiting:
            stream.oldest_ns = record.wall_ns
        stream.newest_ns = record.wall_ns
        stream.waiting += 1
        stream.waiting_bytes += size
        lane = self._lane
        lane.waiting += 1
        lane.waiting_bytes += size
        lane.oldest_waiting_ns = record.wall_ns if lane.oldest_waiting_ns is None else lane.oldest_waiting_ns

    def _stream(self, context: bytes) -> Stream:
        try:
            return self._by_context[context]
        except KeyError:
            stream = self._find(context)
        if len(self._by_context) >= CONTEXTS_MAX:
            self._by_context.clear()
        self._by_context[context] = stream
        return stream

    def _find(self, context: bytes) -> Stream:
        try:
            device, _, target = decode_context(context)
        except RecordError:
            device, target = "(unreadable)", ""
        return self.streams.setdefault((device, target), Stream(device, target))


def _length(record: Record) -> int:
    return len(record.context) + len(record.headers) + len(record.payload)


def _why(lane: Lane, daemon: str | None, way: str | None, cursor: Cursor | None) -> str:
    """Why what waits is waiting, in plain words."""
    if not lane.waiting:
        return "nothing waits" if not lane.damage else "nothing waits, but there is damage"
    reasons = []
    if cursor is None:
        reasons.append("nothing of this log was ever noted as forwarded")
    elif lane.forwarded is None:
        reasons.append("the cursor belongs to another log")
    if lane.damage:
        reasons.append("there is damage, see `queue verify`")
    if daemon is None:
        reasons.append("no daemon runs on this directory")
    else:
        reasons.append(f"the daemon (process {daemon}) runs: {way or 'it is on its way, or Kafka is away'}")
    return "; ".join(reasons)
