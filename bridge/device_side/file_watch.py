"""FileWatch: notices that files have been replaced, by looking.

Certificates arrive in many ways: written in place, renamed over, by a symbolic link of a directory above. What all have
in common is that looking at the file finds another one; inotify would have to follow each way of its own.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

Look = tuple[int, int, int, int] | None


class FileWatch:
    """A set of files, and how they looked last."""

    def __init__(self, paths: Iterable[Path]) -> None:
        self._settled = self._seen = _look(paths)

    def changed(self, paths: Iterable[Path]) -> bool:
        """Whether they are other files than at the last True (or at the start), and have stayed so since the last call.

        A certificate and its key are two files: what has changed only just now may be half of a change.
        """
        seen, self._seen = self._seen, _look(paths)
        if self._seen == self._settled or self._seen != seen:
            return False
        self._settled = self._seen
        return True


def _look(paths: Iterable[Path]) -> dict[Path, Look]:
    return {path: _look_at(path) for path in paths}


def _look_at(path: Path) -> Look:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns
