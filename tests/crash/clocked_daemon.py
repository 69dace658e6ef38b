"""The daemon with clocks that a file sets: `python -m tests.crash.clocked_daemon CONFIG CLOCKS`. Not a test."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import msgspec

from bridge import config_file
from bridge.device_side import daemon
from bridge.device_side.clock import Clock


class Setting(msgspec.Struct):
    """What the file says."""

    boot: str
    """32 hexadecimal digits."""
    booted_ns: int
    """What this machine's CLOCK_MONOTONIC was then: there the boot's own begins with 0."""
    ahead_ns: int
    """What the wall clock is ahead of the boot's monotonic clock."""
    synchronised: bool

    def save(self, path: Path) -> None:
        """Sets the clocks of the daemon that looks into this file."""
        temporary = path.with_suffix(".new")
        temporary.write_bytes(msgspec.json.encode(self))
        temporary.replace(path)


class FileClock(Clock):
    """As the file says at every look."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path
        self.boot_id = bytes.fromhex(self._setting.boot)
        self.mono_ns = lambda: time.monotonic_ns() - self._setting.booted_ns
        self.wall_ns = lambda: self.mono_ns() + self._setting.ahead_ns

    @property
    def _setting(self) -> Setting:
        return msgspec.json.decode(self._path.read_bytes(), type=Setting)

    def synchronised(self) -> bool:
        return self._setting.synchronised

    def look(self) -> bool:
        return self.synchronised()


if __name__ == "__main__":
    path = Path(sys.argv[1])
    sys.exit(daemon.run(config_file.load(path), path, FileClock(Path(sys.argv[2]))))
