"""The segment: a header page and the frames behind it. Writer, reader and recovery share this one definition.

Pure but for names of files: it computes on bytes and does no I/O. Byte by byte: docs/queue-format.md.
"""

from __future__ import annotations

import re
import struct
from pathlib import Path
from typing import Final, Protocol

import msgspec
from crc32c import crc32c

PAGE_BYTES: Final = 4096
"""The header's page; also the unit in which frames are padded, so that no write has to read the disk first."""
ALIGN: Final = 8
"""A frame begins at a multiple of this."""
MAGIC: Final = b"BUSBRLOG"
FORMAT: Final = 1
FORMAT_ENCRYPTED: Final = 2
"""With a key's id in the header and frames that are sealed: who knows only 1 must not read that as damage."""
SUFFIX: Final = ".seg"
_SEGMENT_STEM = re.compile("[0-9]{20}")

_IDENTITY = struct.Struct("<8sIIQ16sQqQ")
_CRC = struct.Struct("<I")
HEADER_BYTES: Final = _IDENTITY.size + _CRC.size
_BEGUN = struct.Struct("<16sqI")
_BEGUN_AT: Final = 72
"""Behind the identity, which every reader of format 1 knows; one that does not know this passes over it."""
_CLOCK_SYNCHRONISED: Final = 1
NO_BOOT: Final = bytes(16)
_KEY = struct.Struct("<16s32s")
_KEY_AT: Final = 104

_FRAME = struct.Struct("<IIIIQ16s")
FRAME_BYTES: Final = _FRAME.size
"""Of the frame's own head: 40."""
_COVERED_FROM: Final = 4
_SEQ_AT: Final = 16
_PADDING: Final = tuple(bytes(-size % ALIGN) for size in range(ALIGN))
"""By the size of what has to end at a multiple of ALIGN, modulo ALIGN."""
_KEEP_GIL: Final = -1
"""A CRC takes microseconds; giving the GIL up for it may take milliseconds to get it back."""


class Header(msgspec.Struct, frozen=True):
    """Which segment this is."""

    segment_bytes: int
    log_id: bytes
    """16 bytes."""
    first_seq: int
    created_ns: int
    """Unix nanoseconds."""
    salt: int
    """64 random bits: two lives of one file differ even where the clock stands still."""
    boot: bytes = NO_BOOT
    """In which it was created, the kernel's id of 16 bytes; NO_BOOT: nobody wrote it down."""
    mono_ns: int = 0
    """Created, CLOCK_MONOTONIC nanoseconds of that boot."""
    clock_synchronised: bool = False
    """`created_ns` was known to be right."""
    key_id: bytes = b""
    """Of the queue key, 16 bytes; empty: the frames are not encrypted."""
    key_salt: bytes = b""
    """32 random bytes: the frames' key is made of the queue key and these."""

    def encode(self) -> bytes:
        """The header's page, PAGE_BYTES long."""
        fields = self._fields()
        seed = crc32c(fields)
        begun = _BEGUN.pack(self.boot, self.mono_ns, _CLOCK_SYNCHRONISED if self.clock_synchronised else 0)
        page = (fields + _CRC.pack(seed)).ljust(_BEGUN_AT, b"\0") + begun + _CRC.pack(crc32c(begun, seed))
        if self.key_id:
            key = _KEY.pack(self.key_id, self.key_salt)
            page += key + _CRC.pack(crc32c(key, seed))
        return page.ljust(PAGE_BYTES, b"\0")

    @property
    def seed(self) -> int:
        """What each frame's CRC begins with: the CRC32C of the fields above."""
        return crc32c(self._fields())

    def _fields(self) -> bytes:
        version = FORMAT_ENCRYPTED if self.key_id else FORMAT
        return _IDENTITY.pack(
            MAGIC, version, PAGE_BYTES, self.segment_bytes, self.log_id, self.first_seq, self.created_ns, self.salt
        )


def decode_header(page: bytes) -> Header | None:
    """The header that `page` begins with; None if it is not one of these formats, whole and undamaged."""
    if len(page) < PAGE_BYTES:
        return None
    magic, version, page_bytes, size, log_id, first_seq, created_ns, salt = _IDENTITY.unpack_from(page)
    (crc,) = _CRC.unpack_from(page, _IDENTITY.size)
    if (magic, page_bytes) != (MAGIC, PAGE_BYTES) or crc != crc32c(page[: _IDENTITY.size]):
        return None
    key = _decode_key(page, crc) if version == FORMAT_ENCRYPTED else (b"", b"")
    if version not in (FORMAT, FORMAT_ENCRYPTED) or key is None:
        return None
    return Header(size, log_id, first_seq, created_ns, salt, *_decode_begun(page, crc), *key)


def _decode_begun(page: bytes, seed: int) -> tuple[bytes, int, bool]:
    """The fields that say when the segment was created by the clock of its boot; as if not there where damaged."""
    end = _BEGUN_AT + _BEGUN.size
    if _CRC.unpack_from(page, end)[0] != crc32c(page[_BEGUN_AT:end], seed):
        return NO_BOOT, 0, False
    boot, mono_ns, flags = _BEGUN.unpack_from(page, _BEGUN_AT)
    return boot, mono_ns, bool(flags & _CLOCK_SYNCHRONISED)


