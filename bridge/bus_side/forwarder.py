"""Forwarder: what is committed in the lanes goes to the sink, position and all; then the cursors move.

It never gives up: whatever happens to the sink, the log keeps what is not forwarded. Only one thing stops it: another
gateway with our id.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Container, Mapping
from pathlib import Path

from bridge.bus_side.backoff import Backoff
from bridge.bus_side.bell import Bell
from bridge.bus_side.gap import drop_records, gap_record
from bridge.bus_side.lanes import Budget, Lane, shares
from bridge.bus_side.link import Link
from bridge.bus_side.meter import Meter
from bridge.bus_side.sink import LaneBatch, Sink, SinkAgain, SinkAway, SinkError, SinkFenced, SinkRefused
from bridge.config import Lane as Settings
from bridge.log.errors import LogDamaged, LogKeyMissing
from bridge.log.log_id import load_or_create_log_id
from bridge.log.queue_key import Keyring

_log = logging.getLogger(__name__)
_CATCH_UP_LOOK_S = 0.01
_HELD_S = 0.05
"""For so long a lane rests whose records the sink did not take yet."""


class Forwarder:
    """One for the process; `run` until it is cancelled."""

    def __init__(
        self,
        sink: Sink,
        bell: Bell,
        link: Link,
        *,
        uplink: Path,
        lanes: Mapping[str, Settings],
        budget: Budget,
        meter: Meter | None,
        backoff: Backoff,
        linger_s: float,
        probe_s: float,
        cursor_interval_s: float,
        gap_topic: str,
        gateway: str,
        wall_ns: Callable[[], int],
        keys: Keyring | None = None,
    ) -> None:
        """Args:
        uplink: directory of the lanes' directories.
        lanes: weights and lingers of lanes; one that is not named has the defaults.
        meter: None: nothing bounds how much is sent.
        linger_s: pause between two transactions, in which more arrives.
        probe_s: after so long without a write the sink is asked whether it is there.
        gap_topic: where the event goes that says which records are lost.
        wall_ns: reads the wall clock.
        keys: open what is encrypted in the lanes.
        """
        self._sink = sink
        self._bell = bell
        self._link = link
        self._uplink = uplink
        self._settings = lanes
        self._meter = meter
        self._budget = budget
        self._backoff = backoff
        self._linger_s = linger_s
        self._probe_s = probe_s
        self._probe_at = 0.0
        self._cursor_interval_s = cursor_interval_s
        self._gap_topic = gap_topic
        self._gateway = gateway
        self._wall_ns = wall_ns
        self._keys = keys
        self._lanes: dict[str, Lane] = {}
        self._writing = asyncio.Lock()

    async def run(self) -> None:
        """Forwards for ever; cancel it at any time, then call `close`."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._save_now_and_then())
            tasks.create_task(self._forward_for_ever())

    async def catch_up(self, name: str) -> None:
        """Returns when what is committed in that lane is forwarded, or the sink is not there to take it."""
        while self._link.is_connected and name in self._lanes:
            if (self._lanes[name].done or 0) >= self._bell.committed[name]:
                return
            await asyncio.sleep(_CATCH_UP_LOOK_S)

    async def finish_write(self) -> None:
        """Returns when no write is going on; none begins any more."""
        await self._writing.acquire()

    async def close(self) -> None:
        """The clean end: the sink let go of, the cursors on disk and told."""
        await self._sink.stop()
        self._save()
        for lane in self._lanes.values():
            lane.close()

    async def _forward_for_ever(self) -> None:
        while not self._bell.committed:
            await self._bell.rung()
        while True:
            try:
                await self._forward()
            except SinkAgain as error:
                self._link.figures.retries += 1
                self._budget.shrink()
                _log.warning("the last transaction was given up and is done again: %s", error)
            except SinkAway as error:
                self._link.figures.retries += 1
                self._budget.shrink()
                tell = self._link.refused if isinstance(error, SinkRefused) else self._link.away
                tell(str(error))
                await asyncio.sleep(self._backoff.next_s())
            except LogKeyMissing as error:
                self._link.away(str(error))
                await asyncio.sleep(self._backoff.next_s())
            except SinkFenced as error:
                self._link.fenced(str(error))
                return

    async def _forward(self) -> None:
        """From a start of the sink to its failure, which is raised (SinkError)."""
        await self._start()
        while True:
            now = asyncio.get_running_loop().time()
            if self._meter is not None and (wait := self._meter.wait_s(now)):
                await asyncio.sleep(wait)
                continue
            held = self._held(now)
            batches = self._next_batches(held)
            if batches:
                await self._write(batches)
                await asyncio.sleep(self._linger_s)
            else:
                await self._rung(min(held.values(), default=self._probe_s))

    async def _rung(self, limit_s: float) -> None:
        """Waits for more to be sent, at the most until a lane has lingered for long enough.

        A sink that has heard nothing from us for `probe_s` is asked whether it is there: else an outage would be
        noticed by the first message that it holds up.
        """
        probe = self._probe_at - asyncio.get_running_loop().time()
        if probe <= 0:
            self._link.trying("to ask whether it is there")
            await self._sink.probe()
            self._put_off_probe()
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(min(limit_s, probe)):
                await self._bell.rung()
        if self._bell.committed.keys() - self._lanes.keys():
            await self._start()

    def _put_off_probe(self) -> None:
        self._probe_at = asyncio.get_running_loop().time() + self._probe_s

    def _held(self, now_s: float) -> dict[str, float]:
        """Lanes whose records still wait for company, and how long they may."""
        committed = self._bell.committed
        waits = {name: lane.lingers_s(committed[name], now_s) for name, lane in self._lanes.items()}
        return {name: wait for name, wait in waits.items() if wait}

    async def _start(self) -> None:
        log_id = load_or_create_log_id(self._uplink)
        for name in self._bell.committed.keys() - self._lanes.keys():
            lane = self._lanes[name] = Lane(
                name, self._uplink / name, log_id, self._settings.get(name, Settings()), self._keys
            )
            if lane.saved is not None:
                self._bell.tell_forwarded({name: lane.saved})
        self._link.trying("to connect, and to read the positions")
        held = await self._sink.start(tuple(self._lanes), log_id)
        for name, lane in self._lanes.items():
            if self._sink.holds_positions and name not in held and lane.saved is not None:
                _log.warning(
                    "lane %s: the sink holds no position; going on at record %d by our own cursor, "
                    "what was forwarded after that was saved is sent twice", name, lane.done,
                )  # fmt: skip
            lane.go_to(held.get(name), self._bell.committed[name])
        self._put_off_probe()
        self._link.connected()

    def _next_batches(self, held: Container[str]) -> list[LaneBatch]:
        """What the next transaction carries of all lanes but those held: by weight, as far as the budget goes."""
        committed = self._bell.committed
        lanes = {name: lane for name, lane in self._lanes.items() if name not in held}
        backlog = {name: committed[name] - lane.position for name, lane in lanes.items()}
        weights = {name: lane.weight for name, lane in lanes.items()}
        given = shares(weights, backlog, self._budget.records)
        left = self._budget.bytes if self._meter is None else min(self._budget.bytes, self._meter.bytes_max())
        total = sum(weights[name] for name in given)
        batches: list[LaneBatch] = []
        for name, records in given.items():
            batch = self._read(lanes[name], committed[name], records, max(1, left * weights[name] // total))
            # What a lane does not need of its part is there for those that need more.
            left, total = max(0, left - batch.bytes), total - weights[name]
            batches.append(batch)
        return batches

    def _read(self, lane: Lane, committed: int, max_records: int, max_bytes: int) -> LaneBatch:
        try:
            batch = lane.read(committed, max_records, max_bytes)
            self._bell.clocks.correct(batch.records)
            return batch
        except LogDamaged as damage:
            dropped = lane.skip_dropped()
            if dropped is not None:
                gaps = drop_records(self._gateway, self._gap_topic, lane.name, dropped, self._wall_ns())
                return LaneBatch(lane.name, gaps, dropped.next_seq)
            first, after = lane.skip_damage(committed)
            _log.error("lane %s: records %d to %d are lost: %s", lane.name, first, after - 1, damage)
            lost = range(first, after)
            record = gap_record(self._gateway, self._gap_topic, lane.name, lost, damage.reason, self._wall_ns())
            return LaneBatch(lane.name, [record], after)

    async def _write(self, batches: list[LaneBatch]) -> None:
        async with self._writing:
            self._link.trying(f"to write {sum(len(batch.records) for batch in batches)} records")
            try:
                written = await self._sink.write(batches)
            except SinkError:
                self._link.figures.transactions_aborted += 1
                raise
            self._put_off_probe()
            now, taken = asyncio.get_running_loop().time(), [each for each in batches if each.lane not in written.held]
            self._link.wrote(taken, written)
            self._link.figures.transactions_aborted += written.contested
            if self._meter is not None:
                self._meter.spend(now, written.wire_bytes, sum(batch.bytes for batch in taken))
            for batch in taken:
                self._lanes[batch.lane].done = batch.position
            for name in written.held:
                self._lanes[name].give_back(self._bell.committed[name], now + _HELD_S)
        self._budget.grow()
        self._backoff.reset()

    async def _save_now_and_then(self) -> None:
        while True:
            await asyncio.sleep(self._cursor_interval_s)
            self._save()
            now = asyncio.get_running_loop().time()
            self._link.measure(now, self._waiting(), self._held(now))

    def _waiting(self) -> dict[str, tuple[int, int]]:
        committed = self._bell.committed
        return {name: lane.waiting(committed[name]) for name, lane in self._lanes.items()}

    def _save(self) -> None:
        """Makes the cursors durable, and only then tells the positions: what is behind them may be recycled."""
        saved: dict[str, int] = {}
        for lane in self._lanes.values():
            try:
                if lane.save() and lane.saved is not None:
                    saved[lane.name] = lane.saved
            except OSError as error:
                _log.error("lane %s: the cursor cannot be written, its segments stay: %s", lane.name, error)
        if saved:
            self._bell.tell_forwarded(saved)
