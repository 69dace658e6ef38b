"""Backlog: about how many bytes of a lane wait. The log counts records; bytes are estimated without reading it all."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from bridge.log.errors import LogDamaged, LogKeyMissing
from bridge.log.queue_key import Keyring
from bridge.log.reader import LogReader
from bridge.log.segment import list_segments

_SAMPLE_RECORDS: Final = 256
_SAMPLE_BYTES: Final = 64 << 10


def record_bytes(directory: Path, log_id: bytes, position: int, committed: int, keys: Keyring) -> float:
    """How large the records from `position` on are on the average, by the first of them; 0: nobody can know."""
    reader = LogReader(directory, log_id, position, keys)
    try:
        records = reader.read(committed, _SAMPLE_RECORDS, _SAMPLE_BYTES)
    except (LogDamaged, LogKeyMissing, OSError):
        return 0.0
    finally:
        reader.close()
    return reader.bytes_read / len(records) if records else 0.0


def waiting_bytes(directory: Path, position: int, committed: int, each: float) -> int:
    """Bytes of the records from `position` to `committed`: whole segments as large as they are, others by the record.

    `each`: bytes of one record where only the count is known.
    """
    segments = [(seq, path) for seq, path in list_segments(directory) if position < seq < committed]
    if len(segments) < 2:
        return int((committed - position) * each)
    first, last = segments[0][0], segments[-1][0]
    whole = sum(_size(path) for _, path in segments[:-1])
    return whole + int((first - position + committed - last) * each)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:  # dropped since it was listed
        return 0
