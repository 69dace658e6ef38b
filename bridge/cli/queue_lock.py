"""Whether a daemon has a data directory, asked without touching its lock: it must not find it taken for a moment."""

from __future__ import annotations

import os
from pathlib import Path

LOCKS = Path("/proc/locks")


def daemon_on(directory: Path) -> str | None:
    """The process id of the daemon that runs on `directory` (or on the data directory above it); None: none does.

    Raises:
        OSError: the lock is there but cannot be looked at.
    """
    for place in (directory, *directory.resolve().parents[:2]):
        path = place / "lock"
        if path.is_file():
            return _holder(path)
    return None


def _holder(path: Path) -> str | None:
    """The kernel's list of locks names device and inode (proc(5)); some file systems number the device otherwise."""
    status = path.stat()
    device = f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}"
    said = path.read_text(errors="replace").strip()
    for line in LOCKS.read_text().splitlines():
        fields = line.split()
        if len(fields) < 6 or fields[1] != "FLOCK" or fields[3] != "WRITE":
            continue
        place, _, inode = fields[5].rpartition(":")
        if inode == str(status.st_ino) and (place == device or fields[4] == said):
            return said or fields[4]
    return None
