"""Forensics: a queue as it lies on the disk, read-only, whoever wrote it and whatever happened to it.

What a reader must trust is checked here: each frame, what joins the segments, the cursor, the log's name. It may run
beside a daemon; segments that are reused meanwhile are left out.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec

from bridge.log import cursor as cursor_file
from bridge.log import log_id as log_id_file
from bridge.log import quarantine
from bridge.log.boot_clocks import BootClocks
from bridge.log.cursor import Cursor
from bridge.log.dropped import Dropped, dropped_in
from bridge.log.forensics_segment import Damage, Piece, SegmentImage
from bridge.log.log_id import load_log_id
from bridge.log.queue_key import Keyring
from bridge.log.segment import list_segments

UPLINK: Final = "uplink"
DOWNLINK: Final = "downlink"
READS_MAX: Final = 4
"""Of a segment that is being written to, until it is found whole."""


class LaneFiles(msgspec.Struct, frozen=True):
    """One lane's directory."""

    name: str
    """The lane's; `downlink` for the other direction."""
    directory: Path
    log_id: bytes | None
    """16 bytes, from the file LOG; None: it is gone or garbled, then segments of any log are taken."""
    log_file: Path
    keys: Keyring | None = None
    """They open what is encrypted; None: it stays so, and its records are only counted."""

    def segments(self) -> list[tuple[int, Path]]:
        """`(first_seq, path)`, oldest first."""
        return list_segments(self.directory)

    def size(self) -> int:
        """Bytes of its segments."""
        return sum(path.stat().st_size for _, path in self.segments() if path.exists())

    def cursor(self) -> Cursor | None:
        """What the reading side wrote; None: nothing that is whole."""
        return Cursor.load(self.directory)

    def dropped(self) -> list[Dropped]:
        """What a bound made the writer give up and Kafka has not been told of yet, oldest first."""
        return [dropped for _, dropped in dropped_in(self.directory, self.keys)]

    def clocks(self) -> BootClocks:
        """What the lane knows of boots whose clock was set late. Raises OSError."""
        for first_seq, path in reversed(self.segments()):
            with contextlib.suppress(FileNotFoundError):
                known = SegmentImage(path, first_seq, self.log_id, self.keys).clocks()
                if known is not None:
                    return known
        return BootClocks()

    def quarantined(self) -> list[Path]:
        """What recovery kept aside."""
        return sorted((self.directory / quarantine.NAME).glob("*"))

    def position(self) -> int:
        """The first record that is not known to be forwarded."""
        cursor = self.cursor()
        ours = cursor is not None and self.log_id in (None, cursor.log_id)
        if cursor is not None and ours:
            return cursor.position
        segments = self.segments()
        return segments[0][0] if segments else 1


def find_lanes(directory: Path) -> list[LaneFiles]:
    """The lanes below a data directory, below its `uplink`, or the one that `directory` itself is.

    Raises:
        OSError: it cannot be read.
    """
    lanes = _uplink(directory / UPLINK)
    if (directory / DOWNLINK).is_dir():
        lanes.append(_lane(DOWNLINK, directory / DOWNLINK, directory / DOWNLINK))
    if not lanes and (list_segments(directory) or (directory / cursor_file.NAME).exists()):
        has_log = (directory / log_id_file.NAME).exists()
        lanes.append(_lane(directory.resolve().name, directory, directory if has_log else directory.parent))
    return lanes or _uplink(directory)


def _uplink(directory: Path) -> list[LaneFiles]:
    if not directory.is_dir():
        return []
    children = sorted(path for path in directory.iterdir() if path.is_dir())
    return [_lane(path.name, path, directory) for path in children if _is_lane(path)]


def _is_lane(directory: Path) -> bool:
    return (directory / cursor_file.NAME).exists() or any(directory.glob("*.seg")) or any(directory.glob("spare-*"))


def _lane(name: str, directory: Path, log_directory: Path) -> LaneFiles:
    return LaneFiles(name, directory, load_log_id(log_directory), log_directory / log_id_file.NAME)


