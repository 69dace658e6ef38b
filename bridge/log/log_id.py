"""The log's id: 16 random bytes in a text file, so that a position is never taken for one in another log.

A checksum stands behind them: with one bit turned the id would be another log's, and every segment a stranger's.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Final

from crc32c import crc32c

from bridge.durable import replace_file, sync_directory
from bridge.log.segment import PAGE_BYTES, SUFFIX, decode_header

NAME: Final = "LOG"
ID_BYTES: Final = 16
_TEXT: Final = re.compile(r"([0-9a-f]{32})(?: ([0-9a-f]{8}))?\n?", re.ASCII)


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
        replace_file(directory / NAME, f"{log_id.hex()} {crc32c(log_id):08x}\n".encode())
        sync_directory(directory.parent)
    return log_id


def load_log_id(directory: Path) -> bytes | None:
    """The id of the log in `directory`; None if it has none that can be read. Early versions wrote no checksum."""
    try:
        found = _TEXT.fullmatch((directory / NAME).read_text("ascii"))
    except (FileNotFoundError, ValueError):
        return None
    if found is None:
        return None
    log_id = bytes.fromhex(found[1])
    return log_id if found[2] is None or int(found[2], 16) == crc32c(log_id) else None


def _id_of_segments(directory: Path) -> bytes | None:
    for path in (*directory.glob("*" + SUFFIX), *directory.glob("*/*" + SUFFIX)):
        with path.open("rb") as file:
            header = decode_header(file.read(PAGE_BYTES))
        if header is not None:
            return header.log_id
    return None
