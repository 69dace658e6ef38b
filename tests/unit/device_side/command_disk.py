"""What commands stand on, in memory: a lane and a store of which a test says how much has reached the disk."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from bridge.device_side.cold import Changes, ColdStore, Table
from bridge.device_side.uplink import Lane
from bridge.log.errors import LogFull
from bridge.log.record import Record, decode

_Callback = Callable[[], object]


class Disk:
    """What a power cut leaves."""

    def __init__(self) -> None:
        self.log: list[Record] = []
        self.tables: dict[Table, dict[str, bytes]] = {}


class MemoryStore(ColdStore):
    """As the cold store; each `put`, `put_all` and call-back is a step, and the disk has the first so many of them."""

    def __init__(self, disk: Disk) -> None:
        self._disk = disk
        self.steps: list[Changes | _Callback] = []

    def load(self, table: Table) -> Iterator[tuple[str, bytes]]:
        yield from list(self._disk.tables.get(table, {}).items())

    def get(self, table: Table, key: str) -> bytes | None:
        return self._disk.tables.get(table, {}).get(key)

    def write_all(self, changes: Changes) -> None:
        self._apply(changes)

    def put(self, table: Table, key: str, value: bytes | None) -> None:
        self.steps.append({(table, key): value})

    def put_all(self, changes: Mapping[tuple[Table, str], bytes | None]) -> None:
        self.steps.append(dict(changes))

    def after_commit(self, callback: _Callback) -> None:
        self.steps.append(callback)

    def commit(self, count: int, *, heard: bool = True) -> None:
        """The oldest `count` steps are on disk; not `heard`: the power went before anybody was told."""
        done, self.steps = self.steps[:count], self.steps[count:]
        for step in done:
            if not callable(step):
                self._apply(step)
            elif heard:
                step()

    def _apply(self, changes: Mapping[tuple[Table, str], bytes | None]) -> None:
        for (table, key), value in changes.items():
            rows = self._disk.tables.setdefault(table, {})
            if value is None:
                rows.pop(key, None)
            else:
                rows[key] = value


class _Writer:
    next_seq = 1


class MemoryLane(Lane):
    """As a lane of the uplink; what is appended is on disk when the test says so, and heard of when it says that."""

    def __init__(self, disk: Disk, appended: Callable[[Record], None]) -> None:
        self._disk = disk
        self._appended = appended
        self._pending: list[tuple[Record, _Callback]] = []
        self._unheard: list[_Callback] = []
        self.full = False
        self.writer: Any = _Writer()
        self.writer.next_seq = len(disk.log) + 1
        self.append = self._append

    @property
    def blocked(self) -> bool:
        return self.full

    def tail(self, position: int) -> Iterable[Record]:
        """What is on disk from there on."""
        return self._disk.log[position - 1 :]

    def commit(self, count: int) -> None:
        """The oldest `count` records are on disk."""
        done, self._pending = self._pending[:count], self._pending[count:]
        for record, token in done:
            self._disk.log.append(record)
            self._unheard.append(token)

    def hear(self) -> None:
        """Whoever waits for what is on disk is told."""
        heard, self._unheard = self._unheard, []
        for token in heard:
            token()

    def _append(self, record: bytes, token: Any = None, effect: object = None) -> int:
        if self.full:
            raise LogFull("the test says so")
        seq: int = self.writer.next_seq
        self.writer.next_seq = seq + 1
        made = decode(record, seq, bytes(16))
        self._pending.append((made, token))
        self._appended(made)
        return seq
