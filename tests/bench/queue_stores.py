"""The stores that `queue` compares: the log, SQLite used as a queue, and the least that any of them can cost."""

from __future__ import annotations

import os
import sqlite3
import sys
import time
from pathlib import Path
from queue import SimpleQueue
from typing import Final, Protocol

from bridge.config import MIB
from bridge.log.errors import LogFailure
from bridge.log.fold import NoFold
from bridge.log.queue_key import Keyring
from bridge.log.segment import PAGE_BYTES
from bridge.log.settings import LogSettings
from bridge.log.writer import LogWriter

WRITERS: Final = (1, 16, 256, 4096)
LOG_ID = BOOT_ID = bytes(16)
FORWARD_RECORDS: Final = 20_000
SEGMENT_BYTES: Final = 16 * MIB
LOG: Final = "log"


class Store(Protocol):
    """What a record can be made durable in."""

    name: str
    writers: tuple[int, ...]
    """The numbers of writers that it is measured with."""

    def settle(self) -> None:
        """Comes to where only what a commit costs is left."""

    def commit(self, count: int) -> None:
        """Returns when `count` new records are durable."""

    def close(self) -> None:
        """It will not be used again."""


class Log:
    """The log, with a reading side that keeps up, so that segments are recycled."""

    writers = WRITERS

    def __init__(self, directory: Path, one: bytes, keys: Keyring | None = None) -> None:
        self.name = LOG if keys is None else "encrypted"
        self._one = one
        self._reports: SimpleQueue[int] = SimpleQueue()
        self._forwarded = 1
        self.writer = LogWriter.open(
            directory,
            LogSettings(segment_bytes=SEGMENT_BYTES),
            log_id=LOG_ID,
            boot_id=BOOT_ID,
            wall_ns=time.time_ns,
            fold=NoFold(),
            on_commit=self._on_commit,
            on_failure=self._on_failure,
            keys=keys,
        )
        self._append = self.writer.append

    def settle(self) -> None:
        """The next segment has been written out."""
        self.commit(1)
        while self.writer.figures.spares == 0:
            time.sleep(0.01)

    def commit(self, count: int) -> None:
        """Returns when `count` new records are durable."""
        while self.writer.full:  # faster than spares can be written out
            time.sleep(0.001)
        for _ in range(count):
            self._append(self._one, True, None)
        self.writer.kick()
        while count:
            count -= self._reports.get()

    def close(self) -> None:
        """The threads end."""
        self.writer.close()

    def _on_commit(self, tokens: list[object], committed: int) -> None:
        self._reports.put(len(tokens))
        if committed >= self._forwarded + FORWARD_RECORDS:
            self._forwarded = committed
            self.writer.forwarded(committed)

    def _on_failure(self, failure: LogFailure) -> None:
        print(failure, file=sys.stderr)
        os._exit(1)


class Sqlite:
    """A queue as one would make it: numbers that are never given twice, and rows that go when they are forwarded."""

    name = "SQLite"
    writers = WRITERS

    def __init__(self, directory: Path, one: bytes) -> None:
        directory.mkdir()
        self._one = one
        self._database = sqlite3.connect(directory / "queue.sqlite", isolation_level=None)
        self._database.execute("PRAGMA journal_mode=WAL")
        self._database.execute("PRAGMA synchronous=FULL")
        self._database.execute("CREATE TABLE queue (seq INTEGER PRIMARY KEY AUTOINCREMENT, record BLOB)")
        self._committed = self._forwarded = 0

    def settle(self) -> None:
        """The WAL is as long as it gets: from the first checkpoint on it is written over."""
        self.commit(FORWARD_RECORDS)

    def commit(self, count: int) -> None:
        """Returns when `count` new records are durable."""
        self._database.execute("BEGIN")
        self._database.executemany("INSERT INTO queue (record) VALUES (?)", [(self._one,)] * count)
        self._database.execute("COMMIT")
        self._committed += count
        if self._committed >= self._forwarded + FORWARD_RECORDS:
            self._forwarded = self._committed
            self._database.execute("DELETE FROM queue WHERE seq <= ?", (self._forwarded,))

    def close(self) -> None:
        """Checkpoints."""
        self._database.close()


class SqliteGrowing(Sqlite):
    """The same where the WAL is not written over but grows: until the first checkpoint, or while somebody reads."""

    name = "SQLite, WAL growing"
    writers = (1, 16)

    def settle(self) -> None:
        """Lets it grow."""
        self._database.execute("PRAGMA wal_autocheckpoint=0")


class OnePage:
    """No store: what this disk takes for one page of a file that has its blocks, written and synced in place."""

    name = "one page"
    writers = (1,)

    def __init__(self, directory: Path) -> None:
        directory.mkdir()
        self._file = os.open(directory / "page", os.O_RDWR | os.O_CREAT, 0o600)
        self._at = 0

    def settle(self) -> None:
        """The blocks are written."""
        os.pwrite(self._file, bytes(SEGMENT_BYTES), 0)
        os.fsync(self._file)

    def commit(self, count: int) -> None:
        """Returns when one page more is durable, whatever `count` is."""
        os.pwrite(self._file, bytes(PAGE_BYTES), self._at)
        os.fdatasync(self._file)
        self._at = (self._at + PAGE_BYTES) % SEGMENT_BYTES

    def close(self) -> None:
        """Gives the descriptor back."""
        os.close(self._file)
