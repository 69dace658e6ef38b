"""LogSettings: the bounds of one lane, gathered from the configuration."""

from __future__ import annotations

from typing import Final

import msgspec

from bridge.config import MIB, Commit, Downlink, Lane, Queue
from bridge.log.segment import PAGE_BYTES

SEGMENTS_MIN: Final = 4
"""A log that may not grow to this many segments is cut into smaller ones."""
SEGMENT_BYTES_MIN: Final = 16 * PAGE_BYTES


class LogSettings(msgspec.Struct, frozen=True):
    """Bounds of one lane; all sizes are bytes."""

    max_bytes: int = 1024 * MIB
    """All files of the lane together, pre-written ones too."""
    free_space_floor: int = 0
    """Of the file system; below it the log does not grow."""
    segment_bytes: int = 16 * MIB
    commit: Commit = Commit()
    spare_segments: int = 1
    """Pre-written segments kept ready."""
    spare_segments_max: int = 4
    """Segments kept for reuse when what was in them is forwarded."""
    drop_oldest: bool = False
    """Where a bound is reached the oldest segments go and leave word of what was in them; else it is full."""
    total_max_bytes: int | None = None
    """All lanes together; None: no such bound."""
    device_share: float | None = None
    """Of what the lane can hold, for one device; who appends keeps to it. None: see `device_side.waiting`."""
    refuse_after: float = 30.0
    """Seconds that who appends lets publishers wait where it is full before they are told, if they can be."""
    max_age: float = 0.0
    """Seconds; older segments go, as with `drop_oldest`. 0: none is too old."""

    def __post_init__(self) -> None:
        """Fits the segments to the bound, in whole pages.

        Raises:
            ValueError: `max_bytes` is too small for a log.
        """
        fitting = min(self.segment_bytes, self.max_bytes // SEGMENTS_MIN) // PAGE_BYTES * PAGE_BYTES
        if fitting < SEGMENT_BYTES_MIN:
            raise ValueError(f"max_bytes of {self.max_bytes} and segments of {self.segment_bytes} bytes are too small")
        msgspec.structs.force_setattr(self, "segment_bytes", fitting)

    @classmethod
    def for_lane(cls, queue: Queue, lane: Lane | None = None) -> LogSettings:
        """What `[queue]` says, with what `[lanes.NAME]` says otherwise."""
        lane = lane or Lane()
        return cls(
            max_bytes=queue.max_bytes if lane.max_bytes is None else lane.max_bytes,
            free_space_floor=queue.free_space_floor,
            segment_bytes=queue.segment_bytes if lane.segment_bytes is None else lane.segment_bytes,
            drop_oldest=(lane.on_full or queue.on_full) == "drop_oldest",
            total_max_bytes=queue.total_max_bytes,
            device_share=_part(queue.device_share if lane.device_share is None else lane.device_share),
            refuse_after=queue.refuse_after,
            max_age=queue.max_age if lane.max_age is None else lane.max_age,
            commit=queue.commit,
            spare_segments=queue.spare_segments,
            spare_segments_max=queue.spare_segments_max,
        )

    @classmethod
    def for_downlink(cls, downlink: Downlink, queue: Queue) -> LogSettings:
        """What `[downlink]` says; the rest as `[queue]` does."""
        return cls(
            max_bytes=downlink.max_bytes,
            free_space_floor=queue.free_space_floor,
            segment_bytes=downlink.segment_bytes,
            commit=queue.commit,
            spare_segments=queue.spare_segments,
            spare_segments_max=queue.spare_segments_max,
        )


def _part(percent: int | None) -> float | None:
    return None if percent is None else percent / 100
