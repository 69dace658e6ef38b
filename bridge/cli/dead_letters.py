"""Dead letters that stay on a gateway, as its data directory has them: found, and each given once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec

from bridge.bus_side.letter import DIRECTORY, Letter, decode_letter
from bridge.durable import replace_file
from bridge.log.cursor import Cursor
from bridge.log.forensics import LaneFiles, LaneWalk
from bridge.log.forensics_segment import Damage
from bridge.log.log_id import NAME, load_log_id
from bridge.log.record import RecordError

_SETTLED: Final = "settled.json"


class Settled(msgspec.Struct):
    """Numbers of letters behind the cursor that were forwarded after all, while one before them still stays."""

    numbers: set[int] = set()

    @classmethod
    def load(cls, files: LaneFiles) -> Settled:
        """What `save` wrote last; nothing, where there is no such file or it is damaged."""
        try:
            return msgspec.json.decode((files.directory / _SETTLED).read_bytes(), type=cls)
        except (FileNotFoundError, msgspec.DecodeError):
            return cls()

    def save(self, files: LaneFiles, position: int) -> None:
        """Durable: all before `position` is settled, and what else is said here. Raises OSError."""
        self.numbers = {number for number in self.numbers if number >= position}
        replace_file(files.directory / _SETTLED, msgspec.json.encode(self))
        if files.log_id is not None:
            Cursor.save(files.directory, files.log_id, position)


class Filed(msgspec.Struct, frozen=True):
    """One letter and where it stands."""

    number: int
    """Of the dead-letter log, its own."""
    kept_ns: int
    """When it was put here, Unix nanoseconds."""
    letter: Letter


def find_letters(directory: Path) -> LaneFiles | None:
    """The dead-letter log below a data directory, or the one that `directory` is; None: there is none. OSError."""
    for place in (directory / DIRECTORY, directory):
        if place.name == DIRECTORY and place.is_dir():
            return LaneFiles(DIRECTORY, place, load_log_id(place), place / NAME)
    return None


def waiting_letters(files: LaneFiles, *, all_there: bool = False, each_once: bool = True) -> Iterator[Filed | Damage]:
    """Those that were not forwarded after all (or all that are still there), oldest first, and damages. Raises OSError.

    A gateway that was killed may have put a letter here twice: it is given once, unless `each_once` is False.
    """
    since = 0 if all_there else files.position()
    settled = set[int]() if all_there else Settled.load(files).numbers
    known: set[tuple[bytes, str, int]] = set()
    for item in LaneWalk(files, since=since, live=True):
        if isinstance(item, Damage):
            yield item
            continue
        for record in item.records:
            try:
                letter = decode_letter(record)
            except RecordError as error:
                yield Damage(item.path, item.offset, record.seq, None, record.seq + 1, str(error))
                continue
            if record.seq >= since and record.seq not in settled and not (each_once and letter.mark in known):
                known.add(letter.mark)
                yield Filed(record.seq, record.wall_ns, letter)
