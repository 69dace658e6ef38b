"""The cursor: how far the reading side has come, durably.

Two slots in one file, written in turn, each in a block of its own: what is written over is always the older one, so a
torn write leaves the newer, a full disk is no obstacle (nothing is allocated), and it costs one block on the flash
where a new file and its rename cost several. Only where that is refused is the file made anew.
"""

from __future__ import annotations

import os
import struct
from pathlib import Path
from typing import Final

import msgspec
from crc32c import crc32c

from bridge.durable import replace_file

NAME: Final = "cursor"
SLOT_BYTES: Final = 4096
_FIELDS = struct.Struct("<8s16sQQ")
_CRC = struct.Struct("<I")
_MAGIC: Final = b"BUSBCURS"


class Cursor(msgspec.Struct, frozen=True):
    """A position in one log."""

    log_id: bytes
    """16 bytes."""
    position: int
    """The next sequence number to be read."""

    @classmethod
    def load(cls, directory: Path) -> Cursor | None:
        """The cursor of the lane in `directory`; None if there is none that is undamaged.

        Raises:
            OSError: the file is there but cannot be read.
        """
        try:
            slots = _decode((directory / NAME).read_bytes())
        except FileNotFoundError:
            return None
        newest = max(slots, key=lambda slot: slot[0])
        return newest[1]

    @classmethod
    def save(cls, directory: Path, log_id: bytes, position: int) -> None:
        """Makes the position durable; only then may it be told to the writer.

        Raises:
            OSError: the disk refused, twice; the cursor is the former one or this one.
        """
        cursor = cls(log_id, position)
        path = directory / NAME
        try:
            _overwrite(path, cursor)
        except OSError:
            # Not again on the same file: after a failed sync the kernel may have dropped what it could not write.
            replace_file(path, _encode(1, cursor).ljust(2 * SLOT_BYTES, b"\0"))


def _overwrite(path: Path, cursor: Cursor) -> None:
    descriptor = os.open(path, os.O_RDWR)
    try:
        slots = _decode(os.pread(descriptor, 2 * SLOT_BYTES, 0))
        generation = max(generation for generation, _ in slots) + 1
        older = slots.index(min(slots, key=lambda slot: slot[0]))
        os.pwrite(descriptor, _encode(generation, cursor), older * SLOT_BYTES)
        os.fdatasync(descriptor)
    finally:
        os.close(descriptor)


def _encode(generation: int, cursor: Cursor) -> bytes:
    fields = _FIELDS.pack(_MAGIC, cursor.log_id, generation, cursor.position)
    return (fields + _CRC.pack(crc32c(fields))).ljust(SLOT_BYTES, b"\0")


def _decode(data: bytes) -> list[tuple[int, Cursor | None]]:
    """`(generation, cursor)` of both slots; `(0, None)` for one that is empty, torn or garbled."""
    return [_decode_slot(data[at : at + SLOT_BYTES]) for at in (0, SLOT_BYTES)]


def _decode_slot(slot: bytes) -> tuple[int, Cursor | None]:
    if len(slot) < _FIELDS.size + _CRC.size:
        return 0, None
    magic, log_id, generation, position = _FIELDS.unpack_from(slot)
    if magic != _MAGIC or _CRC.unpack_from(slot, _FIELDS.size)[0] != crc32c(slot[: _FIELDS.size]):
        return 0, None
    return generation, Cursor(log_id, position)
