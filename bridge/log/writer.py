"""LogWriter: appends to one lane's log; a record is durable when `on_commit` says so.

`append` and `kick` are for one thread (the event loop's). They never wait for the disk: see `commit` for who does.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

from bridge.log.boot_clocks import BootClock, encode_clock
from bridge.log.commit import Batch, Committer, OnCommit, OnFailure, record_max_bytes
from bridge.log.errors import LogFailed, LogFull, RecordTooLarge
from bridge.log.figures import Figures
from bridge.log.fold import Fold
from bridge.log.identity import Identity
from bridge.log.queue_key import Keyring
from bridge.log.recovery import Recovery, recover
from bridge.log.segment import PAGE_BYTES
from bridge.log.settings import LogSettings
from bridge.log.spares import Spares
from bridge.log.total import Total


class LogWriter:
    """The one writer of the log in a directory."""

    def __init__(self, committer: Committer, spares: Spares, recovered: Recovery, max_record_bytes: int) -> None:
        """Use `open`."""
        self.next_seq = recovered.next_seq
        """What the next append will get."""
        self.damages = recovered.damages
        """Damaged ranges that recovery found in the newest segment and put into quarantine."""
        self.clocks = recovered.clocks
        """Of the boots whose records wait, or waited, for the right time."""
        self.max_record_bytes = max_record_bytes
        self.max_run_bytes = min(max_record_bytes, committer.batch_bytes)
        """Of several records in one `append_run`."""
        self._committer = committer
        self._spares = spares
        self._batch = Batch()
        self._batch_bytes = committer.batch_bytes
        self._appended = 0
        self._hand_over_at = self._batch_bytes
        self._slack = self._batch_bytes

    @classmethod
    def open(
        cls,
        directory: Path,
        settings: LogSettings,
        *,
        log_id: bytes,
        boot_id: bytes,
        wall_ns: Callable[[], int],
        fold: Fold,
        on_commit: OnCommit,
        on_failure: OnFailure,
        total: Total | None = None,
        mono_ns: Callable[[], int] = time.monotonic_ns,
        synchronised: Callable[[], bool] = lambda: True,
        keys: Keyring | None = None,
    ) -> LogWriter:
        """Recovers the log in `directory` (made if it is missing), restores `fold` and starts the threads.

        `log_id` and `boot_id` have 16 bytes; `wall_ns` reads the wall clock. On the commit thread `on_commit(tokens,
        committed)` is called after each sync, with the tokens of that commit that are not None, in order; and
        `on_failure(failure)` once, if ever: then nothing more is taken and nothing more is reported as committed.
        `total` is the bound that it shares with other lanes. `synchronised` says whether `wall_ns` is known to be
        right; `mono_ns` reads CLOCK_MONOTONIC. `keys` open what is encrypted; with a current one, what is written is.

        Raises:
            LogTooNew: a later version of the program has written it.
            LogKeyMissing: what was written last is encrypted with a key that is not among `keys`.
            OSError: the directory cannot be read or written.
        """
        directory.mkdir(parents=True, exist_ok=True)
        keys = keys or Keyring()
        recovered = recover(directory, log_id, fold, keys)
        if not synchronised():
            recovered.clocks.doubt(boot_id)
        identity = Identity(log_id, boot_id, wall_ns, mono_ns, synchronised, recovered.clocks, keys)
        spares = Spares(
            directory, settings, recovered.segments, identity, total or Total(None), lambda: committer.account()
        )
        committer = Committer(directory, settings, identity, fold, spares, on_commit, on_failure)
        spares.start()
        committer.start(recovered.tail, recovered.next_seq)
        return cls(committer, spares, recovered, record_max_bytes(settings))

    @property
    def committed(self) -> int:
        """The position behind the last durable record."""
        return self._committer.committed

    @property
    def pending_bytes(self) -> int:
        """Of records appended and not yet durable."""
        return self._appended - self._committer.committed_bytes

    @property
    def full(self) -> bool:
        """A bound is reached (or the log has failed): `append` would raise. It clears by itself when space is back."""
        return self._appended + self._slack > self._committer.bound

    def behind(self, pending_max: int) -> bool:
        """`full`, or more than `pending_max` bytes are not durable yet."""
        committer, appended = self._committer, self._appended
        return appended + self._slack > committer.bound or appended - committer.committed_bytes > pending_max

    @property
    def shortage(self) -> str | None:
        """Why the log cannot grow at present, in plain words; it may still have room."""
        return self._spares.shortage

    @property
    def capacity(self) -> int:
        """What the lane's files could grow to as the bounds and the disk are, bytes."""
        return self._spares.capacity

    @property
    def oldest(self) -> int | None:
        """The first sequence number that the lane still holds; None: it holds nothing."""
        return self._spares.oldest

    @property
    def appended_bytes(self) -> int:
        """Of the records taken since the writer was opened."""
        return self._appended

    @property
    def room(self) -> int:
        """Bytes of records that have a place as the files are, without another segment; below 0: it has ended."""
        return self._committer.bound - self._appended

    def bytes_from(self, position: int) -> int:
        """What the durable records from `position` on take in the segments, estimated by their numbers."""
        return self._spares.waiting(self.committed, self._committer.segment_used, position)[1]

    @property
    def figures(self) -> Figures:
        """What it has done and holds; not one moment's, for the threads go on meanwhile."""
        committer, spares, counters = self._committer, self._spares, self._committer.counters
        waiting_records, waiting_bytes = spares.waiting(committer.committed, committer.segment_used)
        return Figures(
            frames=counters.frames,
            records=counters.records,
            record_bytes=committer.committed_bytes,
            bytes_written=counters.bytes_written,
            spare_bytes=spares.written,
            syncs=counters.frames,
            sync_seconds=counters.sync_seconds,
            sync_seconds_max=counters.sync_seconds_max,
            segments=spares.segments,
            spares=spares.ready,
            file_bytes=spares.used_bytes,
            capacity_bytes=spares.capacity,
            waiting_records=waiting_records,
            waiting_bytes=waiting_bytes,
            dropped_segments=spares.dropped_segments,
            dropped_records=spares.dropped_records,
            quarantined=self.damages,
        )

    def append(self, record: bytes, token: object = None, effect: object = None) -> int:
        """Takes one record (as `record.encode` made it) and returns its sequence number. It is not durable yet.

        `token` comes back in `on_commit`, `effect` goes to the fold. `kick` must follow before the loop's turn ends.

        Raises:
            LogFull: see `full`.
            LogFailed: the disk failed earlier, or the log is closed.
            RecordTooLarge: longer than `max_record_bytes`.
        """
        seq = self.next_seq
        self.append_run((record,), len(record), token)
        if effect is not None:
            self._batch.effects.append(effect)
        return seq

    def append_run(self, records: Sequence[bytes], size: int, token: object = None) -> None:
        """As `append`, for records of `size` bytes together: all or none of them. One, or at most `max_run_bytes`.

        `token` comes back when the last of them is durable. Raises as `append`.
        """
        appended = self._appended + size
        if appended > self._hand_over_at:
            self._admit(size)
        if appended > self._committer.bound:
            self._refuse(size)
        batch = self._batch
        batch.records += records
        if token is not None:
            batch.tokens.append(token)
        self._appended = appended
        self.next_seq += len(records)

    def tell_clock(self, boot: bytes, clock: BootClock, mono_ns: int) -> None:
        """This boot's wall clock is right now: a record of its own, and in each checkpoint from now on.

        Raises:
            LogFull, LogFailed: as `append`.
        """
        self.append(encode_clock(clock, mono_ns))
        self.kick()
        self.clocks.learn(boot, clock)

    def kick(self) -> None:
        """Hands over to the commit thread what was appended since the last time."""
        batch = self._batch
        if batch.records:
            begun = self._hand_over_at - self._batch_bytes
            batch.size = self._appended - begun
            self._batch = Batch()
            self._hand_over_at = self._appended + self._batch_bytes
            self._committer.batches.put(batch)

    def forwarded(self, position: int) -> None:
        """Segments wholly before `position` may be reused. The cursor is durable there already."""
        self._spares.forwarded(position)

    def close(self) -> None:
        """Commits what is pending (unless the log has failed or there is no place for it) and ends the threads."""
        self.kick()
        self._committer.refuse_all()
        self._committer.batches.put(None)
        self._spares.last_call()
        self._committer.join()
        self._spares.stop()

    def _admit(self, size: int) -> None:
        """The record does not fit the batch: the next one begins with it."""
        if size > self.max_record_bytes:
            raise RecordTooLarge(f"a record of {size} bytes; at most {self.max_record_bytes} fit into a segment")
        self._committer.largest_frame = max(self._committer.largest_frame, size + PAGE_BYTES)
        self.kick()

    def _refuse(self, size: int) -> None:
        committer = self._committer
        if committer.failure is not None:
            raise LogFailed(str(committer.failure))
        if committer.bound < 0:
            raise LogFailed("the log is closed")
        # So that `full` stays true until there is room for a record of this size.
        self._slack = max(self._slack, size)
        raise LogFull(self._spares.shortage or "the next segment is still being written out")
