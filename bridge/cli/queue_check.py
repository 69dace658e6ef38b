"""What `busbridge queue verify` finds in each lane."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from bridge.log.forensics import LaneFiles, LaneWalk, faults
from bridge.log.forensics_segment import Damage


class Found(msgspec.Struct):
    """One thing that is wrong."""

    path: str
    offset: int
    """Bytes from the beginning of the file, where it begins."""
    first_seq: int
    """The first record that it concerns."""
    next_offset: int | None
    """Where undamaged content goes on in the same file; null: nowhere."""
    next_seq: int | None
    """The next record that is known to be there; null: none. The same as `first_seq`: no record is lost."""
    reason: str
    text: str
    """The same as a sentence."""


class Checked(msgspec.Struct):
    """One lane."""

    lane: str
    frames: int = 0
    records: int = 0
    """Undamaged ones."""
    sealed: int = 0
    """Of these, records that are encrypted and whose seals were not looked at, for want of a key."""
    damage: list[Found] = []


def check_lane(files: LaneFiles, *, live: bool, advance: Callable[[int], None]) -> Checked:
    """Reads the lane to its end. `live`: a daemon may be writing to it; `advance` is told the bytes done. OSError."""
    checked = Checked(files.name)
    walk = LaneWalk(files, live=live)
    for item in walk:
        if isinstance(item, Damage):
            checked.damage.append(_found(item))
        else:
            checked.frames += 1
            checked.records += len(item.records) + item.sealed
            checked.sealed += item.sealed
            advance(item.size)
    checked.damage += map(_found, faults(files, walk))
    return checked


def _found(damage: Damage) -> Found:
    return Found(
        str(damage.path),
        damage.offset,
        damage.first_seq,
        damage.next_offset,
        damage.next_seq,
        damage.reason,
        str(damage),
    )
