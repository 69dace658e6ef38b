"""One segment opened for reading, through a window that grows while much is read and shrinks while little is.

Another process may be writing to the file: what was read ahead may be out of date, so nothing is called missing before
it has been read again.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from bridge.log.bad_pages import read_around
from bridge.log.errors import LogDamaged, LogKeyMissing
from bridge.log.queue_key import Keyring, records_of
from bridge.log.segment import PAGE_BYTES, Frame, decode_frame, decode_header, find_frame, frame_size

WINDOW_MIN: Final = 64 << 10
WINDOW_MAX: Final = 1 << 20
"""Bytes; a longer frame is read whole all the same."""


class SegmentReader:
    """The frames of one segment. `window` holds the bytes that the offsets of a Frame are meant for."""

    def __init__(self, path: Path, first_seq: int, log_id: bytes | None, keys: Keyring) -> None:
        """Opens it.

        Raises:
            LogDamaged: its header is not what its name says, or it is gone.
            LogKeyMissing: it is encrypted, and its key is not here.
            OSError: it cannot be read.
        """
        self.path = path
        self.first_seq = first_seq
        self.window = b""
        self._window_at = 0
        self._window_bytes = WINDOW_MIN
        try:
            self._descriptor = os.open(path, os.O_RDONLY)
        except FileNotFoundError:  # dropped since it was listed
            raise LogDamaged(path, 0, first_seq, "the segment that held it is gone") from None
        header = decode_header(read_around(self._descriptor, 0, PAGE_BYTES)[0])
        if header is None or header.first_seq != first_seq or log_id not in (None, header.log_id):
            self.close()
            raise LogDamaged(path, 0, first_seq, "the segment's header is damaged, or another log's")
        self._seed = header.seed
        try:
            self._cipher = keys.cipher(header, path)
        except LogKeyMissing:
            self.close()
            raise

    def close(self) -> None:
        """Gives the descriptor back."""
        os.close(self._descriptor)

    def frame(self, offset: int, seq: int) -> Frame | None:
        """The frame at `offset` bytes from the beginning of the file that begins with record `seq`; None: no such.

        Raises:
            OSError: the file cannot be read.
        """
        at = offset - self._window_at
        if 0 <= at < len(self.window):
            frame = decode_frame(self.window, at, self._seed, seq)
            if frame is not None:
                return frame
        self._load(offset)
        return decode_frame(self.window, 0, self._seed, seq)

    def records(self, frame: Frame) -> tuple[bytes, int, int]:
        """Where the records of a frame of this window are: `(buffer, start, end)`.

        Raises:
            RecordError: the frame's seal does not match.
        """
        return records_of(self.window, frame, self._cipher)

    def find(self, offset: int, seq: int) -> Frame | None:
        """The first frame at or behind `offset` that begins with record `seq` or a later one.

        Raises:
            OSError: the file cannot be read.
        """
        self._read(offset, os.fstat(self._descriptor).st_size - offset)
        return find_frame(self.window, 0, self._seed, seq)

    def offset_of(self, at: int) -> int:
        """Where in the file `window[at]` is."""
        return self._window_at + at

    def _load(self, offset: int) -> None:
        used = offset - self._window_at
        much = 2 * used > self._window_bytes
        self._window_bytes = min(WINDOW_MAX, self._window_bytes * 2) if much else WINDOW_MIN
        self._read(offset, self._window_bytes)
        size = frame_size(self.window, 0)
        if size is not None and size > len(self.window):
            self._read(offset, min(size, os.fstat(self._descriptor).st_size - offset))

    def _read(self, offset: int, size: int) -> None:
        # What the disk does not give is zeros, so no frame: it is damage like any other.
        self.window, _ = read_around(self._descriptor, offset, size)
        self._window_at = offset
