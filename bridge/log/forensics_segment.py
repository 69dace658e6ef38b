"""One segment under examination: what of it can be proven, and where it cannot be.

Read-only, and for any file by that name: it may be of another log, cut off, or be written to at this moment. One
segment is held in memory at a time.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec
from crc32c import crc32c

from bridge.log.bad_pages import read_around
from bridge.log.boot_clocks import BootClocks
from bridge.log.queue_key import Keyring, records_of
from bridge.log.record import Record, RecordError, decode_many
from bridge.log.segment import (
    FORMAT_ENCRYPTED,
    FRAME_BYTES,
    HEADER_BYTES,
    MAGIC,
    PAGE_BYTES,
    Frame,
    Header,
    decode_frame,
    decode_header,
    find_frame,
)

_FRAME_HEAD: Final = struct.Struct("<IIIIQ")
_SEED: Final = struct.Struct("<I")


class Damage(msgspec.Struct, frozen=True):
    """Something that should be there and is not, or is not as it should be."""

    path: Path
    offset: int
    """Bytes from the beginning of the file, where it begins."""
    first_seq: int
    """The first record that it concerns."""
    next_offset: int | None
    """Where undamaged content goes on in the same file; None: nowhere."""
    next_seq: int | None
    """The next record that is known to be there; None: none is. The same as `first_seq`: no record is lost."""
    reason: str

    def __str__(self) -> str:
        return f"{self.path}, byte {self.offset}, record {self.first_seq}: {self.reason}; {self._goes_on}"

    @property
    def _goes_on(self) -> str:
        if self.next_seq is None:
            return "nothing readable is behind it"
        place = "" if self.next_offset is None else f" at byte {self.next_offset}"
        lost = self.next_seq - self.first_seq
        return f"{lost or 'no'} record{'s' * (lost != 1)} lost, it goes on with record {self.next_seq}{place}"


class Piece(msgspec.Struct, frozen=True):
    """One undamaged frame."""

    path: Path
    offset: int
    size: int
    """Bytes in the file, without padding."""
    records: list[Record]
    """Empty for the checkpoint that opens a segment."""
    checkpoint: Record | None = None
    """It, if it is one."""
    sealed: int = 0
    """Records that cannot be seen without a key."""


class SegmentImage:
    """A segment's bytes, read once. `next_seq` and `at` move on as `pieces` is consumed, which may be done again."""

    def __init__(self, path: Path, first_seq: int, log_id: bytes | None, keys: Keyring | None = None) -> None:
        """Reads it; `log_id` None: of any log. `keys` None: what is encrypted stays so.

        Raises:
            LogKeyMissing: it is encrypted, and its key is not among `keys`.
            OSError: it cannot be opened.
        """
        self.path = path
        self.first_seq = self.next_seq = first_seq
        self.at = PAGE_BYTES
        """Behind the last frame that was found."""
        self.data, self._unreadable = _read(path)
        self.header = decode_header(self.data)
        self._cipher = keys.cipher(self.header, path) if keys is not None and self.header is not None else None
        self._log_id = log_id
        self._seed = self._find_seed()

    def pieces(self, limit: int | None, *, live: bool) -> Iterator[Piece | Damage]:
        """Its frames and its damages in their order.

        `limit`: the record that the following segment begins with; None: it is the newest. `live`: it may be written
        to at this moment, so that an unfinished write at its end means nothing.
        """
        self.at, self.next_seq = PAGE_BYTES, self.first_seq
        fault = self._header_fault()
        if fault is not None:
            known = limit if self._seed is None else self.first_seq
            yield Damage(
                self.path, fault[0], self.first_seq, self.at if self._seed is not None else None, known, fault[1]
            )
        if self._seed is None:
            return
        while True:
            frame = decode_frame(self.data, self.at, self._seed, self.next_seq)
            if frame is None:
                damage = self._break(limit, live)
                if damage is None:
                    break
                yield damage
                if damage.next_offset is None or damage.next_seq is None:
                    return
                self.at, self.next_seq = damage.next_offset, damage.next_seq
                continue
            yield self._piece(frame)
            self.at, self.next_seq = frame.next_at, frame.next_seq
        yield from self._shortness()

    @property
    def sealed(self) -> bool:
        """It is encrypted and stays so."""
        return self._cipher is None and self.header is not None and bool(self.header.key_id)

    def clocks(self) -> BootClocks | None:
        """What is said in it of late clocks; None: its checkpoint, which carries on what was before it, is gone."""
        known: BootClocks | None = BootClocks() if self.sealed else None
        for item in self.pieces(None, live=True):
            if isinstance(item, Damage):
                continue
            if item.checkpoint is not None:
                known = BootClocks.decode(item.checkpoint.headers)
            if known is not None:
                for record in item.records:
                    known.replay(record)
        return known

    def _piece(self, frame: Frame) -> Piece | Damage:
        records: list[Record] = []
        size = frame.end - frame.at
        if self.sealed:
            return Piece(self.path, frame.at, size, [], sealed=frame.count)
        try:
            data, at, end = records_of(self.data, frame, self._cipher)
            decode_many(data, at, end, frame.first_seq, frame.boot, frame.count or 1, end - at, records)
        except RecordError as error:
            after = frame.first_seq + len(records)
            return Damage(self.path, frame.at, after, frame.next_at, frame.next_seq, f"in a good frame: {error}")
        if not frame.count:
            return Piece(self.path, frame.at, size, [], records[0])
        return Piece(self.path, frame.at, size, records)

    def _break(self, limit: int | None, live: bool) -> Damage | None:
        """Why there is no frame at `at`. None: because the segment's content ends here, as it should."""
        if self.next_seq == limit or self._seed is None or not self._any_set(self.at, len(self.data)):
            if limit is None or self.next_seq >= limit:
                return None
            return self._damage(None, limit)
        found = find_frame(self.data, self.at, self._seed, self.next_seq)
        if found is not None and (limit is None or found.first_seq < limit):
            return self._damage(found.at, found.first_seq)
        if limit is not None:
            return self._damage(None, limit) if self.next_seq < limit else None
        if live or not self._unfinished():
            return None
        return self._damage(None, None, "the last write is unfinished (as a power cut leaves it) or damaged: ")

    def _damage(self, next_offset: int | None, next_seq: int | None, prefix: str = "") -> Damage:
        return Damage(self.path, self.at, self.next_seq, next_offset, next_seq, prefix + self._reason())

    def _reason(self) -> str:
        """What is wrong with the frame at `at`."""
        if any(lost.start < self.at + FRAME_BYTES and self.at < lost.stop for lost in self._unreadable):
            return "the disk cannot read it"
        if len(self.data) - self.at < FRAME_BYTES:
            return "the file ends where a frame should be"
        _, size, _, _, first = _FRAME_HEAD.unpack_from(self.data, self.at)
        if not self._any_set(self.at, self.at + FRAME_BYTES):
            return "zeros where a frame should begin"
        if size <= FRAME_BYTES or self.at + size > len(self.data):
            return f"a frame that says it is {size} bytes long"
        if first != self.next_seq:
            return f"a frame that says it begins with record {first}"
        return "a frame whose checksum does not match"

    def _unfinished(self) -> bool:
        """Whether a write was begun behind the last frame. What an earlier life of the file left is none.

        The writer fills up each page with zeros, so such leftovers only begin with a page, and have smaller numbers.
        """
        page_end = -(-self.at // PAGE_BYTES) * PAGE_BYTES
        if self._any_set(self.at, page_end):
            return True
        if len(self.data) - self.at < FRAME_BYTES:
            return False
        return bool(_FRAME_HEAD.unpack_from(self.data, self.at)[4] == self.next_seq)

    def _shortness(self) -> Iterator[Damage]:
        header = self.header
        if header is not None and len(self.data) != header.segment_bytes:
            reason = f"the file has {len(self.data)} bytes instead of {header.segment_bytes}"
            yield Damage(self.path, len(self.data), self.next_seq, None, self.next_seq, reason)

    def _any_set(self, start: int, end: int) -> bool:
        end = min(end, len(self.data))
        return end > start and self.data.count(0, start, end) != end - start

    def _find_seed(self) -> int | None:
        """What the frames' checksums begin with. A garbled header may still give it."""
        if self.header is not None:
            ours = self.header.first_seq == self.first_seq and self._log_id in (None, self.header.log_id)
            return self.header.seed if ours else None
        if len(self.data) < HEADER_BYTES:
            return None
        told: int = _SEED.unpack_from(self.data, HEADER_BYTES - _SEED.size)[0]
        is_so = crc32c(self.data[: HEADER_BYTES - _SEED.size])
        if told == is_so:
            return None  # an undamaged header of another format
        for seed in (told, is_so):
            if decode_frame(self.data, PAGE_BYTES, seed, self.first_seq) is not None:
                return seed
        return None

    def _version(self) -> int | None:
        """The format it says it is of; None where it does not begin as a segment does."""
        return int.from_bytes(self.data[8:12], "little") if self.data.startswith(MAGIC) else None

    def _header_fault(self) -> tuple[int, str] | None:
        """`(offset, reason)` of what is wrong with the header; None: nothing."""
        if self.header is not None:
            return self._identity_fault(self.header)
        if len(self.data) < PAGE_BYTES:
            return len(self.data), "the file is empty" if not self.data else "the file ends within its header"
        version = self._version()
        if version is None:
            return 0, "it does not begin as a segment does"
        if version > FORMAT_ENCRYPTED and self._seed is None:
            return 8, f"it is of format version {version}, this busbridge knows {FORMAT_ENCRYPTED}"
        return 0, "its header is damaged"

    def _identity_fault(self, header: Header) -> tuple[int, str] | None:
        if self._log_id not in (None, header.log_id):
            return 24, f"it belongs to another log, {header.log_id.hex()}"
        if header.first_seq != self.first_seq:
            return 40, f"its header says that it begins with record {header.first_seq}"
        return None


def _read(path: Path) -> tuple[bytes, list[range]]:
    """The file's bytes, zeros for those that the disk could not read, and which these are. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        return read_around(descriptor, 0, os.fstat(descriptor).st_size)
    finally:
        os.close(descriptor)
