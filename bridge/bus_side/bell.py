"""Bell: the bus side's end of the door bell, for asyncio. What the device side has said, and what it is to be told.

Positions here only rise; a note that the socket did not take is sent again with the next one, or a moment later.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from bridge.log.boot_clocks import BootClocks
from bridge.log.doorbell import Doorbell, DoorbellClosed, Health, Note

_RETRY_S = 0.05


class Bell:
    """One for the process. `stop` is set when the device side is gone."""

    def __init__(self, doorbell: Doorbell, stop: asyncio.Event) -> None:
        self.committed: dict[str, int] = {}
        """Behind the last durable record of each uplink lane."""
        self.clocks = BootClocks()
        """What the lanes know of boots whose clock was set late; told no later than what it corrects."""
        self.on_downlink_forwarded: Callable[[int], None] | None = None
        self._clocks = b""
        self._doorbell = doorbell
        self._stop = stop
        self._rung = asyncio.Event()
        self._waiting = Note()
        self._retry: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Listens; says that this side is there."""
        asyncio.get_running_loop().add_reader(self._doorbell.fileno(), self._receive)
        self._tell(ready=True)

    def close(self) -> None:
        asyncio.get_running_loop().remove_reader(self._doorbell.fileno())
        if self._retry is not None:
            self._retry.cancel()
        self._doorbell.close()

    async def rung(self) -> None:
        """Returns when something was committed since the last call."""
        await self._rung.wait()
        self._rung.clear()

    def tell_forwarded(self, positions: dict[str, int]) -> None:
        """The durable cursors of these lanes."""
        self._waiting.forwarded = {**self._waiting.forwarded, **positions}
        self._tell()

    def tell_health(self, health: Health) -> None:
        self._waiting.health = health
        self._tell()

    def tell_downlink(self, committed: int) -> None:
        """Behind the last durable record of the downlink log."""
        self._waiting.downlink_committed = committed
        self._tell()

    def _receive(self) -> None:
        try:
            notes = self._doorbell.receive()
        except DoorbellClosed:
            asyncio.get_running_loop().remove_reader(self._doorbell.fileno())
            self._stop.set()
            return
        for note in notes:
            if note.clocks != self._clocks:
                self._clocks, self.clocks = note.clocks, BootClocks.decode(note.clocks)
            self.committed.update(note.committed)
            if note.committed:
                self._rung.set()
            if note.downlink_forwarded is not None and self.on_downlink_forwarded is not None:
                self.on_downlink_forwarded(note.downlink_forwarded)

    def _tell(self, *, ready: bool = False) -> None:
        self._waiting.ready = self._waiting.ready or ready
        try:
            sent = self._doorbell.send(self._waiting)
        except DoorbellClosed:
            self._stop.set()
            return
        if sent:
            self._waiting = Note()
        elif self._retry is None:
            self._retry = asyncio.get_running_loop().call_later(_RETRY_S, self._again)

    def _again(self) -> None:
        self._retry = None
        self._tell()
