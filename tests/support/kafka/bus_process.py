"""BusProcess: the bus side as the device side starts it, for tests and benchmarks that do without a device side."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from bridge.log import doorbell
from bridge.log.doorbell import Doorbell, DoorbellClosed, Health, Note
from tests.support.kafka.fetch import CHECKOUT


class BusProcess:
    """One life of `python -m bridge.bus_side.main`, and the device side's end of its door bell."""

    def __init__(self, config: Path, log: Path, wrapper: Sequence[str] = ()) -> None:
        """`wrapper`: a command that runs the one behind it in its own place."""
        mine, theirs = doorbell.pair()
        self.log = log
        self.health = Health("starting")
        self.forwarded: dict[str, int] = {}
        self.downlink_committed = 0
        self.ready = False
        self._bell = Doorbell(mine)
        command = [sys.executable, "-m", "bridge.bus_side.main", "--config", str(config)]
        with theirs, log.open("ab") as output:
            self._process = subprocess.Popen(
                [*wrapper, *command, "--doorbell-fd", str(theirs.fileno())],
                pass_fds=(theirs.fileno(),),
                stdout=output,
                stderr=output,
                cwd=CHECKOUT,
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def ended(self) -> bool:
        return self._process.poll() is not None

    def tell(self, note: Note) -> None:
        try:
            self._bell.send(note)
        except DoorbellClosed as error:
            raise AssertionError(f"it has ended:\n{self.log.read_text()[-4000:]}") from error

    def listen(self, seconds: float = 0.05) -> None:
        """Takes in what the bus side says; returns after the first notes, or after the time."""
        if not select.select([self._bell.fileno()], [], [], seconds)[0]:
            return
        try:
            notes = self._bell.receive()
        except DoorbellClosed:
            return
        for note in notes:
            self.forwarded |= note.forwarded
            self.health = note.health or self.health
            self.downlink_committed = note.downlink_committed or self.downlink_committed
            self.ready |= note.ready

    def listen_until(self, condition: object, seconds: float = 30.0) -> None:
        """Listens until `condition()` is true; an error with the process's log if it does not come true."""
        assert callable(condition)
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline or self.ended:
                raise AssertionError(f"{self.health}, {self.forwarded}\n{self.log.read_text()[-4000:]}")
            self.listen()

    def cpu_s(self) -> float:
        """CPU time it has used, user and system, in seconds (proc(5), /proc/PID/stat)."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def kill(self) -> None:
        self._process.kill()
        self.wait()

    def hang_up(self) -> None:
        """Closes the door bell, as a device side that died does."""
        self._bell.close()

    def wait(self, seconds: float = 15.0) -> int:
        """Its exit code."""
        return self._process.wait(seconds)
