"""The dead letters that a gateway keeps itself, as a test finds them on the disk."""

from __future__ import annotations

from pathlib import Path

from bridge.bus_side.letter import DIRECTORY, Letter, decode_letter
from bridge.log.forensics import LaneFiles, LaneWalk
from bridge.log.forensics_segment import Damage
from bridge.log.log_id import NAME, load_log_id


def letters_of(data_dir: Path) -> list[Letter]:
    """All of them, oldest first; a damaged log is an error."""
    directory = data_dir / DIRECTORY
    letters: list[Letter] = []
    for item in LaneWalk(LaneFiles(DIRECTORY, directory, load_log_id(directory), directory / NAME), live=True):
        assert not isinstance(item, Damage), item
        letters += map(decode_letter, item.records)
    return letters
