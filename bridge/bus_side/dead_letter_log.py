"""DeadLetterLog: dead letters that the dead-letter topic does not take, on the gateway's own disk.

A log like the queue's lanes, below the data directory; nothing is on the disk before the first letter. It has one
writer, this side; `busbridge queue dead-letters` reads it, and moves its cursor when it has forwarded them after all.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

from bridge.bus_side.gap import drop_records
from bridge.bus_side.letter import DIRECTORY, Letter, NotKept, encode_letter, kept_events
from bridge.bus_side.sink import LaneBatch
from bridge.config import KIB
from bridge.log.cursor import Cursor
from bridge.log.dropped import dropped_in
from bridge.log.errors import LogError, LogFailed, LogFailure, LogFull
from bridge.log.fold import NoFold
from bridge.log.log_id import load_or_create_log_id
from bridge.log.queue_key import Keyring
from bridge.log.record import Record
from bridge.log.settings import SEGMENTS_MIN, LogSettings
from bridge.log.writer import LogWriter

_log = logging.getLogger(__name__)
_ROOM_LIMIT_S: Final = 10.0
"""How long a letter waits for room: a segment may still have to be written out, or an old one dropped."""
_ROOM_PAUSE_S: Final = 0.05
_MARGIN_BYTES: Final = 512 * KIB
"""Of a segment, beside twice its largest record: heads, and what a letter adds to its record."""


class DeadLetterLog:
    """One for the process, see `letter.LetterBox`. `keep` is for the event loop; the work is done on another thread."""

    def __init__(
        self,
        directory: Path,
        *,
        record_max_bytes: int,
        max_bytes: int,
        event_topic: str,
        boot_id: bytes,
        wall_ns: Callable[[], int],
        keys: Keyring | None = None,
    ) -> None:
        """Args:
        record_max_bytes: the largest record to be expected; a larger one is kept all the same.
        max_bytes: of all its files; beyond it the oldest segments go.
        event_topic: the Kafka topic of the events that tell of letters.
        boot_id: 16 bytes, the kernel's.
        keys: with a current one, letters are encrypted.
        """
        self.kept = 0
        """Letters made durable by this process."""
        self._directory = directory
        self._record_max_bytes = record_max_bytes
        self._max_bytes = max_bytes
        self._event_topic = event_topic
        self._boot_id = boot_id
        self._keys = keys
        self._wall_ns = wall_ns
        self._writer: LogWriter | None = None
        self._failure: LogFailure | None = None
        self._known: set[tuple[bytes, str, int]] = set()
        """Marks of letters that are durable and whose records are still in the queue."""
        self._told = 0
        """Behind the last lost letter that the events of the present transaction tell of; 0: they tell of none."""
        self._moved = threading.Condition()
        self._one_at_a_time = threading.Lock()

    def holds(self, log_id: bytes, lane: str, seq: int) -> bool:
        """See `LetterBox.holds`."""
        return (log_id, lane, seq) in self._known

    async def keep(self, letters: Sequence[Letter]) -> list[tuple[str, Record]]:
        """See `LetterBox.keep`. Raises NotKept: the disk refused, or has no room."""
        fresh = [letter for letter in letters if letter.mark not in self._known]
        if fresh:
            try:
                await asyncio.to_thread(self._write, [encode_letter(letter, self._wall_ns()) for letter in fresh])
            except (LogError, OSError) as error:
                self.close()
                raise NotKept(f"dead letters cannot be kept in {self._directory}: {error}") from error
            self._known.update(letter.mark for letter in fresh)
            self.kept += len(fresh)
            _say(fresh)
        events = kept_events(self._event_topic, letters, self._wall_ns())
        return [*events, *self._losses(letters[0])]

    def forget(self, batches: Sequence[LaneBatch]) -> None:
        """See `LetterBox.forget`. Also: what was told of losses is in Kafka now."""
        if self._told and self._writer is not None:
            self._writer.forwarded(self._told)
            self._told = 0
        if self._known:
            ends = {batch.lane: batch.position for batch in batches}
            self._known = {mark for mark in self._known if mark[2] >= ends.get(mark[1], 0)}

    def close(self) -> None:
        """Ends its threads; the next letter opens it again."""
        with self._one_at_a_time:
            writer, self._writer = self._writer, None
            if writer is not None:
                writer.close()

    def _losses(self, letter: Letter) -> Iterator[tuple[str, Record]]:
        """Gaps of this log: the oldest letters, that went because `max_bytes` was reached. In the lane of `letter`."""
        for _, dropped in dropped_in(self._directory, self._keys):
            self._told = max(self._told, dropped.next_seq)
            for event in drop_records(letter.gateway, self._event_topic, DIRECTORY, dropped, self._wall_ns()):
                yield letter.lane, event

    def _write(self, letters: list[bytes]) -> None:
        """Returns when all of them are durable. Raises LogError, OSError."""
        with self._one_at_a_time:
            writer = self._opened(max(map(len, letters)))
            self._let_go(writer)
            for letter in letters:
                self._append(writer, letter)
            writer.kick()
            with self._moved:
                self._moved.wait_for(lambda: writer.committed == writer.next_seq or self._failure is not None)
            if self._failure is not None:
                raise LogFailed(str(self._failure))

    def _append(self, writer: LogWriter, letter: bytes) -> None:
        deadline = time.monotonic() + _ROOM_LIMIT_S
        while True:
            try:
                writer.append(letter)
            except LogFull:
                writer.kick()
                if time.monotonic() > deadline:
                    raise
                with self._moved:
                    self._moved.wait(_ROOM_PAUSE_S)
            else:
                return

    def _let_go(self, writer: LogWriter) -> None:
        """What has been forwarded after all may go."""
        cursor = Cursor.load(self._directory)
        if cursor is not None and cursor.log_id == load_or_create_log_id(self._directory):
            writer.forwarded(cursor.position)

    def _opened(self, record_bytes: int) -> LogWriter:
        """The writer, with segments that this record fits into, should it be larger than the configuration allows."""
        if self._writer is not None and record_bytes > self._writer.max_record_bytes:
            self._writer.close()
            self._writer = None
        if self._writer is None:
            self._failure = None
            self._writer = self._open(max(record_bytes, self._record_max_bytes))
        return self._writer

    def _open(self, record_bytes: int) -> LogWriter:
        segment_bytes = 2 * record_bytes + _MARGIN_BYTES
        max_bytes = max(self._max_bytes, SEGMENTS_MIN * segment_bytes)
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        return LogWriter.open(
            self._directory,
            LogSettings(max_bytes=max_bytes, segment_bytes=segment_bytes, drop_oldest=True),
            log_id=load_or_create_log_id(self._directory),
            boot_id=self._boot_id,
            wall_ns=self._wall_ns,
            fold=NoFold(),
            keys=self._keys,
            on_commit=lambda _tokens, _committed: self._wake(),
            on_failure=self._fail,
        )

    def _fail(self, failure: LogFailure) -> None:
        self._failure = failure
        self._wake()

    def _wake(self) -> None:
        """On the commit thread."""
        with self._moved:
            self._moved.notify_all()


def _say(letters: Sequence[Letter]) -> None:
    counted = Counter((letter.topic, letter.refusal.detail, letter.not_taken) for letter in letters)
    for (topic, detail, not_taken), count in counted.items():
        _log.warning(
            "%d records for the topic %r are dead letters (%s) that stay on this gateway (%s): see "
            "`busbridge queue dead-letters`", count, topic, detail, not_taken,
        )  # fmt: skip
