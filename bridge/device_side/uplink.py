"""The uplink log as the device side sees it: lanes to append to, and word when what was appended is on disk."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from bridge.device_side.clock import Clock
from bridge.device_side.connection import Connection
from bridge.device_side.lane_state import LaneState
from bridge.device_side.obstacle import Obstacle
from bridge.device_side.waiting import Waiting
from bridge.log.cursor import Cursor
from bridge.log.errors import LogFailure
from bridge.log.queue_key import Keyring
from bridge.log.reader import oldest_position
from bridge.log.settings import LogSettings
from bridge.log.total import Total
from bridge.log.writer import LogWriter
from bridge.message import Message

Token = tuple[Connection, Sequence[Message]] | Callable[[], None]
"""What to do when records are durable: acknowledge messages, or anything else. A pair is cheaper than a closure."""
_RUN_BYTES: Final = 64 * 1024


class Lane(Obstacle):
    """One lane: its log, its open QoS 2 hand-shakes, whether it takes more, and how much waits for whom."""

    def __init__(
        self, name: str, settings: LogSettings, writer: LogWriter, state: LaneState, pending_max: int, forwarded: int
    ) -> None:
        """Args:
        name: as the configuration says.
        settings: its bounds.
        writer: its log, open.
        state: the log's fold, as recovery left it.
        pending_max: bytes that may wait for their commit before `blocked`.
        forwarded: the cursor as it lies on disk.
        """
        super().__init__(settings.refuse_after)
        self.name = name
        self.writer = writer
        self.handshakes_at_start = {device: set(ids) for device, ids in state.handshakes.open.items()}
        self.waiting = Waiting(name, settings, writer)
        self.append = writer.append
        self.run_bytes = min(_RUN_BYTES, writer.max_run_bytes)
        """Of several records that are appended as one."""
        self.forwarded = forwarded
        """Behind the last record that the sink has for certain, as far as the bus side has said."""
        self.pending_max = pending_max
        self._state = state
        self.waiting.restore(state.heavy, forwarded, writer.next_seq - state.replayed, state.behind)

    def __str__(self) -> str:
        return f"lane {self.name}"

    def look(self, now: float) -> None:
        """To be called now and then: accounts are settled, and what holds devices up is said."""
        super().look(now)
        self.waiting.look(self.forwarded, now)
        self._state.heavy = self.waiting.heavy

    @property
    def why(self) -> str:
        return self.writer.shortage or "the disk is behind"

    @property
    def blocked(self) -> bool:
        """Nothing more now: the queue's bound is reached, or the disk is behind."""
        return self.writer.behind(self.pending_max)


class Uplink:
    """Every lane of this gateway."""

    def __init__(self, loop: asyncio.AbstractEventLoop, on_committed: Callable[[Lane, list[Token]], None]) -> None:
        """Args:
        loop: where `on_committed` is called.
        on_committed: after each group commit, with the tokens of its records in order.
        """
        self.lanes: dict[str, Lane] = {}
        self._loop = loop
        self._on_committed = on_committed
        self._kick_asked = False
        self._total = Total(None)

    def open_lane(
        self,
        name: str,
        directory: Path,
        settings: LogSettings,
        *,
        log_id: bytes,
        clock: Clock,
        keys: Keyring | None = None,
        pending_max: int,
        on_failure: Callable[[LogFailure], None],
    ) -> Lane:
        """Recovers the lane's log and adds it.

        Raises:
            LogFailure: it cannot be opened or written.
        """
        state = LaneState()
        self._total.max_bytes = settings.total_max_bytes

        def committed(tokens: list[Any], _position: int) -> None:
            self._loop.call_soon_threadsafe(self._on_committed, lane, tokens)

        writer = LogWriter.open(
            directory,
            settings,
            log_id=log_id,
            boot_id=clock.boot_id,
            wall_ns=clock.wall_ns,
            fold=state,
            on_commit=committed,
            on_failure=on_failure,
            total=self._total,
            mono_ns=clock.mono_ns,
            synchronised=clock.synchronised,
            keys=keys,
        )
        cursor = Cursor.load(directory)
        forwarded = cursor.position if cursor is not None and cursor.log_id == log_id else oldest_position(directory)
        lane = self.lanes[name] = Lane(name, settings, writer, state, pending_max, forwarded)
        return lane

    def kick_soon(self) -> None:
        """To be called after an append: the commit thread is woken once, when all that is ready has been handled."""
        if not self._kick_asked:
            self._kick_asked = True
            self._loop.call_soon(self._kick)

    def committed(self) -> dict[str, int]:
        """By lane, the position behind the last durable record."""
        return {name: lane.writer.committed for name, lane in self.lanes.items()}

    def forwarded(self, positions: Mapping[str, int]) -> None:
        """What lies before these positions is not needed any more."""
        for name, position in positions.items():
            if name in self.lanes:
                self.lanes[name].forwarded = position
                self.lanes[name].writer.forwarded(position)

    def look(self, now: float) -> None:
        """To be called now and then, and when something was forwarded; `now` is that of `time.monotonic`."""
        for lane in self.lanes.values():
            lane.look(now)

    def close(self) -> None:
        """Commits what is pending and stops the commit threads."""
        for lane in self.lanes.values():
            lane.writer.close()

    def _kick(self) -> None:
        self._kick_asked = False
        for lane in self.lanes.values():
            if lane.writer.pending_bytes:
                lane.writer.kick()
