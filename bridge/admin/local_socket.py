"""The local socket: where it lies, and a path to it that the kernel takes however deep the data directory is."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SOCKET = "admin.sock"
"""In the data directory."""
_PATH_MAX = 107
"""Bytes of a socket's path (unix(7))."""


@contextmanager
def reachable(directory: Path) -> Iterator[str]:
    """The path to bind or connect to, good for as long as the context lasts.

    Raises:
        OSError: the directory cannot be opened.
    """
    path = str(directory / SOCKET)
    if len(os.fsencode(path)) <= _PATH_MAX:
        yield path
        return
    descriptor = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{descriptor}/{SOCKET}"
    finally:
        os.close(descriptor)
