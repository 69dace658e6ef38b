"""BootClocks: what a log knows of wall clocks that were not set when its records were made.

A gateway without a battery starts in 1970. Its records carry the monotonic clock too, which counts truly from each
boot on. So one reading of both, taken when the wall clock is right at last, says when everything else of that boot was
received. The reading is a record in the log (CLOCK), and each segment's checkpoint carries on what is known, so that
who begins to read anywhere has it. A boot that ended before its clock was set stays unknown for ever.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from typing import Final

import msgspec

from bridge.log.record import (
    CLOCK,
    CLOCK_CORRECTED,
    CLOCK_SYNCHRONISED,
    DOCUMENT,
    EVENT,
    MESSAGE,
    OUTCOME,
    REQUEST,
    Record,
    RecordError,
    decode_headers,
    encode,
    encode_headers,
)

BOOTS_MAX: Final = 64
"""Remembered; the oldest are forgotten first."""
_HEADER: Final = "clocks"
"""Name of the checkpoint's header that holds them."""
_ENTRY = struct.Struct("<16sqq")
_UNCERTAINTY = struct.Struct("<Q")
_UNKNOWN: Final = -1
_DATED: Final = frozenset({MESSAGE, DOCUMENT, EVENT, OUTCOME, REQUEST})
"""Kinds whose time of receipt somebody sees."""


class BootClock(msgspec.Struct, frozen=True):
    """The wall clock of one boot."""

    offset_ns: int
    """What the right wall clock was ahead of CLOCK_MONOTONIC, nanoseconds."""
    uncertainty_ns: int
    """How far off that may be, as the kernel estimates it (adjtimex(2), maxerror)."""


class BootClocks:
    """By boot id (16 bytes): its clock, or None where records wait for it. Any thread may read and add."""

    def __init__(self, known: Mapping[bytes, BootClock | None] | None = None) -> None:
        self.known: Mapping[bytes, BootClock | None] = known or {}
        """Replaced, never changed."""

    def doubt(self, boot: bytes) -> None:
        """Records of this boot are made although its wall clock is not known to be right."""
        if boot not in self.known:
            self._put({boot: None})

    def learn(self, boot: bytes, clock: BootClock) -> None:
        """The latest reading is believed."""
        self._put({boot: clock})

    def merge(self, other: BootClocks) -> None:
        """What another lane of this gateway knows too, where this one does not."""
        self._put({boot: clock for boot, clock in other.known.items() if clock and not self.known.get(boot)})

    def replay(self, record: Record) -> None:
        """Recovery: one record of the log."""
        if record.kind == CLOCK:
            self.learn(record.boot, clock_of(record))
        elif record.kind in _DATED and not record.flags & CLOCK_SYNCHRONISED:
            self.doubt(record.boot)

    def wall_ns(self, boot: bytes, mono_ns: int) -> int | None:
        """The true time, Unix nanoseconds, at `mono_ns` of the boot; None where nobody knows."""
        clock = self.known.get(boot)
        return None if clock is None else clock.offset_ns + mono_ns

    def correct(self, records: Iterable[Record]) -> None:
        """Sets the times of records that were made before their boot's clock was right, and marks them so."""
        if not self.known:
            return
        for record in records:
            if not record.flags & CLOCK_SYNCHRONISED:
                wall_ns = self.wall_ns(record.boot, record.mono_ns)
                if wall_ns is not None:
                    record.wall_ns = wall_ns
                    record.flags |= CLOCK_CORRECTED

    def encode(self) -> bytes:
        """Headers of a checkpoint; empty where there is nothing to say."""
        known = self.known
        if not known:
            return b""
        entries = [
            _ENTRY.pack(boot, clock.offset_ns if clock else 0, clock.uncertainty_ns if clock else _UNKNOWN)
            for boot, clock in known.items()
        ]
        return encode_headers([(_HEADER, b"".join(entries))])

    @classmethod
    def decode(cls, headers: bytes) -> BootClocks:
        """What `encode` made; nothing, where a checkpoint has no such header or it is not whole."""
        try:
            told = dict(decode_headers(headers)).get(_HEADER, b"")
            entries = list(_ENTRY.iter_unpack(told))
        except (RecordError, struct.error):
            return cls()
        return cls({boot: None if error == _UNKNOWN else BootClock(offset, error) for boot, offset, error in entries})

    def _put(self, more: Mapping[bytes, BootClock | None]) -> None:
        if not more:
            return
        kept = {boot: clock for boot, clock in self.known.items() if boot not in more} | dict(more)
        self.known = dict(list(kept.items())[-BOOTS_MAX:])


def encode_clock(clock: BootClock, mono_ns: int) -> bytes:
    """The CLOCK record of this boot, read at `mono_ns`."""
    uncertainty = _UNCERTAINTY.pack(clock.uncertainty_ns)
    return encode(CLOCK, CLOCK_SYNCHRONISED, 0, clock.offset_ns + mono_ns, mono_ns, b"", b"", uncertainty)


def clock_of(record: Record) -> BootClock:
    """What a CLOCK record says of its boot."""
    told = record.payload[: _UNCERTAINTY.size]
    return BootClock(record.wall_ns - record.mono_ns, int.from_bytes(told, "little"))
