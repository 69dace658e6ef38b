"""DownlinkLog: the log that this side writes, with "durable" as something to await."""

from __future__ import annotations

import asyncio
import logging
import time
from pathlib import Path

from bridge.log.errors import LogFailure, LogFull
from bridge.log.fold import NoFold
from bridge.log.log_id import load_or_create_log_id
from bridge.log.queue_key import Keyring
from bridge.log.settings import LogSettings
from bridge.log.writer import LogWriter

_log = logging.getLogger(__name__)
_ROOM_PAUSE_S = 0.2


class DownlinkFailed(Exception):
    """The disk refused a write: nothing more is taken until this process starts anew."""


class DownlinkLog:
    """The one writer of `data_dir/downlink`. Blocks while it opens (recovery)."""

    def __init__(self, directory: Path, settings: LogSettings, boot_id: bytes, keys: Keyring | None = None) -> None:
        """Raises OSError: the directory cannot be used."""
        self._loop = asyncio.get_running_loop()
        self._moved = asyncio.Event()
        self._failure: LogFailure | None = None
        self.writer = LogWriter.open(
            directory,
            settings,
            log_id=load_or_create_log_id(directory),
            boot_id=boot_id,
            wall_ns=time.time_ns,
            fold=NoFold(),
            keys=keys,
            on_commit=lambda _tokens, _committed: self._wake(),
            on_failure=self._fail,
        )

    async def append(self, records: list[bytes]) -> int:
        """Returns, when all of them are durable, the position behind them. Waits while the log is full.

        Raises:
            DownlinkFailed: the disk refused.
        """
        for record in records:
            while not self._append(record):  # noqa: ASYNC110 - the log makes room on a thread of its own
                await asyncio.sleep(_ROOM_PAUSE_S)
        self.writer.kick()
        end = self.writer.next_seq
        while self.writer.committed < end:
            self._check()
            await self._moved.wait()
            self._moved.clear()
        return end

    async def offer(self, records: list[bytes]) -> tuple[int, int]:
        """As `append`, but what finds no room is left: whoever forwards must not wait for those who wait for him.

        Returns: how many were taken, and the position behind them.

        Raises:
            DownlinkFailed: the disk refused.
        """
        taken = 0
        while taken < len(records) and self._append(records[taken]):
            taken += 1
        if taken < len(records):
            _log.warning("the downlink log is full: %d records that devices need wait", len(records) - taken)
        return taken, await self.append([])

    def close(self) -> None:
        """Commits what is pending; blocks until then."""
        self.writer.close()

    def _append(self, record: bytes) -> bool:
        self._check()
        try:
            self.writer.append(record)
        except LogFull:
            self.writer.kick()
            return False
        return True

    def _check(self) -> None:
        if self._failure is not None:
            raise DownlinkFailed(str(self._failure))

    def _fail(self, failure: LogFailure) -> None:
        self._failure = failure
        self._wake()

    def _wake(self) -> None:
        """On the commit thread."""
        self._loop.call_soon_threadsafe(self._moved.set)
