"""The segment that is written to: one write and one sync a frame, and never a second try."""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from bridge.durable import sync_directory
from bridge.log.queue_key import SegmentCipher
from bridge.log.segment import PAGE_BYTES, Header

_ZEROS: Final = memoryview(bytes(PAGE_BYTES))


class SegmentFile:
    """An open segment. Whatever raises OSError here, nothing may be written to it afterwards."""

    def __init__(self, path: Path, descriptor: int, header: Header, offset: int, cipher: SegmentCipher | None) -> None:
        self.path = path
        self.header = header
        self.seed = header.seed
        self.cipher = cipher
        """What seals its frames; None: nothing."""
        self._descriptor = descriptor
        self._offset = offset

    @classmethod
    def create(
        cls, spare: Path, path: Path, header: Header, frames: Sequence[bytes], cipher: SegmentCipher | None
    ) -> tuple[SegmentFile, int]:
        """Makes `spare` the segment `path`, with its header and first frames; also returns what `append` does.

        They are on the disk before the name is, so a segment by its name always has both.

        Raises:
            OSError: the disk refused.
        """
        descriptor = os.open(spare, os.O_WRONLY)
        try:
            segment = cls(path, descriptor, header, 0, cipher)
            written = segment.append((header.encode(), *frames))
            spare.rename(path)
            sync_directory(path.parent)
        except OSError:
            os.close(descriptor)
            raise
        return segment, written

    @property
    def used(self) -> int:
        """Bytes up to the end of the last frame."""
        return self._offset

    @property
    def room(self) -> int:
        """Bytes left for frames."""
        return self.header.segment_bytes - self._offset

    def append(self, frames: Sequence[bytes]) -> int:
        """Writes and syncs. It has been checked that there is room.

        Returns: how many bytes the device was asked to write: whole pages.

        The write is filled up with zeros to the end of its page: the kernel then never has to read the page of a
        recycled file first, and what was in it is gone.

        Raises:
            OSError: the disk refused.
        """
        size = sum(map(len, frames))
        padding = _ZEROS[: -(self._offset + size) % PAGE_BYTES]
        written = os.pwritev(self._descriptor, (*frames, padding), self._offset)
        if written != size + len(padding):
            raise OSError(errno.EIO, "short write", str(self.path))
        os.fdatasync(self._descriptor)
        begun, self._offset = self._offset, self._offset + size
        return begun % PAGE_BYTES + written

    def close(self) -> None:
        """Gives the descriptor back."""
        os.close(self._descriptor)
