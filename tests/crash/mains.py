"""Mains: the power of a whole gateway, both processes. When it is cut, its data directory is as a disk may be found
then."""

from __future__ import annotations

import fcntl
import os
import signal
from collections.abc import Iterable
from pathlib import Path
from random import Random

from tests.crash.disk import Disk, calls, tree_of


class Mains:
    """Of one data directory; every call that changes it is recorded (record_calls.c) from the start of a daemon on."""

    def __init__(self, data: Path, library: dict[str, str]) -> None:
        """`library`: what the fixture `preload` says of record_calls.c."""
        self._data = data
        self._record = data.with_name(f"{data.name}.calls")
        self._record.touch()
        self._before = tree_of(data)
        self.environment = {**library, "RECORD_BELOW": str(data), "RECORD_TO": str(self._record)}
        """What a daemon has to be started with."""

    def cut(self, pids: Iterable[int], random: Random, kept: float) -> None:
        """The processes are gone, between any two calls; of what was not synced the disk keeps any part.

        Works once: what is started afterwards is not recorded.

        Args:
            pids: all that write to the directory.
            random: decides which part.
            kept: how likely it is that the last version of a sector, a size or a name is kept.
        """
        with self._record.open("r+b") as record:
            fcntl.lockf(record, fcntl.LOCK_EX)  # nobody is inside a call
            for pid in pids:
                os.kill(pid, signal.SIGKILL)
            entries = record.read()
        self._record.unlink()
        disk = Disk(self._data, self._before)
        for call in calls(entries):
            disk.apply(call)
        self._is_whole(disk)
        self._data.rename(self._data.with_name(f"{self._data.name}.before-the-cut"))
        disk.cut(self._data, random, kept)

    def _is_whole(self, disk: Disk) -> None:
        """The record has everything that is there, but for what sqlite maps into memory, and makes anew."""
        there = {path: path.read_bytes() for path in self._data.rglob("*") if path.is_file()}
        recorded = disk.contents()
        assert recorded.keys() == there.keys()
        assert [path for path in there if recorded[path] != there[path] and not path.name.endswith("-shm")] == []
