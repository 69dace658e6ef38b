"""Files that must survive a power failure: write, sync, rename, sync the directory."""

from __future__ import annotations

import os
from pathlib import Path


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


def replace_file(path: Path, content: bytes, mode: int = 0o666, *, like: os.stat_result | None = None) -> None:
    """Puts `content` into `path`, durably and whole: whoever reads it, also after a crash, finds the old or the new.

    Args:
        path: the file; it need not be there.
        content: all of it.
        mode: of the new one from its first byte on, but for what the umask takes.
        like: whose owner, group and mode it gets then.

    Raises:
        OSError: the disk refused, or the file may not be given to that owner; `path` is as it was.
    """
    temporary = path.with_name(path.name + ".tmp")
    temporary.unlink(missing_ok=True)  # what a crash left may be open to more than `mode` says
    try:
        with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
            if like is not None:
                os.fchown(file.fileno(), like.st_uid, like.st_gid)
                os.fchmod(file.fileno(), like.st_mode & 0o777)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    sync_directory(path.parent)
