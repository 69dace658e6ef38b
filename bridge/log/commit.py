"""The group commit: one thread that makes whatever has been appended durable, one frame at a time.

While it writes and syncs one frame, more records arrive; they are the next frame. It shares no lock with those who
append: batches come over a queue, and what they may know of it (`committed`, `bound`) is one number each.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from queue import Empty, SimpleQueue

from bridge.log import record
from bridge.log.errors import LogFailure, RecordTooLarge
from bridge.log.figures import Counters
from bridge.log.fold import Fold
from bridge.log.identity import Identity
from bridge.log.queue_key import SALT_BYTES, SegmentCipher
from bridge.log.segment import FRAME_BYTES, PAGE_BYTES, SEAL_BYTES, Header, aligned, encode_frame, segment_name
from bridge.log.segment_file import SegmentFile
from bridge.log.settings import LogSettings
from bridge.log.spares import Spares

_FRAMES_MARGIN = PAGE_BYTES
"""Kept for the heads of the frames that what is pending will make."""

OnCommit = Callable[[list[object], int], None]
OnFailure = Callable[[LogFailure], None]


class Batch:
    """Records in their order, on their way from the one who appends to the commit thread."""

    __slots__ = ("effects", "records", "size", "tokens")

    def __init__(self) -> None:
        self.records: list[bytes] = []
        self.tokens: list[object] = []
        """Of the records that have one."""
        self.effects: list[object] = []
        self.size = 0
        """Of the records, bytes; known when the batch is handed over."""

    def extend(self, other: Batch) -> None:
        """Adds what came later."""
        self.records += other.records
        self.tokens += other.tokens
        self.effects += other.effects
        self.size += other.size


class Committer:
    """The commit thread and the segment that it writes to."""

    def __init__(
        self,
        directory: Path,
        settings: LogSettings,
        identity: Identity,
        fold: Fold,
        spares: Spares,
        on_commit: OnCommit,
        on_failure: OnFailure,
    ) -> None:
        self.committed = 1
        """The position behind the last durable record."""
        self.committed_bytes = 0
        """Of the records made durable by this writer, in total."""
        self.failure: LogFailure | None = None
        self.bound = 0
        """Bytes of records that may have been appended in total: there is a place on the disk for each. -1: ended."""
        self.batches: SimpleQueue[Batch | None] = SimpleQueue()
        """None asks the thread to end."""
        self.batch_bytes = min(settings.commit.max_bytes, settings.segment_bytes // 4)
        self.counters = Counters()
        self.largest_frame = self.batch_bytes + PAGE_BYTES
        """Of those written, and of those to be expected; bytes."""
        self._directory = directory
        self._settings = settings
        self._identity = identity
        self._fold = fold
        self._seal_bytes = SEAL_BYTES if identity.keys.current is not None else 0
        self._spares = spares
        self._on_commit = on_commit
        self._on_failure = on_failure
        self._segment: SegmentFile | None = None
        self._held: Batch | None = None
        self._ending = False
        self._accounts = threading.Lock()
        self._checkpoint_frame_bytes = 0
        self._thread = threading.Thread(target=self._run, name=f"commit {directory.name}", daemon=True)

    @property
    def segment_used(self) -> int:
        """Bytes of the segment that is written to."""
        segment = self._segment
        return segment.used if segment is not None else 0

    def start(self, segment: SegmentFile | None, next_seq: int) -> None:
        """Begins at `next_seq`, in `segment` (now this object's), or in a new one."""
        self._segment = segment
        self.committed = next_seq
        self.account()
        self._thread.start()

    def join(self) -> None:
        """Waits for the end of the thread, which `batches.put(None)` asks for."""
        self._thread.join()
        if self._segment is not None:
            self._segment.close()
            self._segment = None

    def account(self, size: int = 0) -> None:
        """Says anew how much may be appended, `size` bytes of records having become durable.

        A frame never spans two segments, so the end of each but the last may go unused, by less than one frame.
        """
        with self._accounts:
            self.committed_bytes += size
            segment, ready, lost = self._segment, self._spares.ready, self.largest_frame
            room = 0 if segment is None else max(0, segment.room - (lost if ready else _FRAMES_MARGIN))
            if ready:
                fresh = self._settings.segment_bytes - PAGE_BYTES - self._checkpoint_frame_bytes
                room += (ready - 1) * max(0, fresh - lost) + max(0, fresh - _FRAMES_MARGIN)
            if self.bound >= 0:
                self.bound = self.committed_bytes + room

    def refuse_all(self) -> None:
        """From now on nothing may be appended."""
        with self._accounts:
            self.bound = -1

    def _run(self) -> None:
        try:
            while (batch := self._gather()) is not None:
                if not self._commit(batch):
                    break
        except Exception as error:  # whatever it is: a commit thread that ended in silence would be worse
            self.failure = LogFailure(self._segment.path if self._segment else self._directory, error)
            self.refuse_all()
            self._on_failure(self.failure)

    def _gather(self) -> Batch | None:
        """What has arrived, up to `batch_bytes`; waits for the first, and for company as long as `max_delay` says."""
        batch, self._held = self._held, None
        if batch is None:
            batch = None if self._ending else self.batches.get()
        if batch is None:
            return None
        deadline = time.monotonic() + self._settings.commit.max_delay if self._settings.commit.max_delay else 0.0
        while batch.size < self.batch_bytes and not self._ending and (more := self._more(deadline)) is not None:
            if batch.size + more.size > self.batch_bytes:
                self._held = more
                break
            batch.extend(more)
        return batch

    def _more(self, deadline: float) -> Batch | None:
        if not deadline and self.batches.empty():  # there is no other thread that could take what is there
            return None
        try:
            batch = self.batches.get(timeout=max(0.0, deadline - time.monotonic()))
        except Empty:
            return None
        self._ending = batch is None
        return batch

    def _commit(self, batch: Batch) -> bool:
        """False: there is no place for it and never will be, because this is the end."""
        size = aligned(FRAME_BYTES + self._seal_bytes + batch.size)
        segment, begun = self._segment, time.monotonic()
        if segment is not None and size <= segment.room:
            written: int | None = segment.append(self._frame(segment.seed, batch, segment.cipher))
        else:
            written = self._open_segment(batch)
        if written is None:
            return False
        self.counters.count(len(batch.records), written, time.monotonic() - begun)
        for effect in batch.effects:
            self._fold.apply(effect)
        self.largest_frame = max(self.largest_frame, size)
        self.committed += len(batch.records)
        self.account(batch.size)
        self._on_commit(batch.tokens, self.committed)
        return True

    def _frame(self, seed: int, batch: Batch, cipher: SegmentCipher | None) -> tuple[bytes, ...]:
        return encode_frame(seed, self.committed, len(batch.records), self._identity.boot_id, batch.records, cipher)

    def _open_segment(self, batch: Batch) -> int | None:
        """The next segment, with its checkpoint and its first frame in one write; as `SegmentFile.append`. None: no."""
        spare = self._spares.take()
        if spare is None:
            return None
        identity, first_seq = self._identity, self.committed
        header = self._header(first_seq)
        seed = header.seed
        path = self._directory / segment_name(first_seq)
        cipher = identity.keys.cipher(header, path)
        opening = encode_frame(seed, first_seq, 0, identity.boot_id, [self._checkpoint()], cipher)
        self._checkpoint_frame_bytes = sum(map(len, opening))
        frames = (*opening, *self._frame(seed, batch, cipher))
        former = self._segment
        self._segment, written = SegmentFile.create(spare, path, header, frames, cipher)
        if former is not None:
            former.close()
        self._spares.used(first_seq, path)
        return written

    def _header(self, first_seq: int) -> Header:
        identity = self._identity
        return Header(
            self._settings.segment_bytes,
            identity.log_id,
            first_seq,
            identity.wall_ns(),
            int.from_bytes(os.urandom(8), "little"),
            identity.boot_id,
            identity.mono_ns(),
            identity.synchronised(),
            identity.keys.current_id,
            os.urandom(SALT_BYTES) if identity.keys.current is not None else b"",
        )

    def _checkpoint(self) -> bytes:
        payload = self._fold.checkpoint()
        if len(payload) > record_max_bytes(self._settings):
            raise RecordTooLarge(f"a checkpoint of {len(payload)} bytes; a segment has {self._settings.segment_bytes}")
        clocks = self._identity.clocks.encode()
        return record.encode(record.CHECKPOINT, 0, 0, self._identity.wall_ns(), 0, b"", clocks, payload)


def record_max_bytes(settings: LogSettings) -> int:
    """The longest record, and the longest payload of a checkpoint: one of each fits a segment."""
    return settings.segment_bytes // 2 - 3 * PAGE_BYTES
