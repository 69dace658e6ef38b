"""Finished: the files that the jsonl sink has finished, compressed one after another beside its work.

A compressed file is whole and synced before it has its name, and only then the plain one goes. What a crash left half
done is done again by the next start: both may stand there for a moment, and the compressed one counts.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final

from bridge.durable import sync_directory

_log = logging.getLogger(__name__)
_PLAIN: Final = ".jsonl"
_UNFINISHED: Final = ".tmp"


class Finished:
    """Of one directory. `compression`: `none`, `gzip` or `zstd`."""

    def __init__(self, directory: Path, compression: str) -> None:
        self._directory = directory
        self._suffix, self._compress = _method(compression)
        self._work: asyncio.Task[None] | None = None

    def squeeze(self, current: int) -> None:
        """Has every plain file before number `current` compressed; returns at once."""
        if self._compress is None or (self._work is not None and not self._work.done()):
            return
        self._work = asyncio.get_running_loop().create_task(self._squeeze_all(current))

    async def wait(self) -> None:
        """Until what was begun is done."""
        if self._work is not None:
            await self._work

    async def _squeeze_all(self, current: int) -> None:
        for path in sorted(self._directory.glob(f"*{_PLAIN}")):
            if not path.stem.isdigit() or int(path.stem) >= current:
                continue
            try:
                await asyncio.to_thread(self._squeeze, path)
            except OSError as error:
                _log.warning("%s stays as it is: it cannot be compressed: %s", path, error)

    def _squeeze(self, path: Path) -> None:
        assert self._compress is not None
        done = path.with_name(path.name + self._suffix)
        if not done.exists():
            unfinished = path.with_name(done.name + _UNFINISHED)
            with unfinished.open("wb") as file:
                file.write(self._compress(path.read_bytes()))
                file.flush()
                os.fsync(file.fileno())
            unfinished.replace(done)
            sync_directory(self._directory)
        with contextlib.suppress(FileNotFoundError):
            path.unlink()


def _method(compression: str) -> tuple[str, Callable[[bytes], bytes] | None]:
    if compression == "none":
        return "", None
    from aiokafka import codec  # and with it all of aiokafka: only for those who want it

    if compression == "gzip":
        return ".gz", partial(codec.gzip_encode, compresslevel=6)
    return ".zst", codec.zstd_encode
