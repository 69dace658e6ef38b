"""Recovery: what a crash left behind becomes a log that can be written to again. It always starts.

It lists the directory and reads the last segment, so it takes as long for a thousand segments as for one. A torn tail
was never acknowledged and is cut. Damage with good frames behind it is something else: the segment is left as it is for
whoever reads it (who tells of the gap), what is damaged is kept in quarantine, and writing goes on in a new one. The
one thing that a person must decide about is a log that a later version of the program has written.
"""

from __future__ import annotations

import errno
import logging
import os
from pathlib import Path

import msgspec

from bridge.durable import sync_directory
from bridge.log import quarantine
from bridge.log.bad_pages import read_around
from bridge.log.boot_clocks import BootClocks
from bridge.log.cursor import Cursor
from bridge.log.errors import LogTooNew
from bridge.log.fold import Fold
from bridge.log.queue_key import Keyring, SegmentCipher, records_of
from bridge.log.record import HEAD_BYTES, Record, RecordError, decode_many
from bridge.log.segment import (
    FORMAT_ENCRYPTED,
    PAGE_BYTES,
    Frame,
    Header,
    decode_frame,
    decode_header,
    find_frame,
    later_format,
    list_segments,
)
from bridge.log.segment_file import SegmentFile

_log = logging.getLogger(__name__)


class Recovery(msgspec.Struct):
    """Where the writer goes on."""

    segments: list[tuple[int, Path]]
    """`(first_seq, path)`, oldest first."""
    tail: SegmentFile | None
    """The last of them, if it can be written to."""
    next_seq: int
    damages: int = 0
    """Ranges of the last segment that are damaged; what they held is lost or never was."""
    clocks: BootClocks = msgspec.field(default_factory=BootClocks)
    """What the log knows of the clocks of earlier boots."""


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
    damages: list[range]
    """Offsets of what is not good although good frames follow, cannot be read, or follows a header that is not good."""
    synced: bool = True
    """The kernel had nothing left for this file that it could not write."""
    cipher: SegmentCipher | None = None
    """What opens its frames; None: they are plain."""

    @property
    def damaged(self) -> bool:
        """It must be left as it is."""
        return bool(self.damages)

    @property
    def empty(self) -> bool:
        """Nothing was ever acknowledged from here: a segment has a frame before it has its name."""
        return not self.frames and not self.damaged

    @property
    def checkpoint(self) -> Record | None:
        """The record that opens the segment."""
        if not self.frames or self.frames[0].count:
            return None
        return self.records(self.frames[0])[0]

    def records(self, frame: Frame) -> list[Record]:
        """The records of one of its frames."""
        records: list[Record] = []
        data, at, end = records_of(self.data, frame, self.cipher)
        decode_many(data, at, end, frame.first_seq, frame.boot, frame.count or 1, end - at, records)
        return records


def recover(directory: Path, log_id: bytes, fold: Fold, keys: Keyring) -> Recovery:
    """Makes the log in `directory` ready to be written to and restores `fold`.

    Raises:
        LogTooNew, LogKeyMissing: a person must decide.
        OSError: the disk refuses.
    """
    segments = list_segments(directory)
    next_seq, damages, clocks = 1, 0, BootClocks()
    while segments:
        first_seq, path = segments[-1]
        scan = scan_segment(path, first_seq, log_id, keys)
        next_seq = max(next_seq, scan.next_seq)
        if not scan.empty:
            clocks = restore(fold, segments, scan, log_id, keys)
            damages = len(scan.damages)
            report(scan, log_id)
            break
        discard(scan)
        segments.pop()
    next_seq = beyond_cursor(directory, log_id, next_seq)
    sync_directory(directory)
    sync_directory(directory.parent)  # or a new lane's directory could be gone after a power failure, and all in it
    tail = open_tail(scan, keys) if segments and scan.next_seq == next_seq else None
    return Recovery(segments, tail, next_seq, damages, clocks)


def beyond_cursor(directory: Path, log_id: bytes, next_seq: int) -> int:
    """The number to go on with: none that was forwarded is given again, even where the disk has lost what it promised.

    A record with such a number would pass for one that was forwarded, and be lost. Raises OSError.
    """
    cursor = Cursor.load(directory)
    if cursor is None or cursor.log_id != log_id or cursor.position <= next_seq:
        return next_seq
    _log.error(
        "%s ends before record %d, and those before %d were forwarded: the disk has lost what it promised to keep, or "
        "somebody has removed it; the next record is %d", directory, next_seq, cursor.position, cursor.position,
    )  # fmt: skip
    return cursor.position


def discard(scan: Scan) -> None:
    """Removes a segment that holds nothing of this log; if it holds anything at all, that is kept aside."""
    if scan.header is None and any_set(scan.data, 0):
        _log.error("%s has the header of another segment: it is put into quarantine", scan.path)
        quarantine.keep_segment(scan.path)
    else:
        _log.warning("%s is empty, as a crash leaves a segment that was just begun: it is removed", scan.path)
    scan.path.unlink()


def report(scan: Scan, log_id: bytes) -> None:
    """Says what is damaged, and keeps it aside: the segment is used again once what can be read was forwarded."""
    header = decode_header(scan.data)
    if header is not None and header.log_id != log_id:
        _log.error(
            "%s belongs to another log (%s, this one is %s): it is left as it is and not read; "
            "a data directory must not be put together from two gateways'",
            scan.path,
            header.log_id.hex(),
            log_id.hex(),
        )
    elif scan.header is None:
        _log.error("the header of %s is damaged: none of its records can be read, a gap will say so", scan.path)
    elif scan.damaged:
        where = ", ".join(f"{damage.start} to {damage.stop - 1}" for damage in scan.damages)
        _log.error("%s is damaged at bytes %s: a gap will say what is lost there", scan.path, where)
    if scan.header is None:
        quarantine.keep_segment(scan.path)
        return
    for damage in scan.damages:
        quarantine.keep_bytes(scan.path, damage.start, scan.data[damage.start : damage.stop])