class LaneWalk:
    """Everything in one lane, in order. Iterate over it once; then `next_seq` is where its records end."""

    def __init__(self, lane: LaneFiles, *, since: int = 0, live: bool = False) -> None:
        """Begins with the segment that holds record `since`. `live`: a daemon may be writing to it."""
        self.next_seq: int | None = None
        """Behind the last record found; None: there are no segments."""
        self._lane = lane
        self._since = since
        self._live = live

    def __iter__(self) -> Iterator[Piece | Damage]:
        segments = self._lane.segments()
        for index, (first_seq, path) in enumerate(segments):
            limit = segments[index + 1][0] if index + 1 < len(segments) else None
            if limit is not None and limit <= self._since:
                continue
            image = self._read(first_seq, path) if limit is not None else self._read_newest(first_seq, path)
            if image is None:
                continue
            if self.next_seq is not None and self.next_seq > first_seq:
                yield Damage(path, 0, first_seq, None, first_seq, f"records before {self.next_seq} are there twice")
            yield from self._unexplained(image.pieces(limit, live=self._live))
            self.next_seq = max(image.next_seq, self.next_seq or 1)

    def _unexplained(self, items: Iterator[Piece | Damage]) -> Iterator[Piece | Damage]:
        """Without the holes that the writer itself made and wrote down: that is no damage."""
        return (item for item in items if isinstance(item, Piece) or not self._is_explained(item))

    def _is_explained(self, damage: Damage) -> bool:
        hole = damage.next_offset is None and damage.next_seq != damage.first_seq
        return hole and explained(self._lane, damage.first_seq, damage.next_seq)

    def _read_newest(self, first_seq: int, path: Path) -> SegmentImage | None:
        """Its parts are not of one moment while it is written to: read again before it is called damaged."""
        image = self._read(first_seq, path)
        for _ in range(READS_MAX - 1 if self._live else 0):
            if image is None or not any(isinstance(item, Damage) for item in image.pieces(None, live=True)):
                break
            image = self._read(first_seq, path)
        return image

    def _read(self, first_seq: int, path: Path) -> SegmentImage | None:
        """None: it was recycled or removed while this walk went on."""
        try:
            before = path.stat().st_ino
            image = SegmentImage(path, first_seq, self._lane.log_id, self._lane.keys)
            # A recycled file is renamed before it is written to: what still has its name was not, while it was read.
            return image if not self._live or path.stat().st_ino == before else None
        except FileNotFoundError:
            if self._live:
                return None
            raise


def explained(lane: LaneFiles, first_seq: int, next_seq: int | None) -> bool:
    """Whether every record from `first_seq` to before `next_seq` was dropped, with word of it left behind."""
    for dropped in lane.dropped():
        if dropped.first_seq <= first_seq < dropped.next_seq:
            first_seq = dropped.next_seq
    return next_seq is not None and first_seq >= next_seq


def faults(lane: LaneFiles, walk: LaneWalk) -> Iterator[Damage]:
    """What is wrong with the lane beside its segments, `walk` being done."""
    if lane.log_id is None:
        yield _beside(lane.log_file, 1, "the log's id is gone or garbled; the segments still have it")
    path = lane.directory / cursor_file.NAME
    cursor = lane.cursor()
    if cursor is None:
        if path.exists():
            yield _beside(path, 1, "no slot of the cursor is whole; without Kafka's position records are sent again")
        return
    if lane.log_id not in (None, cursor.log_id):
        yield _beside(path, cursor.position, f"the cursor belongs to another log, {cursor.log_id.hex()}")
        return
    segments = lane.segments()
    end = walk.next_seq or 1
    if cursor.position > end:
        reason = f"the cursor is ahead of the log, which ends with record {end - 1}: forwarded records are not there"
        yield Damage(path, 0, end, None, None, reason)
    if segments and cursor.position < segments[0][0] and not explained(lane, cursor.position, segments[0][0]):
        yield Damage(path, 0, cursor.position, None, segments[0][0], "the segment that the cursor points to is gone")


def _beside(path: Path, first_seq: int, reason: str) -> Damage:
    return Damage(path, 0, first_seq, None, first_seq, reason)
