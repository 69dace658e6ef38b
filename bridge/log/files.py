"""Files that must survive a power failure: write, sync, rename, sync the directory."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Final

_PAGE_BYTES: Final = 4096


def sync_directory(directory: Path) -> None:
    """Makes what was created, renamed or removed in `directory` durable.

    Raises:
        OSError: the disk refused.
    """
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_directory(directory: Path, mode: int) -> None:
    """Makes it, and what is missing above it, so that it is still there after a power failure.

    Raises:
        OSError: the disk refused.
    """
    missing = [each for each in (directory, *directory.parents) if not each.exists()]
    directory.mkdir(mode=mode, parents=True, exist_ok=True)
    for each in missing:
        sync_directory(each.parent)


def replace_file(path: Path, content: bytes) -> None:
    """Puts `content` into `path`, durably and whole: after a crash it has the old content or the new.

    Raises:
        OSError: the disk refused; `path` is as it was.
    """
    temporary = path.with_name(path.name + ".tmp")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    sync_directory(path.parent)


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
