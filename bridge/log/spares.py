"""Spares: segments written out ahead of time, and those that come back when what was in them is forwarded.

A spare's blocks are allocated and really written, so that syncing a frame into it needs no journal commit, and so that
what has been taken in has its place whatever else fills the disk. The work is done on a thread of its own; the commit
thread only takes what is ready.
"""

from __future__ import annotations

import logging
import os
import re
import threading
from collections import deque
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Final

from bridge.durable import sync_directory
from bridge.log.dropped import Dropped, Ledger
from bridge.log.identity import Identity
from bridge.log.segment import NO_BOOT, PAGE_BYTES, Header, decode_header
from bridge.log.settings import LogSettings
from bridge.log.total import Total

_log = logging.getLogger(__name__)

_NAME = re.compile("spare-([0-9]{10})")
_TEMPORARY: Final = "spare.tmp"
_ZEROS: Final = bytes(1 << 20)
_RETRY_S: Final = 0.5
"""Between two looks at a disk that had no space."""
_RESERVED_SEGMENTS: Final = 2
"""Of the bound over all lanes, for each: one to write to and one ready."""
_AGE_LOOK_S: Final = 30.0
"""Between two looks at the age of the oldest segment, at the most."""
_NS_PER_S: Final = 1_000_000_000
CLOCK_PLAUSIBLE_NS: Final = 1_577_836_800 * _NS_PER_S
"""2020-01-01: before that the clock was not set, and nothing can be said about ages."""


