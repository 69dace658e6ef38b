"""Processes that append at full speed (`log_child`), one after another, each killed with -9 at a random moment."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

CHECKOUT = Path(__file__).parents[2]
TIMEOUT_S = 60.0
"""Nothing that is awaited takes so long."""


class Nursery:
    """Forks them from a process that has everything loaded: a life costs milliseconds more than it lasts."""

    def __init__(self) -> None:
        command = [sys.executable, "-m", "tests.crash.log_child"]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd=CHECKOUT
        )

    def __enter__(self) -> Nursery:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.communicate(timeout=TIMEOUT_S)

    def live(
        self, directory: Path, max_payload: int, seed: int, life_s: float, *mode: str
    ) -> Iterator[tuple[str, int]]:
        """One life: what it says, until it is killed `life_s` seconds after its birth, in its start or behind it."""
        self.tell(f"live {directory} {max_payload} {seed} {' '.join(mode)}")
        killer = threading.Timer(TIMEOUT_S, self._process.kill)
        killer.start()
        assert self._process.stdout is not None
        for line in self._process.stdout:
            word, _, number = line.decode().strip().partition(" ")
            if word == "born":
                killer.cancel()
                killer = threading.Timer(life_s, os.kill, (int(number), signal.SIGKILL))
                killer.start()
            elif word == "ended":
                break
            else:
                assert word in ("started", "committed"), line
                yield word, int(number)
        killer.cancel()

    def tell(self, line: object) -> None:
        """To the one that lives, or to the nursery."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{line}\n".encode())
        self._process.stdin.flush()
