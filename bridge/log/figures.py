"""Figures: what one lane's log has done and holds, for whoever watches the gateway and its flash."""

from __future__ import annotations

import msgspec


class Figures(msgspec.Struct, frozen=True):
    """Counters since the writer was opened, and the state now; from `LogWriter.figures`."""

    frames: int
    """Group commits made durable."""
    records: int
    """In them."""
    record_bytes: int
    """Of these records."""
    bytes_written: int
    """That the device was asked to write for them: whole pages, each counted as often as it was written."""
    spare_bytes: int
    """Written as zeros ahead of time."""
    syncs: int
    """fdatasync of segments, one for each frame."""
    sync_seconds: float
    """Spent in these writes and syncs, in total."""
    sync_seconds_max: float
    """The longest of them."""
    segments: int
    """In use, the one that is written to among them."""
    spares: int
    """Ready."""
    file_bytes: int
    """Of both."""
    capacity_bytes: int
    """What `file_bytes` could grow to, as the bounds and the disk are now."""
    waiting_records: int
    """Durable, and not known to be forwarded."""
    waiting_bytes: int
    """What these take in the segments, estimated by their numbers."""
    dropped_segments: int
    dropped_records: int
    """Given up by `drop_oldest` or `max_age`."""
    quarantined: int
    """Damaged ranges that the start found in the newest segment."""


class Counters:
    """What the commit thread counts; each is written by that thread only."""

    def __init__(self) -> None:
        self.frames = 0
        self.records = 0
        self.bytes_written = 0
        self.sync_seconds = 0.0
        self.sync_seconds_max = 0.0

    def count(self, records: int, written: int, seconds: float) -> None:
        """A frame is durable."""
        self.frames += 1
        self.records += records
        self.bytes_written += written
        self.sync_seconds += seconds
        if seconds > self.sync_seconds_max:
            self.sync_seconds_max = seconds
