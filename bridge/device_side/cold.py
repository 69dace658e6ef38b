"""Cold state in SQLite: what changes seldom and is read at start.

Sessions and their queues, retained messages, documents, counters: written in batches, on a thread of its own. Whoever
promises something that is only here waits for `after_commit`; whatever goes to Kafka is in the log first.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Literal, get_args

Table = Literal[
    "meta", "documents", "sessions", "queues", "exchanges", "wills", "retained", "units", "commands", "outcomes",
    "groups", "group_orders", "tallies", "births",
]  # fmt: skip
_TABLES: tuple[Table, ...] = get_args(Table)
Changes = dict[tuple[Table, str], bytes | None]
"""By table and key; None removes."""


class ColdStoreFailure(Exception):
    """The store cannot be opened or written; says where and why."""


class ColdStore:
    """Some tables of key → bytes. All methods but the callbacks are for one thread, the event loop's."""

    def __init__(self, path: Path, on_failure: Callable[[ColdStoreFailure], None]) -> None:
        """Opens or makes the file.

        Args:
            path: the database file.
            on_failure: told once, on the store's thread, when a write failed.

        Raises:
            ColdStoreFailure: it is not a database, or cannot be written.
        """
        self._path = path
        self._on_failure = on_failure
        self._dirty: Changes = {}
        self._writing = False
        """A batch is on its way to the disk, or those who wait for it are being called; stays so when that fails."""
        self._callbacks: list[Callable[[], object]] = []
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._closing = False
        try:
            self._database = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
            self._database.execute("PRAGMA journal_mode=WAL")
            self._database.execute("PRAGMA synchronous=FULL")
            for table in _TABLES:
                self._database.execute(
                    f"CREATE TABLE IF NOT EXISTS {table} (key TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID"
                )
        except sqlite3.Error as error:
            raise ColdStoreFailure(f"{path}: {error}") from error
        self._thread = threading.Thread(target=self._run, name="cold-store", daemon=True)
        self._thread.start()

    def load(self, table: Table) -> Iterator[tuple[str, bytes]]:
        """All entries; only at start, before the first `put`.

        Raises:
            ColdStoreFailure: the file cannot be read.
        """
        try:
            yield from self._database.execute(f"SELECT key, value FROM {table}")
        except sqlite3.Error as error:
            raise ColdStoreFailure(f"{self._path}: {error}") from error

    def get(self, table: Table, key: str) -> bytes | None:
        """One entry; only at start, as `load`.

        Raises:
            ColdStoreFailure: the file cannot be read.
        """
        try:
            row = self._database.execute(f"SELECT value FROM {table} WHERE key = ?", (key,)).fetchone()
        except sqlite3.Error as error:
            raise ColdStoreFailure(f"{self._path}: {error}") from error
        return None if row is None else bytes(row[0])

    def write(self, table: Table, key: str, value: bytes | None) -> None:
        """On disk when it returns (blocks for an fsync); only at start, before the first `put`.

        Raises:
            ColdStoreFailure: it cannot be written.
        """
        self.write_all({(table, key): value})

    def write_all(self, changes: Changes) -> None:
        """Several at once, as `write`.

        Raises:
            ColdStoreFailure: as there.
        """
        try:
            self._write(changes)
        except sqlite3.Error as error:
            raise ColdStoreFailure(f"{self._path}: {error}") from error

    def put(self, table: Table, key: str, value: bytes | None) -> None:
        """To be written with the next batch; None removes."""
        with self._lock:
            self._dirty[(table, key)] = value
        self._wake.set()

    def put_all(self, changes: Mapping[tuple[Table, str], bytes | None]) -> None:
        """As `put`; all of them are in one batch: a kill leaves all or none."""
        with self._lock:
            self._dirty.update(changes)
        self._wake.set()

    def after_commit(self, callback: Callable[[], object]) -> None:
        """Calls back when all that was put before is on disk: on the store's thread, or at once where nothing waits."""
        with self._lock:
            waits = self._writing or bool(self._dirty) or bool(self._callbacks)
            if waits:
                self._callbacks.append(callback)
        if waits:
            self._wake.set()
        else:
            callback()

    def close(self) -> None:
        """Writes what is left and ends the thread."""
        self._closing = True
        self._wake.set()
        self._thread.join()
        self._database.close()

    def _run(self) -> None:
        while True:
            self._wake.wait()
            self._wake.clear()
            closing = self._closing
            with self._lock:
                dirty, self._dirty = self._dirty, {}
                callbacks, self._callbacks = self._callbacks, []
                self._writing = True
            try:
                self._write(dirty)
            except sqlite3.Error as error:
                self._on_failure(ColdStoreFailure(f"{self._path}: {error}"))
                return
            for callback in callbacks:
                callback()
            with self._lock:
                self._writing = False
            if closing:
                return

    def _write(self, dirty: Changes) -> None:
        if not dirty:
            return
        self._database.execute("BEGIN IMMEDIATE")
        for (table, key), value in dirty.items():
            if value is None:
                self._database.execute(f"DELETE FROM {table} WHERE key = ?", (key,))
            else:
                self._database.execute(f"INSERT OR REPLACE INTO {table} VALUES (?, ?)", (key, value))
        self._database.execute("COMMIT")
