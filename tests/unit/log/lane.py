"""One log under test: a writer that can be closed and opened again, and what it reported."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

from bridge.log import record
from bridge.log.errors import LogError, LogFailure
from bridge.log.fold import Fold, NoFold
from bridge.log.queue_key import Keyring
from bridge.log.reader import LogReader
from bridge.log.record import Record
from bridge.log.settings import LogSettings
from bridge.log.total import Total
from bridge.log.writer import LogWriter

LOG_ID = bytes(range(16))
BOOT_ID = bytes(range(16, 32))
CONTEXT = record.encode_context("dev-1", "devices/dev-1/t", "telemetry")
KIB = 1 << 10
SMALL = LogSettings(max_bytes=512 * KIB, segment_bytes=64 * KIB)
PATIENCE_S = 20.0


def message(payload: bytes, kind: int = record.MESSAGE) -> bytes:
    """A record with this payload."""
    return record.encode(kind, 1, 7, 1_000, 2_000, CONTEXT, b"", payload)


def read_all(directory: Path, committed: int, position: int | None = None, keys: Keyring | None = None) -> list[Record]:
    """Everything from `position` (or the oldest) on; fails on damage."""
    reader = LogReader(directory, LOG_ID, position, keys)
    records: list[Record] = []
    while more := reader.read(committed, 7, 5_000):
        records += more
    reader.close()
    return records


class Lane:
    """The log in `directory`."""

    def __init__(
        self,
        directory: Path,
        settings: LogSettings = SMALL,
        fold: Fold | None = None,
        total: Total | None = None,
        *,
        synchronised: bool = True,
        keys: Keyring | None = None,
    ) -> None:
        self.directory = directory
        self.settings = settings
        self.total = total
        self.tokens: list[object] = []
        self.commits: list[int] = []
        self.failures: list[LogFailure] = []
        self.wall_ns = 0  # the clock of a gateway may stand still
        self.mono_ns = 0
        self.boot_id, self.synchronised = BOOT_ID, synchronised
        self.keys = keys
        self._reported = threading.Condition()
        self.writer = self.open(fold)

    def open(self, fold: Fold | None = None) -> LogWriter:
        """A writer on what is there; the former one must be closed."""
        self.failures.clear()
        self.writer = LogWriter.open(
            self.directory,
            self.settings,
            log_id=LOG_ID,
            boot_id=self.boot_id,
            wall_ns=lambda: self.wall_ns,
            mono_ns=lambda: self.mono_ns,
            synchronised=lambda: self.synchronised,
            keys=self.keys,
            fold=fold or NoFold(),
            on_commit=self._on_commit,
            on_failure=self._on_failure,
            total=self.total,
        )
        return self.writer

    def append(self, *payloads: bytes) -> list[int]:
        """One record each, and a kick; waits where the next segment is still being made."""
        seqs = []
        for payload in payloads:
            self.wait(lambda: not self.writer.full or self.writer.shortage or self.failures)
            seqs.append(self.writer.append(message(payload), token=payload, effect=payload))
        self.writer.kick()
        return seqs

    def commit(self, *payloads: bytes) -> list[int]:
        """As `append`, and waits until they are durable."""
        seqs = self.append(*payloads)
        self.wait(lambda: self.writer.committed == self.writer.next_seq or self.failures)
        return seqs

    def fill(self, size: int) -> int:
        """Commits records of `size` bytes one by one until one is refused; returns how many were not."""
        count = 0
        while True:
            try:
                self.commit((b"%d" % count).zfill(size))
            except LogError:
                return count
            count += 1

    def wait(self, condition: Callable[[], object]) -> None:
        """Until `condition()` holds; fails when it takes too long."""
        end = time.monotonic() + PATIENCE_S
        while not condition():
            assert time.monotonic() < end, f"waited in vain; failures: {self.failures}"
            with self._reported:
                self._reported.wait(0.005)

    def payloads(self, position: int | None = None) -> list[bytes]:
        """Of all committed records from `position` (or the oldest) on."""
        return [each.payload for each in read_all(self.directory, self.writer.committed, position, self.keys)]

    def segments(self) -> list[Path]:
        """Oldest first."""
        return sorted(self.directory.glob("*.seg"))

    def spares(self) -> list[Path]:
        """Pre-written segments."""
        return sorted(self.directory.glob("spare-*"))

    def _on_commit(self, tokens: list[object], committed: int) -> None:
        with self._reported:
            self.tokens += tokens
            self.commits.append(committed)
            self._reported.notify_all()

    def _on_failure(self, failure: LogFailure) -> None:
        with self._reported:
            self.failures.append(failure)
            self._reported.notify_all()
