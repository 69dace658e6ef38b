"""A file put in the place of another in one step: whoever reads it finds the old content or the new."""

from __future__ import annotations

import os
from pathlib import Path


def replace(path: Path, mode: int, content: bytes, *, like: os.stat_result | None = None) -> None:
    """Put `content` in the place of `path`, on the disk before this returns.

    Args:
        path: the file; it need not be there.
        mode: of the new one from its first byte on.
        content: all of it.
        like: whose owner, group and mode it gets then.

    Raises:
        OSError: it cannot be written, or not be given to that owner; what was there stays.
    """
    new = path.with_name(f".{path.name}.new")
    new.unlink(missing_ok=True)
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        if like is not None:
            os.fchown(file.fileno(), like.st_uid, like.st_gid)
            os.fchmod(file.fileno(), like.st_mode & 0o777)
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
