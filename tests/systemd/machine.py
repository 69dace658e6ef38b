"""A machine with a real systemd: a container of systemd-nspawn with a loopback of its own and no other network."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Self

BOOT_S, HALT_S = 30.0, 15.0


class MachineFailure(Exception):
    """Why a container does not come up here."""


class Machine:
    """A booted container."""

    def __init__(self, nspawn: subprocess.Popen[bytes], leader: int, root: Path) -> None:
        self._nspawn = nspawn
        self._leader = leader
        self.root = root

    @classmethod
    def boot(cls, root: Path) -> Self:
        """Boots the file system in `root` and waits for its systemd. Raises MachineFailure."""
        log = root.with_suffix(".log")
        command = (
            "systemd-nspawn",
            "--register=no",
            "--keep-unit",
            "--private-network",
            "--boot",
            f"--directory={root}",
        )
        environ = {**os.environ, "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1"}
        with log.open("wb") as output:
            nspawn = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, env=environ
            )
        deadline = time.monotonic() + BOOT_S
        while time.monotonic() < deadline and nspawn.poll() is None:
            if leader := _child(nspawn.pid):
                machine = cls(nspawn, leader, root)
                if machine.run("systemctl", "is-system-running", check=False).stdout.strip() in ("running", "degraded"):
                    return machine
            time.sleep(0.1)
        nspawn.kill()
        nspawn.wait()
        raise MachineFailure(f"no systemd came up in a container: {log.read_text(errors='replace').strip()[-400:]}")

    def run(self, *command: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Runs a command in the container."""
        return self._in("-m", "-u", "-i", "-n", "-p", "-C", "--", *command, check=check)

    def beside(self, *command: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Runs a command of this machine on the container's network."""
        return self._in("-n", "--", *command, check=check)

    def halt(self) -> None:
        """Shuts the container down."""
        try:
            os.kill(self._leader, signal.SIGRTMIN + 3)  # systemd(1): halts
            self._nspawn.wait(HALT_S)
        except (ProcessLookupError, subprocess.TimeoutExpired):
            self._nspawn.kill()
            self._nspawn.wait()

    def _in(self, *arguments: str, check: bool) -> subprocess.CompletedProcess[str]:
        command = ("nsenter", "-t", str(self._leader), *arguments)
        return subprocess.run(
            command, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=120, check=check
        )


def _child(pid: int) -> int:
    """Return the first child of a process, 0 if there is none."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except FileNotFoundError:
        return 0
    return int(children[0]) if children else 0
