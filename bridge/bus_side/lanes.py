"""Lanes: what the forwarder reads, lane by lane, and who gets how much of one transaction."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from pathlib import Path

import msgspec

from bridge.bus_side.backlog import record_bytes, waiting_bytes
from bridge.bus_side.sink import LaneBatch
from bridge.config import Lane as Settings
from bridge.log.cursor import Cursor
from bridge.log.dropped import Dropped, dropped_at, names_in
from bridge.log.queue_key import Keyring
from bridge.log.reader import LogReader, oldest_position

_log = logging.getLogger(__name__)


class Budget(msgspec.Struct):
    """How much one transaction may carry: halved when one fails, doubled when one succeeds.

    On a link so slow that a full transaction outlives its time-out, only smaller ones ever get through.
    """

    records_max: int
    bytes_max: int
    part: float = 1.0
    """Of both, 0 < part <= 1."""

    @property
    def records(self) -> int:
        return max(1, int(self.records_max * self.part))

    @property
    def bytes(self) -> int:
        return max(1, int(self.bytes_max * self.part))

    def shrink(self) -> None:
        self.part = max(self.part / 2, 1 / self.records_max)

    def grow(self) -> None:
        self.part = min(1.0, self.part * 2)


def furthest(known: Iterable[int | None], oldest: int, committed: int) -> int:
    """Where to go on reading: the furthest of the known positions of this log; the oldest record if there is none.

    One that lies behind the log's own end is none of it: the disk lost what it had promised to keep, the lost numbers
    are given out again, and those records are new. One before the oldest record is a gap, and will be told.
    """
    return max((position for position in known if position is not None and position <= committed), default=oldest)


def shares(weights: Mapping[str, int], backlog: Mapping[str, int], budget: int) -> dict[str, int]:
    """Divides `budget` records among the lanes with a backlog (in records) by weight.

    What a lane does not need goes to the others; every lane with a backlog gets at least one record.
    """
    waiting = {lane: count for lane, count in backlog.items() if count > 0}
    given: dict[str, int] = {}
    # The one that needs the least for its weight first: what it leaves over is then there for the others.
    for lane in sorted(waiting, key=lambda name: waiting[name] / weights[name]):
        total = sum(weights[other] for other in waiting if other not in given)
        part = max(1, budget * weights[lane] // total)
        given[lane] = min(part, waiting[lane])
        budget = max(0, budget - given[lane])
    return given


class Lane:
    """One lane's reader and how far it has come."""

    def __init__(
        self, name: str, directory: Path, log_id: bytes, settings: Settings, keys: Keyring | None = None
    ) -> None:
        """The reader begins where the cursor on disk says; see `go_to`. Raises OSError."""
        self.name = name
        self.weight = settings.weight
        self._settings = settings
        self._lingers_since: float | None = None
        self._directory = directory
        self._log_id = log_id
        self._keys = keys or Keyring()
        cursor = Cursor.load(directory)
        self.saved = cursor.position if cursor is not None and cursor.log_id == log_id else None
        """The durable cursor; None: this log has none."""
        self.done = self.saved
        """Forwarded up to here, as far as this process and the cursor know."""
        self._not_before_s = 0.0
        """By a rising clock: what was given back is not read again before."""
        self._record_bytes = 0.0
        """Of one record, as the last ones were; 0: none was read yet."""
        self._reader = LogReader(directory, log_id, self.saved, self._keys)

    @property
    def position(self) -> int:
        """The next record to be read."""
        return self._reader.position

    def go_to(self, held: int | None, committed: int) -> None:
        """Goes on at the furthest position known, `held` being what the sink says."""
        self._reader.close()
        begins = [oldest_position(self._directory), *(seq for seq, _ in names_in(self._directory)[:1])]
        position = furthest((held, self.done), min(begins), committed)
        if held is not None and held > committed:
            _log.error(
                "lane %s: the sink has the records before %d, and the log ends before %d: the disk has lost what it "
                "promised to keep, or somebody has removed it; going on at record %d, some may be sent twice",
                self.name, held, committed, position,
            )  # fmt: skip
        self._reader = LogReader(self._directory, self._log_id, position, self._keys)
        self.done = position

    def lingers_s(self, committed: int, now_s: float) -> float:
        """How much longer what waits here may wait for company; 0: it is to go now. `now_s`: of a rising clock."""
        settings = self._settings
        count = committed - self.position
        back_s = max(0.0, self._not_before_s - now_s) if count > 0 else 0.0
        if not settings.linger or count <= 0:
            self._lingers_since = None
            return back_s
        if self._lingers_since is None:
            self._lingers_since = now_s
        if count * self._each(committed) >= settings.linger_bytes:
            return back_s
        return max(back_s, self._lingers_since + settings.linger - now_s)

    def give_back(self, committed: int, not_before_s: float) -> None:
        """What was read and is not done is read again, but not before that moment of the clock of `lingers_s`."""
        self.go_to(None, committed)
        self._not_before_s = not_before_s

    def read(self, committed: int, max_records: int, max_bytes: int) -> LaneBatch:
        """The next records.

        Raises:
            LogDamaged: the next one cannot be read; see `skip_damage`.
        """
        before = self._reader.bytes_read
        records = self._reader.read(committed, max_records, max_bytes)
        size = self._reader.bytes_read - before
        self._lingers_since = None
        if records:
            self._record_bytes = size / len(records)
        return LaneBatch(self.name, records, self._reader.position, size)

    def waiting(self, committed: int) -> tuple[int, int]:
        """Records that are not forwarded yet, and about how many bytes they are on disk."""
        done = self.position if self.done is None else self.done
        return committed - done, waiting_bytes(self._directory, done, committed, self._each(committed))

    def _each(self, committed: int) -> float:
        """Bytes of one record, about."""
        if self._record_bytes == 0:
            self._record_bytes = record_bytes(self._directory, self._log_id, self.position, committed, self._keys)
        return self._record_bytes

    def skip_dropped(self) -> Dropped | None:
        """Goes on behind what the log has given up at this position; None: nothing, it is damage."""
        dropped = dropped_at(self._directory, self.position, self._keys)
        if dropped is not None:
            self._reader.close()
            self._reader = LogReader(self._directory, self._log_id, dropped.next_seq, self._keys)
        return dropped

    def skip_damage(self, committed: int) -> tuple[int, int]:
        """Goes on behind damaged records: the first that is lost, and the next to be read (or told of as dropped)."""
        first, after = self._reader.skip_damage(committed)
        dropped = [seq for seq, _ in names_in(self._directory) if first < seq < after]
        if dropped:
            after = dropped[0]
            self._reader = LogReader(self._directory, self._log_id, after, self._keys)
        return first, after

    def save(self) -> bool:
        """Makes `done` durable; False where it was. Raises OSError."""
        if self.done is None or self.done == self.saved:
            return False
        Cursor.save(self._directory, self._log_id, self.done)
        self.saved = self.done
        return True

    def close(self) -> None:
        self._reader.close()