def _decode_key(page: bytes, seed: int) -> tuple[bytes, bytes] | None:
    """The key's id and salt of an encrypted segment; None: they are damaged, and nothing of it can be read."""
    end = _KEY_AT + _KEY.size
    key_id, salt = _KEY.unpack_from(page, _KEY_AT)
    return (key_id, salt) if _CRC.unpack_from(page, end)[0] == crc32c(page[_KEY_AT:end], seed) else None


def later_format(page: bytes) -> int | None:
    """The format version that `page` names, if it is the undamaged header of a later one than this."""
    if len(page) < PAGE_BYTES:
        return None
    magic, version, *_ = _IDENTITY.unpack_from(page)
    (crc,) = _CRC.unpack_from(page, _IDENTITY.size)
    whole = magic == MAGIC and crc == crc32c(page[: _IDENTITY.size])
    return int(version) if whole and version > FORMAT_ENCRYPTED else None


class Frame(msgspec.Struct, frozen=True, gc=False):
    """One group commit, found in a buffer and proven by its CRC."""

    at: int
    """Offset of the frame in the buffer; its records follow FRAME_BYTES later."""
    end: int
    """Offset behind its last record."""
    first_seq: int
    count: int
    """Sequence numbers it takes; 0: it is the checkpoint that opens a segment."""
    boot: bytes

    @property
    def records_at(self) -> int:
        """Offset of the first record."""
        return self.at + FRAME_BYTES

    @property
    def next_at(self) -> int:
        """Offset of the next frame, if there is one."""
        return aligned(self.end)

    @property
    def next_seq(self) -> int:
        """The sequence number behind its last record."""
        return self.first_seq + self.count


def aligned(offset: int) -> int:
    """The next multiple of ALIGN."""
    return -(-offset // ALIGN) * ALIGN


class Seal(Protocol):
    """What encrypts a frame's records (`queue_key.SegmentCipher`)."""

    def seal(self, head: bytes, records: bytes) -> bytes:
        """The records and `head` as they can be opened again, SEAL_BYTES longer than the records."""


SEAL_BYTES: Final = 28
"""What a sealed frame is longer by."""


def covered_head(data: bytes, at: int) -> bytes:
    """The head of the frame at `data[at:]`, all but its CRC."""
    return data[at + _COVERED_FROM : at + FRAME_BYTES]


def encode_frame(
    seed: int, first_seq: int, count: int, boot: bytes, records: list[bytes], seal: Seal | None = None
) -> tuple[bytes, bytes, bytes]:
    """One frame, padded with zeros to ALIGN, in pieces to be written behind each other (one copy less)."""
    body = b"".join(records)
    size = FRAME_BYTES + len(body) + (SEAL_BYTES if seal is not None else 0)
    covered = _FRAME.pack(0, size, count, 0, first_seq, boot)[_COVERED_FROM:]
    if seal is not None:
        body = seal.seal(covered, body)
    crc = crc32c(body, crc32c(covered, seed, _KEEP_GIL), _KEEP_GIL)
    return _CRC.pack(crc) + covered, body, _PADDING[size % ALIGN]


def frame_size(data: bytes, at: int) -> int | None:
    """How long the frame at `data[at:]` says it is; None where its head is cut off or it says nonsense."""
    if len(data) - at < FRAME_BYTES:
        return None
    size: int = _FRAME.unpack_from(data, at)[1]
    return size if size > FRAME_BYTES else None


def decode_frame(data: bytes, at: int, seed: int, first_seq: int) -> Frame | None:
    """The frame at `data[at:]` that begins with record `first_seq`; None if there is no such, whole and undamaged."""
    if len(data) - at < FRAME_BYTES:
        return None
    crc, size, count, _, first, boot = _FRAME.unpack_from(data, at)
    end = at + size
    if first != first_seq or size <= FRAME_BYTES or end > len(data):
        return None
    with memoryview(data) as view:
        if crc32c(view[at + _COVERED_FROM : end], seed, _KEEP_GIL) != crc:
            return None
    return Frame(at, end, first, count, boot)


def find_frame(data: bytes, start: int, seed: int, beyond_seq: int) -> Frame | None:
    """The first undamaged frame at or behind `data[start:]` whose first record is `beyond_seq` or a later one.

    `data` begins at a multiple of ALIGN in the file. Only heads with a credible number are tried, so that what is left
    of a file's earlier lives (all of smaller numbers) costs no CRC.
    """
    start = aligned(start)
    last_seq = beyond_seq + len(data)
    words_at = min(start + _SEQ_AT, len(data))
    words = struct.unpack_from(f"<{(len(data) - words_at) // ALIGN}Q", data, words_at)
    for index, word in enumerate(words):
        if beyond_seq <= word <= last_seq:
            frame = decode_frame(data, start + index * ALIGN, seed, word)
            if frame is not None and frame.count:
                return frame
    return None


def segment_name(first_seq: int) -> str:
    """The file name of the segment that begins with record `first_seq`."""
    return f"{first_seq:020d}{SUFFIX}"


def list_segments(directory: Path) -> list[tuple[int, Path]]:
    """`(first_seq, path)` of every segment by its name, oldest first; costs a listing, whatever the backlog."""
    names = (path for path in directory.glob("*" + SUFFIX) if _SEGMENT_STEM.fullmatch(path.stem))
    return sorted((int(path.stem), path) for path in names)
