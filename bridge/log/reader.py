"""LogReader: the committed records of one lane, in order, from any process.

It never looks beyond what it was told is committed, and it never writes. Segments vanish only behind the durable
cursor, which is the reader's own to move.
"""

from __future__ import annotations

from pathlib import Path

from bridge.log.errors import LogDamaged
from bridge.log.queue_key import Keyring
from bridge.log.record import Record, RecordError, decode_many
from bridge.log.segment import PAGE_BYTES, Frame, list_segments, segment_name
from bridge.log.segment_reader import SegmentReader


class LogReader:
    """A position in the log of a directory."""

    def __init__(
        self, directory: Path, log_id: bytes | None = None, position: int | None = None, keys: Keyring | None = None
    ) -> None:
        """Begins at record `position`; None: at the oldest there is. `log_id`: segments of another log are damage.

        `keys` open what is encrypted.
        """
        self.position = oldest_position(directory) if position is None else position
        """The sequence number of the next record."""
        self.bytes_read = 0
        """Of all records that `read` has returned, as they are on disk."""
        self._directory = directory
        self._log_id = log_id
        self._segment: SegmentReader | None = None
        self._offset = 0
        """In the segment's file, of the next frame."""
        self._frame: Frame | None = None
        """The frame that holds `position`, if records of it are left."""
        self._records = b""
        """Where its records are: the segment's window, or what was encrypted in it."""
        self._record_at = self._records_end = 0
        """In there, of the next record, and behind the last."""
        self._keys = keys or Keyring()

    def read(self, committed: int, max_records: int, max_bytes: int) -> list[Record]:
        """The next records before `committed`: at most `max_records`, and no more once they reach `max_bytes`.

        Empty: there are none. What was read before a damage is returned first.

        Raises:
            LogDamaged: the record at `position` is committed and cannot be read; see `skip_damage`.
            LogKeyMissing: it is encrypted, and its key is not here.
            OSError: the disk refused.
        """
        records: list[Record] = []
        left = max_bytes
        while self.position < committed and len(records) < max_records and left > 0:
            try:
                left -= self._take(min(max_records - len(records), committed - self.position), left, records)
            except LogDamaged:
                if not records:
                    raise
                break
        self.bytes_read += max_bytes - left
        return records

    def skip_damage(self, committed: int) -> tuple[int, int]:
        """Goes on behind the damage at `position`.

        Returns: `(first, next)`, the first record that is lost and the next one that is to be read.

        Raises:
            OSError: the disk refused.
        """
        first = self.position
        later = [seq for seq, _ in list_segments(self._directory) if seq > first]
        found = self._next_good_in_segment()
        self.position = min([*later[:1], *found, max(committed, first)])
        self.close()
        return first, self.position

    def close(self) -> None:
        """Gives the file back; the next `read` opens it again."""
        if self._segment is not None:
            self._segment.close()
        self._segment = self._frame = None
        self._records = b""

    def _take(self, max_records: int, max_bytes: int, into: list[Record]) -> int:
        """Records of one frame into `into`; returns how many bytes they were."""
        frame = self._frame or self._next_frame()
        before, start = len(into), self._record_at
        try:
            self._record_at = decode_many(
                self._records, start, self._records_end, self.position, frame.boot, max_records, max_bytes, into
            )
        except RecordError as error:
            del into[before:]
            raise self._damaged(str(error)) from error
        self.position += len(into) - before
        self._frame = frame if self.position < frame.next_seq else None
        return self._record_at - start

    def _next_frame(self) -> Frame:
        """The frame that begins with the record at `position`."""
        if self._segment is None:
            return self._seek()
        segment = self._segment
        while True:
            frame = segment.frame(self._offset, self.position)
            if frame is None:
                segment = self._follow(segment)
                continue
            self._offset = segment.offset_of(frame.next_at)
            if frame.count:
                self._open(segment, frame)
                return frame

    def _open(self, segment: SegmentReader, frame: Frame) -> None:
        try:
            self._records, self._record_at, self._records_end = segment.records(frame)
        except RecordError as error:
            raise self._damaged(str(error)) from error

    def _follow(self, segment: SegmentReader) -> SegmentReader:
        """The segment that begins at `position`: where there is one, the former has ended."""
        path = self._directory / segment_name(self.position)
        if segment.first_seq == self.position or not path.exists():
            raise self._damaged("there is no undamaged frame that begins with it")
        following = SegmentReader(path, self.position, self._log_id, self._keys)
        segment.close()
        self._segment, self._offset = following, PAGE_BYTES
        return following

    def _seek(self) -> Frame:
        """The frame that holds `position`, which may be anywhere in a segment."""
        segment = self._segment = self._covering()
        self._offset, seq = PAGE_BYTES, segment.first_seq
        while True:
            frame = segment.frame(self._offset, seq) or segment.find(self._offset, seq)
            if frame is None or frame.first_seq > self.position:
                raise self._damaged("there is no undamaged frame that holds it")
            self._offset, seq = segment.offset_of(frame.next_at), frame.next_seq
            if seq > self.position:
                break
        self._open(segment, frame)
        before, end = self.position - frame.first_seq, self._records_end
        self._record_at = decode_many(self._records, self._record_at, end, 0, frame.boot, before, end, [])
        return frame

    def _covering(self) -> SegmentReader:
        """The segment that holds `position` by the names of the files."""
        begun = [(seq, path) for seq, path in list_segments(self._directory) if seq <= self.position]
        if not begun:
            raise LogDamaged(self._directory, 0, self.position, "the segment that held it is gone")
        first_seq, path = begun[-1]
        return SegmentReader(path, first_seq, self._log_id, self._keys)

    def _next_good_in_segment(self) -> list[int]:
        """The first record behind `position` that begins an undamaged frame in the same segment, if any."""
        try:
            segment = self._covering()
        except LogDamaged:
            return []
        frame = segment.find(PAGE_BYTES, self.position + 1)
        segment.close()
        return [frame.first_seq] if frame is not None else []

    def _damaged(self, reason: str) -> LogDamaged:
        """Also forgets where it was: what is read next is sought anew."""
        path = self._segment.path if self._segment is not None else self._directory
        offset = self._offset
        self.close()
        return LogDamaged(path, offset, self.position, reason)


def oldest_position(directory: Path) -> int:
    """The first record that the log in `directory` still has (or will have)."""
    segments = list_segments(directory)
    return segments[0][0] if segments else 1
