"""The bus side as a child process: started, watched, started again with back-off, stopped.

A bus side that hangs, leaks or dies costs nothing here: what it has not forwarded is on disk.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import Callable, Sequence

from bridge.config import Supervisor as Settings
from bridge.log import doorbell
from bridge.log.doorbell import Doorbell, DoorbellClosed, Health, Note

_log = logging.getLogger(__name__)
_RING_INTERVAL_S = 0.005
"""Positions only rise, so what is said less often costs nothing but this much of latency."""
_STEADY_S = 60.0
"""A bus side that ran this long is not counted as failing again and again."""


class BusSide:
    """The child process and this end of its door bell."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        settings: Settings,
        command: Sequence[str],
        *,
        positions: Callable[[], Note],
        on_note: Callable[[Note], None],
    ) -> None:
        """Args:
        loop: the process's event loop.
        settings: back-off and time-outs.
        command: the child's program and its arguments; `--doorbell-fd N` is put behind them.
        positions: what the child is told: all positions as they are now.
        on_note: takes each note of the child.
        """
        self.health = Health("starting")
        self.restarts = 0
        self.pid: int | None = None
        self._loop = loop
        self._settings = settings
        self._command = tuple(command)
        self._positions = positions
        self._on_note = on_note
        self._process: asyncio.subprocess.Process | None = None
        self._doorbell: Doorbell | None = None
        self._quiet = False
        self._asked = False
        self._stopping = asyncio.Event()
        self._ended = asyncio.Event()

    async def run(self) -> None:
        """Keeps one running until `stop`."""
        try:
            await self._keep_running()
        finally:
            self._ended.set()

    async def _keep_running(self) -> None:
        delay = self._settings.restart_delay
        while True:
            started = self._loop.time()
            ended = await self._run_once()
            if self._stopping.is_set():
                return
            if self._loop.time() - started > _STEADY_S:
                delay = self._settings.restart_delay
            self.restarts += 1
            self.health = Health("restarting")
            _log.error("bus side %s; starting it again in %g s", ended, delay)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), delay)
                return
            delay = min(delay * 2, self._settings.restart_delay_max)

    def ring(self) -> None:
        """Tells the child all positions: at once, or a moment later if it was told only just now."""
        if self._quiet:
            self._asked = True
        else:
            self._send()

    def _send(self) -> None:
        self._asked = False
        if self._doorbell is None:
            return
        self._quiet = True
        self._loop.call_later(_RING_INTERVAL_S, self._may_ring)
        try:
            self._asked = not self._doorbell.send(self._positions())
        except DoorbellClosed:
            self._hang_up()

    def _may_ring(self) -> None:
        self._quiet = False
        if self._asked:
            self._send()

    async def stop(self) -> None:
        """Closes the door bell, which ends the child; one that does not end in time is killed. `run` returns then."""
        self._stopping.set()
        if self._asked:
            self._send()  # the last positions, which a bell that was rung just now has not told
        self._hang_up()
        timeout = self._settings.stop_timeout
        try:
            await asyncio.wait_for(self._ended.wait(), timeout)
        except TimeoutError:
            _log.error("bus side (process %s) did not end within %g s and is killed", self.pid, timeout)
            if self._process is not None and self.pid is not None:
                self._process.kill()

    async def _run_once(self) -> str:
        """Returns how it ended, in words."""
        try:
            mine, self._process = await self._spawn()
        except OSError as error:
            return f"cannot be started ({error.strerror or error})"
        self.pid = self._process.pid
        _log.info("bus side started as process %s", self.pid)
        if self._stopping.is_set():
            mine.close()
        else:
            self._pick_up(mine)
        try:
            return f"ended with {_status(await self._process.wait())}"
        finally:
            self.pid = None
            self._hang_up()

    async def _spawn(self) -> tuple[socket.socket, asyncio.subprocess.Process]:
        """Our end of the door bell, and the child that has the other."""
        mine, theirs = doorbell.pair()
        number = theirs.fileno()
        try:
            process = await asyncio.create_subprocess_exec(
                *self._command, "--doorbell-fd", str(number), stdin=asyncio.subprocess.DEVNULL, pass_fds=(number,)
            )
        except OSError:
            mine.close()
            raise
        finally:
            theirs.close()
        return mine, process

    def _pick_up(self, sock: socket.socket) -> None:
        self._doorbell = Doorbell(sock)
        self._loop.add_reader(sock.fileno(), self._on_ring)
        self._send()

    def _hang_up(self) -> None:
        bell, self._doorbell = self._doorbell, None
        if bell is not None:
            self._loop.remove_reader(bell.fileno())
            with contextlib.suppress(OSError):
                bell.close()

    def _on_ring(self) -> None:
        assert self._doorbell is not None
        try:
            notes = self._doorbell.receive()
        except DoorbellClosed:
            self._hang_up()
            return
        for note in notes:
            if note.health is not None:
                self._tell_health(note.health)
            self._on_note(note)

    def _tell_health(self, health: Health) -> None:
        if health.state != self.health.state:
            _log.info("bus side is %s%s", health.state, f": {health.detail}" if health.detail else "")
        self.health = health


def _status(code: int) -> str:
    return f"signal {-code}" if code < 0 else f"exit code {code}"
