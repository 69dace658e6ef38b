"""Writer, reader, recycling and restarts in any order, against a list."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from bridge.log.cursor import Cursor
from bridge.log.errors import LogFull
from bridge.log.reader import LogReader
from bridge.log.settings import LogSettings
from tests.unit.log.lane import KIB, LOG_ID, Lane
from tests.unit.log.test_writer import Sum

SETTINGS = LogSettings(max_bytes=320 * KIB, segment_bytes=64 * KIB)
SIZES = st.one_of(st.integers(1, 50), st.integers(1, 3_000), st.integers(15_000, 20_000))


class LogMachine(RuleBasedStateMachine):
    """The oracle is `self.payloads`: record n is its element n - 1."""

    def __init__(self) -> None:
        super().__init__()
        self.directory = Path(tempfile.mkdtemp(prefix="log-machine-"))
        self.payloads: list[bytes] = []
        self.fold = Sum()
        self.lane = Lane(self.directory, SETTINGS, self.fold)
        self.reader = LogReader(self.directory, LOG_ID, 1)

    def teardown(self) -> None:
        self.lane.writer.close()
        self.reader.close()
        assert not self.lane.failures
        shutil.rmtree(self.directory)

    @rule(sizes=st.lists(SIZES, min_size=1, max_size=12), wait=st.booleans())
    def append(self, sizes: list[int], wait: bool) -> None:
        for size in sizes:
            payload = (b"%d" % len(self.payloads)).zfill(size)
            try:
                assert self.lane.append(payload) == [len(self.payloads) + 1]
            except LogFull:  # the invariant says that nothing was taken
                return
            self.payloads.append(payload)
        if wait:
            self.settle()

    @rule()
    def settle(self) -> None:
        self.lane.wait(lambda: self.lane.writer.committed == self.lane.writer.next_seq)

    @rule(max_records=st.integers(1, 30), max_bytes=st.integers(1, 40_000), times=st.integers(1, 10))
    def read(self, max_records: int, max_bytes: int, times: int) -> None:
        for _ in range(times):
            before, committed = self.reader.position, self.lane.writer.committed
            records = self.reader.read(committed, max_records, max_bytes)
            assert [each.payload for each in records] == self.payloads[before - 1 : before - 1 + len(records)]
            assert [each.seq for each in records] == list(range(before, before + len(records)))
            assert len(records) <= max_records
            assert bool(records) == (before < committed)

    @rule()
    def forward(self) -> None:
        Cursor.save(self.directory, LOG_ID, self.reader.position)
        self.lane.writer.forwarded(self.reader.position)

    @rule()
    def begin_at_the_cursor(self) -> None:
        cursor = Cursor.load(self.directory)
        self.reader.close()
        self.reader = LogReader(self.directory, LOG_ID, cursor.position if cursor else None)

    @rule()
    def restart(self) -> None:
        self.lane.writer.close()
        self.fold = Sum()
        self.lane.open(self.fold)
        assert self.lane.writer.next_seq == len(self.payloads) + 1
        assert self.fold.total == sum(range(len(self.payloads)))

    @rule()
    def make_room(self) -> None:
        self.settle()
        self.reader.close()
        self.reader = LogReader(self.directory, LOG_ID, self.lane.writer.committed)
        self.forward()
        self.lane.wait(lambda: not self.lane.writer.full)

    @invariant()
    def holds_its_bounds(self) -> None:
        with os.scandir(self.directory) as entries:  # by inode: a file may be renamed while they are listed
            files = {entry.inode() for entry in entries if entry.name.endswith(".seg") or "spare" in entry.name}
        assert len(files) * SETTINGS.segment_bytes <= SETTINGS.max_bytes
        assert 1 <= self.lane.writer.committed <= self.lane.writer.next_seq == len(self.payloads) + 1


LogMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=50, deadline=None)
TestLog = LogMachine.TestCase