class Spares:
    """The files of one lane: those in use (oldest first) and those ready."""

    def __init__(
        self,
        directory: Path,
        settings: LogSettings,
        in_use: list[tuple[int, Path]],
        identity: Identity,
        total: Total,
        on_change: Callable[[], None],
    ) -> None:
        """`on_change` is called on this object's thread, when there is more space than before."""
        self.shortage: str | None = None
        """Why no more spares can be made, in plain words; None while they can."""
        self.capacity = settings.max_bytes
        """What the lane's files could grow to as the bounds and the disk were at the last look, bytes."""
        self.written = 0
        """Zeros written ahead of time, bytes."""
        self.dropped_segments = self.dropped_records = 0
        """Given up since the start."""
        self._directory = directory
        self._settings = settings
        self._in_use = deque(in_use)
        self._ready: deque[Path] = deque()
        self._identity = identity
        self._total = total
        total.join(str(directory), _RESERVED_SEGMENTS * settings.segment_bytes)
        self._odd = {path: path.stat().st_size - settings.segment_bytes for _, path in in_use}
        """How much larger each segment from an earlier start is than those made now, bytes; may be negative."""
        self._ledger = Ledger(directory, identity.keys)
        self._on_change = on_change
        self._forwarded = 0
        self._changed = threading.Condition()
        self._work = threading.Event()
        self._closing = self._stopping = False
        self._thread = threading.Thread(target=self._run, name=f"spares {directory.name}", daemon=True)
        self._look_again_s = min(_AGE_LOOK_S, settings.max_age / 10) if settings.max_age else None
        self._taken = 0
        """Not ready any more and not yet in use. Never counted too low, so the bound holds at every moment."""
        self._next_number = 0

    @property
    def ready(self) -> int:
        """Spares that `take` gives without waiting."""
        return len(self._ready)

    @property
    def oldest(self) -> int | None:
        """The first sequence number of the oldest segment in use."""
        return self._in_use[0][0] if self._in_use else None

    @property
    def segments(self) -> int:
        """In use."""
        return len(self._in_use)

    @property
    def used_bytes(self) -> int:
        """Of all segments, in use and ready."""
        in_use = list(self._in_use)
        odd = sum(self._odd.get(path, 0) for _, path in in_use)
        return (self.ready + self._taken + len(in_use)) * self._settings.segment_bytes + odd

    def waiting(self, committed: int, newest_bytes: int, position: int | None = None) -> tuple[int, int]:
        """`(records, bytes)` before `committed`, from `position` on; None: that are not known to be forwarded.

        The bytes are an estimate: of a segment that counts in part, a part. `newest_bytes`: used of the newest.
        """
        begun = [seq for seq, _ in list(self._in_use)]
        position = max(self._forwarded if position is None else position, begun[0] if begun else committed)
        size = 0.0
        for first, end in pairwise([*begun, committed]):
            full = newest_bytes if end == committed else self._settings.segment_bytes
            size += full * max(0, end - max(first, position)) / max(1, end - first)
        return max(0, committed - position), round(size)

    def start(self) -> None:
        """Takes over the spares that are there, then starts the thread.

        Where there is neither a segment nor a spare yet, the first is made before this returns, if there is space.
        """
        self._adopt()
        self._finish_drops()
        if not self._in_use and not self._ready:
            self._attend()
        self._work.set()
        self._thread.start()

    def last_call(self) -> None:
        """From now on `take` gives up where there is no space."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()

    def stop(self) -> None:
        """Ends the thread."""
        self._stopping = True
        self._work.set()
        self._thread.join()

    def take(self) -> Path | None:
        """A spare, now the caller's; waits for one. None: after `last_call`, and there is no space."""
        with self._changed:
            self._changed.wait_for(lambda: self._ready or (self._closing and self.shortage))
            if not self._ready:
                return None
            self._taken += 1
            spare = self._ready.popleft()
        self._work.set()
        return spare

    def used(self, first_seq: int, path: Path) -> None:
        """What `take` gave has become the newest segment."""
        self._in_use.append((first_seq, path))
        self._taken -= 1
        if self.shortage:  # the one before it may go now
            self._work.set()

    def forwarded(self, position: int) -> None:
        """Segments wholly before `position` may come back. Costs the caller nothing."""
        self._forwarded = position
        self._work.set()

    def _run(self) -> None:
        while not self._stopping:
            self._work.wait(_RETRY_S if self.shortage else self._look_again_s)
            self._work.clear()
            self._attend()

    def _attend(self) -> None:
        """One round of work. A disk that refuses is a shortage, not an end: the segment in use may still have room."""
        try:
            self._ledger.forget(self._forwarded)
            self._recycle()
            self._total.uses(str(self._directory), self.used_bytes)
            self._expire()
            self._replenish()
            self._measure()
        except OSError as error:
            self._short(str(error))

    def _short(self, why: str | None) -> None:
        with self._changed:
            self.shortage = why
            self._changed.notify_all()

    def _adopt(self) -> None:
        """A spare of this name was synced before it was named, so its size is all there is to check."""
        (self._directory / _TEMPORARY).unlink(missing_ok=True)
        for path in sorted(self._directory.glob("spare-*")):
            number = _NAME.fullmatch(path.name)
            if number and path.stat().st_size == self._settings.segment_bytes and not self._tells(path):
                self._next_number = int(number[1]) + 1
                self._ready.append(path)
            else:
                path.unlink()

    def _recycle(self) -> None:
        """Of the segments in use the newest always stays: it is written to, and recovery starts from it."""
        while len(self._in_use) > 1 and self._in_use[1][0] <= self._forwarded and not self._stopping:
            path = self._in_use[0][1]
            if self.ready < self._settings.spare_segments_max and self._reusable(path):
                spare = self._rename(path)
                self._in_use.popleft()
                self._offer(spare)
            else:
                path.unlink(missing_ok=True)
                self._in_use.popleft()

    def _reusable(self, path: Path) -> bool:
        """One with a second name is in quarantine too: its content must stay."""
        if not path.exists():
            return False
        status = path.stat()
        return status.st_size == self._settings.segment_bytes and status.st_nlink == 1 and not self._tells(path)

    def _tells(self, path: Path) -> bool:
        """Whether an earlier life of it, of before it was asked for encryption, could be read in it."""
        if self._identity.keys.current is None:
            return False
        header = _header_of(path)
        return header is not None and not header.key_id

    def _replenish(self) -> None:
        while self.ready < self._settings.spare_segments and not self._stopping:
            lacking = self._lacking()
            if lacking is None:
                self._make()
            elif not (self._settings.drop_oldest and self._drop(lacking)):
                self._short(lacking)
                return
        self._short(None)

    def _drop(self, why: str) -> bool:
        """Gives up the oldest segment that may go; False: none may.

        The newest stays, as in `_recycle`, and so does the one that is being forwarded, unless it alone is left.
        """
        begun = [seq for seq, _ in list(self._in_use)[:3]]
        if len(begun) < 2:
            return False
        forwarding = len(begun) > 2 and begun[0] <= self._forwarded < begun[1]
        self._give_up(1 if forwarding else 0, "queue-full", why)
        return True

    def _expire(self) -> None:
        """Gives up what was received too long ago, going by when the segment behind it was begun."""
        if not self._settings.max_age:
            return
        limit_ns = int(self._settings.max_age * _NS_PER_S)
        while len(self._in_use) > 1 and self._in_use[1][0] > self._forwarded and not self._stopping:
            age_ns = _age_ns(self._in_use[1][1], self._identity)
            if age_ns is None or age_ns <= limit_ns:
                break
            self._give_up(0, "expired", f"max_age of {self._settings.max_age:g} s is reached")

    def _give_up(self, index: int, reason: str, why: str) -> None:
        """One segment in use, but what of it was forwarded. First the word, then the deed.

        It is removed and not reused: whoever has it open reads it to its end.
        """
        (first, path), (following, _) = list(self._in_use)[index : index + 2]
        # The segment that was behind this one may have been given up before it.
        begin, end = max(first, self._forwarded), self._ledger.begins(first, following) or following
        if begin < end:  # else it was forwarded to its end
            self._tell(begin, end, reason, why)
        path.unlink(missing_ok=True)
        del self._in_use[index]
        sync_directory(self._directory)

    def _tell(self, begin: int, end: int, reason: str, why: str) -> None:
        """Makes durable whose records these are."""
        dropped = Dropped.of_segment(
            self._directory, self._identity.log_id, begin, end, reason, self._identity.clocks, self._identity.keys
        )
        self._ledger.add(dropped)
        self.dropped_segments += 1
        self.dropped_records += end - begin
        _log.warning(
            "%s: %s: records %d to %d of %d streams are dropped, gap records will say whose",
            self._directory, why, begin, end - 1, len(dropped.streams),
        )  # fmt: skip

    def _finish_drops(self) -> None:
        """A crash may have come between the word and the deed.

        A segment that was forwarded in part stays: what is told of may be its rest, or what was behind it.
        """
        for entry in list(self._in_use)[:-1]:
            if self._ledger.holds(entry[0]):
                entry[1].unlink(missing_ok=True)
                self._in_use.remove(entry)

    def _lacking(self) -> str | None:
        size, bound, floor = self._settings.segment_bytes, self._settings.max_bytes, self._settings.free_space_floor
        used = self.used_bytes
        if used + size > bound:
            return f"max_bytes of {bound} is reached"
        free = self._free_bytes()
        if free - size < floor:
            return f"{free} bytes are free, the floor is {floor}"
        if not self._total.claim(str(self._directory), used, size):
            return f"total_max_bytes of {self._total.max_bytes} is reached by all lanes together"
        return None

    def _measure(self) -> None:
        settings, used = self._settings, self.used_bytes
        growth = max(0, self._free_bytes() - settings.free_space_floor)
        self.capacity = min(settings.max_bytes, used + growth, used + self._total.left(str(self._directory), used))

    def _free_bytes(self) -> int:
        """Of the file system."""
        system = os.statvfs(self._directory)
        return system.f_bavail * system.f_frsize

    def _make(self) -> None:
        temporary = self._directory / _TEMPORARY
        try:
            with temporary.open("wb", buffering=0) as file:
                left = self._settings.segment_bytes
                while left:
                    left -= file.write(_ZEROS[:left])
                os.fsync(file.fileno())
            self.written += self._settings.segment_bytes
            self._offer(self._rename(temporary))
        except OSError:
            temporary.unlink(missing_ok=True)
            raise

    def _rename(self, path: Path) -> Path:
        """Gives the file the next spare's name."""
        spare = path.with_name(f"spare-{self._next_number:010d}")
        self._next_number += 1
        return path.rename(spare)

    def _offer(self, spare: Path) -> None:
        """Ready once its name is durable: else it could come back under its old name with a new content."""
        sync_directory(self._directory)
        with self._changed:
            self._ready.append(spare)
            self._changed.notify_all()
        self._on_change()


def _header_of(path: Path) -> Header | None:
    with path.open("rb") as file:
        return decode_header(file.read(PAGE_BYTES))


def _age_ns(path: Path, identity: Identity) -> int | None:
    """How long ago the segment was begun; None where nobody can say. Raises OSError.

    Within a boot it is the monotonic clock that counts, whatever the wall clock did. Across boots both ends have to be
    known to be right, or a clock that was not set would make what is new look old.
    """
    header = _header_of(path)
    if header is None:
        return None
    if header.boot == identity.boot_id:
        return identity.mono_ns() - header.mono_ns
    begun_ns = identity.clocks.wall_ns(header.boot, header.mono_ns)
    if begun_ns is None and (header.clock_synchronised or header.boot == NO_BOOT):
        begun_ns = header.created_ns if header.created_ns > CLOCK_PLAUSIBLE_NS else None
    return None if begun_ns is None or not identity.synchronised() else identity.wall_ns() - begun_ns
