"""The lock on a data directory: two daemons on one queue would destroy each other's work."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from types import TracebackType

from bridge.durable import make_directory, sync_directory


class Locked(Exception):
    """Another process has the data directory; names it."""


class DirectoryLock:
    """Held while the context lasts, given back by the kernel however the process ends (flock(2))."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._descriptor = -1

    def __enter__(self) -> DirectoryLock:
        """Makes the directory if it is not there, for this user alone.

        Raises:
            Locked: another daemon runs on it.
            OSError: it cannot be made or written.
        """
        make_directory(self._directory, 0o700)
        path = self._directory / "lock"
        if not path.exists():  # made by a start that a power failure cut short: its name may not be durable yet
            sync_directory(self._directory.parent)
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = path.read_text().strip() or "unknown"
            os.close(self._descriptor)
            raise Locked(
                f"{self._directory} is in use by process {holder}: a data directory serves one daemon"
            ) from None
        os.truncate(path, 0)
        os.write(self._descriptor, f"{os.getpid()}\n".encode())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._descriptor)
