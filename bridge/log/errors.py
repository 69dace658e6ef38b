"""What can go wrong with the log."""

from __future__ import annotations

from pathlib import Path

import msgspec


class LogError(Exception):
    """Anything below."""


class LogFull(LogError):
    """A bound is reached; nothing was appended. `LogWriter.full` says when to try again."""


class LogFailed(LogError):
    """The disk refused a write or a sync. This writer takes nothing more; what it had not acknowledged stays so."""


class RecordTooLarge(LogError):
    """The record is longer than `LogWriter.max_record_bytes`; it would fit no segment."""


class LogTooNew(LogError):
    """The log was written by a later version of this program; reading it as damage would throw it away."""


class LogKeyMissing(LogError):
    """A segment is encrypted with a key that is not here; reading it as damage would throw it away."""


class LogDamaged(LogError):
    """Committed records cannot be read."""

    def __init__(self, path: Path, offset: int, first_bad: int, reason: str) -> None:
        super().__init__(f"{path}, byte {offset}: record {first_bad} cannot be read: {reason}")
        self.path = path
        self.offset = offset
        """Bytes from the beginning of the file, of the frame that should be there."""
        self.first_bad = first_bad
        """Sequence number of the first record that cannot be read."""
        self.reason = reason


class LogFailure(msgspec.Struct, frozen=True):
    """What `on_failure` is told, once."""

    path: Path
    """The segment, or the lane's directory."""
    error: Exception

    def __str__(self) -> str:
        return f"writing {self.path} failed: {self.error}"
