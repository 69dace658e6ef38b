"""Quarantine: what recovery cannot make sense of is kept aside, for people and tools, before its place is used again.

It never stands in the way of a start: what the disk does not take is not kept, and said to be so.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

from bridge.durable import replace_file, sync_directory

_log = logging.getLogger(__name__)

NAME: Final = "quarantine"
FILES_MAX: Final = 8
"""In one lane's quarantine; the oldest go first."""


def keep_bytes(segment: Path, offset: int, data: bytes) -> None:
    """Copies what stands at `offset` in the segment, `data`, to `quarantine/SEGMENT-OFFSET.bin`."""
    _keep(segment, f"{segment.stem}-{offset}.bin", lambda path: replace_file(path, data))


def keep_segment(segment: Path) -> None:
    """Keeps the whole segment by a second name; where it has one, `Spares` never writes over it."""
    _keep(segment, segment.name, lambda path: os.link(segment, path))


def _keep(segment: Path, name: str, put: Callable[[Path], None]) -> None:
    directory = segment.parent / NAME
    path = directory / name
    try:
        directory.mkdir(exist_ok=True)
        if path.exists():
            return
        put(path)
        for old in sorted(directory.iterdir())[:-FILES_MAX]:
            old.unlink()
        sync_directory(directory)
        sync_directory(segment.parent)
    except OSError as error:
        _log.error("%s cannot be kept in quarantine: %s", name, error)
