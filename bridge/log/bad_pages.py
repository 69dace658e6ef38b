"""Reading around pages that the disk does not give back any more."""

from __future__ import annotations

import errno
import os
from typing import Final

_PAGE_BYTES: Final = 4096


def read_around(descriptor: int, offset: int, size: int) -> tuple[bytes, list[range]]:
    """Up to `size` bytes of the file from `offset` on; in the place of pages that the disk gives no more are zeros.

    Returns: the bytes, and which of them could not be read, counted from the beginning of the file.

    Raises:
        OSError: anything but EIO.
    """
    end = min(offset + size, os.fstat(descriptor).st_size)
    pieces: list[bytes] = []
    lost: list[range] = []
    at, by_page = offset, False
    while at < end:
        size = min(_PAGE_BYTES - at % _PAGE_BYTES, end - at) if by_page else end - at
        try:
            piece = os.pread(descriptor, size, at)
        except OSError as error:
            if error.errno != errno.EIO:
                raise
            if not by_page:
                by_page = True
                continue
            piece = bytes(size)
            lost.append(range(at, at + size))
        if not piece:
            break
        pieces.append(piece)
        at += len(piece)
    return b"".join(pieces), lost
