"""Recovery: what a crash left behind becomes a log that can be written to again. It always starts.

It lists the directory and reads the last segment, so it takes as long for a thousand segments as for one. A torn tail
was never acknowledged and is cut. Damage with good frames behind it is something else: the segment is left as it is for
whoever reads it, and writing goes on in a new one.
"""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from bridge.log.files import sync_directory
from bridge.log.fold import Fold
from bridge.log.record import HEAD_BYTES, Record, decode_many
from bridge.log.segment import PAGE_BYTES, Frame, Header, decode_frame, decode_header, find_frame, list_segments
from bridge.log.segment_file import SegmentFile


class Recovery(msgspec.Struct):
    """Where the writer goes on."""

    segments: list[tuple[int, Path]]
    """`(first_seq, path)`, oldest first."""
    tail: SegmentFile | None
    """The last of them, if it can be written to."""
    next_seq: int


class Scan(msgspec.Struct):
    """One segment, read whole."""

    path: Path
    data: bytes
    header: Header | None
    """None: not a segment of this log by this name."""
    frames: list[Frame]
    end: int
    """Offset behind the last good frame."""
    next_seq: int
    damaged: bool
    """There are good frames behind bad ones, or the header is not what it should be."""

    @property
    def empty(self) -> bool:
        """Nothing was ever acknowledged from here: a segment has a frame before it has its name."""
        return not self.frames and not self.damaged

    @property
    def checkpoint(self) -> bytes | None:
        """The payload of the record that opens the segment."""
        if not self.frames or self.frames[0].count:
            return None
        return self.records(self.frames[0])[0].payload

    def records(self, frame: Frame) -> list[Record]:
        """The records of one of its frames."""
        records: list[Record] = []
        data, at = self.data, frame.records_at
        decode_many(data, at, frame.end, frame.first_seq, frame.boot, frame.count or 1, frame.end - at, records)
        return records


def recover(directory: Path, log_id: bytes, fold: Fold) -> Recovery:
    """Makes the log in `directory` ready to be written to and restores `fold`.

    Raises:
        OSError: the disk refuses.
    """
    segments = list_segments(directory)
    next_seq = 1
    while segments:
        first_seq, path = segments[-1]
        scan = scan_segment(path, first_seq, log_id)
        next_seq = max(next_seq, scan.next_seq)
        if not scan.empty:
            restore(fold, segments, scan, log_id)
            break
        path.unlink()
        segments.pop()
    sync_directory(directory)
    tail = open_tail(scan) if segments and scan.next_seq == next_seq else None
    return Recovery(segments, tail, next_seq)


def scan_segment(path: Path, first_seq: int, log_id: bytes) -> Scan:
    """Reads the segment and finds its good frames.

    Raises:
        OSError: it cannot be read.
    """
    data = read_back(path)
    header = decode_header(data)
    if header is None or header.first_seq != first_seq or header.log_id != log_id:
        return _foreign(path, data, header, first_seq)
    frames: list[Frame] = []
    at, seq, end, damaged = PAGE_BYTES, first_seq, PAGE_BYTES, False
    while True:
        frame = decode_frame(data, at, header.seed, seq)
        if frame is None:
            frame = find_frame(data, at, header.seed, seq) if any_set(data, at) else None
            if frame is None:
                return Scan(path, data, header, frames, end, seq, damaged)
            damaged = True
        frames.append(frame)
        at, end, seq = frame.next_at, frame.next_at, frame.next_seq


def read_back(path: Path) -> bytes:
    """What the disk has, not what the kernel remembers: after a failed sync it may remember what it never wrote.

    Raises:
        OSError: it cannot be read or synced.
    """
    descriptor = os.open(path, os.O_RDWR)
    try:
        os.fdatasync(descriptor)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        with os.fdopen(os.dup(descriptor), "rb") as file:
            return file.read()
    finally:
        os.close(descriptor)


def any_set(data: bytes, start: int) -> bool:
    """Whether any byte of `data[start:]` is not zero."""
    return data.count(0, start) != len(data) - start


def restore(fold: Fold, segments: list[tuple[int, Path]], newest: Scan, log_id: bytes) -> None:
    """Gives `fold` the last checkpoint and the records behind it.

    That is one segment, unless its beginning is damaged: then as many as it takes to find a checkpoint.
    """
    scans = [newest]
    for first_seq, path in reversed(segments[:-1]):
        if scans[-1].checkpoint is not None:
            break
        scans.append(scan_segment(path, first_seq, log_id))
    checkpoint = scans[-1].checkpoint
    if checkpoint is not None:
        fold.restore(checkpoint)
    for scan in reversed(scans):
        for frame in scan.frames:
            for record in scan.records(frame) if frame.count else ():
                fold.replay(record)


def open_tail(scan: Scan) -> SegmentFile | None:
    """The segment, its torn tail cut, ready for the next frame; None where it must be left as it is.

    Raises:
        OSError: the disk refused.
    """
    header = scan.header
    if scan.damaged or header is None or len(scan.data) != header.segment_bytes:
        return None
    descriptor = os.open(scan.path, os.O_WRONLY)
    try:
        if any_set(scan.data, scan.end):
            os.pwrite(descriptor, bytes(len(scan.data) - scan.end), scan.end)
            os.fdatasync(descriptor)
    except OSError:
        os.close(descriptor)
        raise
    return SegmentFile(scan.path, descriptor, header, scan.end)


def _foreign(path: Path, data: bytes, header: Header | None, first_seq: int) -> Scan:
    """Not a segment of this log by this name: the name alone says which numbers may have been given.

    Nothing was acknowledged from a file without header and frames, nor from one that still has the header of its
    earlier life. Otherwise the numbers that it may have held are left out: none is ever given twice.
    """
    reused = header is not None and header.first_seq < first_seq
    blank = len(data) <= PAGE_BYTES or not any_set(data[: 2 * PAGE_BYTES], 0)
    if reused or blank:
        return Scan(path, data, None, [], PAGE_BYTES, first_seq, False)
    return Scan(path, data, None, [], PAGE_BYTES, first_seq + len(data) // HEAD_BYTES, True)