def scan_segment(path: Path, first_seq: int, log_id: bytes, keys: Keyring) -> Scan:
    """Reads the segment and finds its good frames; what the disk does not give back reads as zeros.

    Raises:
        LogTooNew: its format is a later one.
        LogKeyMissing: it is encrypted, and its key is not here.
        OSError: it cannot be opened.
    """
    data, lost, synced = read_back(path)
    header = decode_header(data)
    if header is None or header.first_seq != first_seq or header.log_id != log_id:
        return _foreign(path, data, header, first_seq, lost)
    cipher = keys.cipher(header, path)
    frames: list[Frame] = []
    damages: list[range] = []
    at, seq = PAGE_BYTES, first_seq
    while True:
        frame = decode_frame(data, at, header.seed, seq)
        if frame is None:
            frame = find_frame(data, at, header.seed, seq) if any_set(data, at) else None
            if frame is None:
                break
            damages.append(range(at, frame.at))
        if _opens(data, frame, cipher):
            frames.append(frame)
        else:
            damages.append(range(frame.at, frame.end))
        at, seq = frame.next_at, frame.next_seq
    end = at
    if lost:
        # Nobody knows what was there: the numbers that it may have held are left out, none is ever given twice.
        damages.append(range(end, len(data)))
        seq += lost // HEAD_BYTES
    return Scan(path, data, header, frames, end, seq, damages, synced, cipher)


def _opens(data: bytes, frame: Frame, cipher: SegmentCipher | None) -> bool:
    """Whether the frame's seal is good; a plain one has none."""
    try:
        records_of(data, frame, cipher)
    except RecordError:
        return False
    return True


def read_back(path: Path) -> tuple[bytes, int, bool]:
    """What the disk has, not what the kernel remembers: after a failed sync it may remember what it never wrote.

    Returns: the bytes, how many of them could not be read (and are zeros), and whether the sync succeeded.

    Raises:
        OSError: it cannot be opened.
    """
    descriptor = os.open(path, os.O_RDWR)
    try:
        synced = _sync(descriptor)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        data, lost = read_around(descriptor, 0, os.fstat(descriptor).st_size)
        return data, sum(map(len, lost)), synced
    finally:
        os.close(descriptor)


def _sync(descriptor: int) -> bool:
    try:
        os.fdatasync(descriptor)
    except OSError as error:
        if error.errno != errno.EIO:
            raise
        return False
    return True


def any_set(data: bytes, start: int) -> bool:
    """Whether any byte of `data[start:]` is not zero."""
    return data.count(0, start) != len(data) - start


def restore(fold: Fold, segments: list[tuple[int, Path]], newest: Scan, log_id: bytes, keys: Keyring) -> BootClocks:
    """Gives `fold` the last checkpoint and the records behind it; returns what they say of clocks.

    That is one segment, unless its beginning is damaged: then as many as it takes to find a checkpoint.
    """
    scans = [newest]
    for first_seq, path in reversed(segments[:-1]):
        if scans[-1].checkpoint is not None:
            break
        scans.append(scan_segment(path, first_seq, log_id, keys))
    checkpoint, clocks = scans[-1].checkpoint, BootClocks()
    if checkpoint is not None:
        fold.restore(checkpoint.payload)
        clocks = BootClocks.decode(checkpoint.headers)
    for scan in reversed(scans):
        for frame in scan.frames:
            for record in scan.records(frame) if frame.count else ():
                fold.replay(record)
                clocks.replay(record)
    return clocks


def open_tail(scan: Scan, keys: Keyring) -> SegmentFile | None:
    """The segment, its torn tail cut, ready for the next frame; None where it must be left as it is.

    Raises:
        OSError: the disk refused.
    """
    header = scan.header
    if scan.damaged or not scan.synced or header is None or len(scan.data) != header.segment_bytes:
        return None
    if header.key_id != keys.current_id:  # what is written from now on is covered, or by another key, or not any more
        return None
    descriptor = os.open(scan.path, os.O_WRONLY)
    try:
        if any_set(scan.data, scan.end):
            os.pwrite(descriptor, bytes(len(scan.data) - scan.end), scan.end)
            os.fdatasync(descriptor)
    except OSError:
        os.close(descriptor)
        raise
    return SegmentFile(scan.path, descriptor, header, scan.end, scan.cipher)


def _foreign(path: Path, data: bytes, header: Header | None, first_seq: int, lost: int) -> Scan:
    """Not a segment of this log by this name: the name alone says which numbers may have been given.

    Nothing was acknowledged from a file without header and frames, nor from one that still has the header of its
    earlier life. Otherwise the numbers that it may have held are left out: none is ever given twice.
    """
    version = later_format(data)
    if version is not None:
        raise LogTooNew(
            f"{path} has format version {version}, this program knows {FORMAT_ENCRYPTED}: install the version that "
            "wrote it, or move the file away to go on without what it holds"
        )
    reused = header is not None and header.first_seq < first_seq
    blank = len(data) <= PAGE_BYTES or not any_set(data[: 2 * PAGE_BYTES], 0)
    if (reused or blank) and not lost:
        return Scan(path, data, None, [], PAGE_BYTES, first_seq, [])
    return Scan(path, data, None, [], PAGE_BYTES, first_seq + len(data) // HEAD_BYTES, [range(len(data))])
