"""Link: how the way to the sink is, told once per change to the log, and to the device side as it goes."""

from __future__ import annotations

import copy
import logging
import re
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from typing import Final

from bridge.bus_side.bell import Bell
from bridge.bus_side.catch_up import CatchUp
from bridge.bus_side.sink import LaneBatch, Written
from bridge.log.doorbell import Figures, Health, LaneFigures

_log = logging.getLogger(__name__)
_NUMBERS = re.compile("[0-9]+")
_CAUSES_MAX: Final = 16
"""Of one outage: more than these are not told apart any more."""
_PATIENCE_S: Final = 30.0
_MIB: Final = 1 << 20


class Link:
    """One for the process. `now_s` reads the wall clock, in seconds since the epoch."""

    def __init__(self, name: str, bell: Bell, now_s: Callable[[], float]) -> None:
        self._name = name
        self._bell = bell
        self._now_s = now_s
        self._health = Health("starting", now_s())
        self._told: Health | None = None
        self._causes: set[str] = set()
        """Of the outage that goes on, those the log has been told of."""
        self._catch_up = CatchUp()
        self._caught: tuple[float, int] | None = None
        """When the catch-up that goes on began, by the clock of `measure`, and how much was forwarded until then."""

    @property
    def figures(self) -> Figures:
        """What is counted as it comes about."""
        return self._health.figures

    @property
    def is_connected(self) -> bool:
        """As far as is known."""
        return self._health.state == "connected"

    def trying(self, what: str) -> None:
        """`what` is about to be tried, in plain words."""
        self._health.tried, self._health.tried_what = self._now_s(), what

    def connected(self) -> None:
        self._causes.clear()
        self._enter("connected", "", logging.INFO, f"{self._name} is connected")

    def away(self, detail: str) -> None:
        """It is tried again by itself."""
        words = f"{self._name} is away, the queue grows and it is tried again: {detail}"
        self._fail("away", detail, logging.WARNING, words)

    def refused(self, detail: str) -> None:
        """It is tried again by itself, but somebody has to put something right."""
        words = f"{self._name} refuses what is configured; the queue grows and it is tried again: {detail}"
        self._fail("refused", detail, logging.ERROR, words)

    def fenced(self, detail: str) -> None:
        """It is not tried again."""
        self._fail("fenced", detail, logging.ERROR, detail)

    def wrote(self, batches: Iterable[LaneBatch], written: Written) -> None:
        """One write went through."""
        figures = self.figures
        figures.transactions_committed += 1
        figures.wire_bytes += written.wire_bytes
        figures.superseded += written.superseded
        figures.gateways = written.gateways or figures.gateways
        for batch in batches:
            records = written.records.get(batch.lane, 0)
            lane = figures.lanes.setdefault(batch.lane, LaneFigures())
            lane.forwarded_records += records
            lane.forwarded_bytes += batch.bytes
            self._health.forwarded_records += records
        for reason, count in written.dead_letters.items():
            figures.dead_letters[reason] = figures.dead_letters.get(reason, 0) + count

    def measure(self, now_s: float, waiting: Mapping[str, tuple[int, int]], held: Container[str] = ()) -> None:
        """Takes how much waits, records and bytes by lane, and tells the device side how all is.

        Args:
            now_s: of a clock that only rises.
            waiting: by lane.
            held: lanes that wait for company: no backlog to be caught up with.
        """
        for name, (records, size) in waiting.items():
            lane = self.figures.lanes.setdefault(name, LaneFigures())
            lane.waiting_records, lane.waiting_bytes = records, size
        self._look_ahead(now_s, [lane for name, lane in self.figures.lanes.items() if name not in held])
        self.tell()

    def tell(self) -> None:
        """Tells the device side, if there is anything new."""
        if self._health != self._told:
            self._told = copy.deepcopy(self._health)
            self._bell.tell_health(self._told)

    def _look_ahead(self, now_s: float, lanes: Sequence[LaneFigures]) -> None:
        if self._health.state != "connected":
            self._catch_up.pause()
            self._caught = None
        else:
            forwarded = sum(lane.forwarded_bytes for lane in self.figures.lanes.values())
            self._catch_up.observe(now_s, sum(lane.waiting_bytes for lane in lanes), forwarded)
        self.figures.catch_up_s = self._catch_up.seconds
        if self._catch_up.active == (self._caught is not None):
            return
        if self._caught is None and self._catch_up.seconds is None and self._catch_up.active_s < _PATIENCE_S:
            return  # a moment in which nothing went out: no word of it unless it stays so
        if self._caught is None:
            self._say_begins(now_s, sum(lane.waiting_records for lane in lanes), sum(x.waiting_bytes for x in lanes))
        else:
            begun, before = self._caught
            self._caught = None
            count, seconds = self._health.forwarded_records - before, now_s - begun
            _log.info("caught up: %s records in %s", f"{count:,}", _duration(seconds))

    def _say_begins(self, now_s: float, records: int, size: int) -> None:
        self._caught = (now_s, self._health.forwarded_records)
        seconds = self._catch_up.seconds
        when = f"done in about {_duration(seconds)}" if seconds is not None else "more comes in than goes out"
        _log.info("catching up: %s records (about %d MiB) wait; %s", f"{records:,}", -(-size // _MIB), when)

    def _fail(self, state: str, detail: str, level: int, words: str) -> None:
        cause = _NUMBERS.sub("", detail)
        if state == self._health.state and cause not in self._causes and len(self._causes) < _CAUSES_MAX:
            _log.log(level, "%s is still %s, now for another reason: %s", self._name, state, detail)
        self._causes.add(cause)
        self._health.last_error = detail
        self._enter(state, detail, level, words)

    def _enter(self, state: str, detail: str, level: int, words: str) -> None:
        health = self._health
        if state != health.state:
            health.state, health.since = state, self._now_s()
            _log.log(level, "%s", words)
        health.detail = detail
        self.tell()


def _duration(seconds: float) -> str:
    """As a person says it: two units at the most."""
    whole = max(1, round(seconds))
    for size, unit, below, under in ((86_400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if whole >= size:
            rest = whole % size // below
            return f"{whole // size} {unit} {rest} {under}" if rest else f"{whole // size} {unit}"
    return f"{whole} s"
