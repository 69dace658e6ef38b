"""The log's id: 16 random bytes in a text file, so that a position is never taken for one in another log."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from bridge.log.files import replace_file, sync_directory
from bridge.log.segment import PAGE_BYTES, SUFFIX, decode_header

NAME: Final = "LOG"
ID_BYTES: Final = 16


def load_or_create_log_id(directory: Path) -> bytes:
    """The id of the log in `directory` (made if it is missing), 16 bytes.

    Where the file is gone or garbled but segments are there, the id is theirs: a lost name must not orphan a backlog.

    Raises:
        OSError: it can neither be read nor written.
    """
    directory.mkdir(parents=True, exist_ok=True)
    log_id = load_log_id(directory)
    if log_id is None:
        log_id = _id_of_segments(directory) or os.urandom(ID_BYTES)
        replace_file(directory / NAME, f"{log_id.hex()}\n".encode())
        sync_directory(directory.parent)
    return log_id


def load_log_id(directory: Path) -> bytes | None:
    """The id of the log in `directory`; None if it has none that can be read."""
    try:
        log_id = bytes.fromhex((directory / NAME).read_text("ascii").strip())
    except (FileNotFoundError, ValueError):
        return None
    return log_id if len(log_id) == ID_BYTES else None


def _id_of_segments(directory: Path) -> bytes | None:
    for path in (*directory.glob("*" + SUFFIX), *directory.glob("*/*" + SUFFIX)):
        with path.open("rb") as file:
            header = decode_header(file.read(PAGE_BYTES))
        if header is not None:
            return header.log_id
    return None
