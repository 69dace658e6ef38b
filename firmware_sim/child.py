"""Child: a process that a demonstration starts, waits for, freezes, and never leaves behind."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

_PR_SET_PDEATHSIG = 1  # prctl(2)
_TICK_S = 1 / os.sysconf("SC_CLK_TCK")


class ChildError(Exception):
    """The process did not start or did not become ready; the text carries the end of its output."""


class Child:
    """One process, started at once; its output goes to a file."""

    def __init__(self, module: str, arguments: Sequence[str], output: Path) -> None:
        """Start `python -m module arguments…`."""
        self.output = output
        with output.open("ab") as file:
            self._process = subprocess.Popen(
                [sys.executable, "-m", module, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                # Ctrl-C is for the one who started it; what it starts is ended by it, in order.
                start_new_session=True,
                preexec_fn=_end_with_parent,
            )
        self.pid = self._process.pid

    def wait_for(self, sign: str, timeout_s: float) -> str:
        """Wait for a line of output that holds `sign`, and return what follows it.

        Raises:
            ChildError: the process ended, or the line did not come in time.
        """
        deadline = time.monotonic() + timeout_s
        while True:
            for line in self.output.read_text(errors="replace").splitlines():
                _, found, rest = line.partition(sign)
                if found:
                    return rest.strip()
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise ChildError(f"{sign!r} did not come:\n{self.tail()}")
            time.sleep(0.02)

    @property
    def running(self) -> bool:
        """Whether it has not ended."""
        return self._process.poll() is None

    def tail(self) -> str:
        """Return the end of its output."""
        return self.output.read_text(errors="replace")[-3000:]

    def complaints(self) -> str:
        """Return the last lines of its log that are more than information, or the end of its output."""
        lines = self.output.read_text(errors="replace").splitlines()
        return "\n".join([line for line in lines if " info " not in line][-15:]) or self.tail()

    def stop(self, timeout_s: float = 15.0) -> None:
        """SIGTERM, and SIGKILL if that does not help in time; a second call does nothing."""
        if self._process.poll() is None:
            self._process.terminate()
            self._process.send_signal(signal.SIGCONT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(timeout_s)
        self._process.kill()
        self._process.wait()


def _end_with_parent() -> None:
    """Have the kernel send SIGKILL to this process when the thread that started it ends (a frozen one, too)."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def children_of(pid: int) -> list[int]:
    """Return the ids of a process's children; none when the process is gone."""
    found: list[int] = []
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        for thread in Path(f"/proc/{pid}/task").iterdir():
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # threads come and go
                found += map(int, (thread / "children").read_text().split())
    return found


def cpu_s(pid: int) -> float:
    """Return the CPU time that a process has used, user and system, in seconds (proc_pid_stat(5), fields 14 and 15)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) * _TICK_S
