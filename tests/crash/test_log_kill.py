"""kill -9 at any moment, while another process reads and segments are recycled: what was reported is there, once."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest

from bridge.log.cursor import Cursor
from bridge.log.reader import LogReader
from tests.crash.log_child import payload
from tests.crash.nursery import Nursery
from tests.support.effort import EFFORT
from tests.unit.log.lane import LOG_ID, SMALL

ROUNDS = 100 * EFFORT
LIFE_MAX_S = 0.15


class Follower:
    """The reading side: takes every record there is, and every record must be the next one, with its own content."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.reader = LogReader(directory, LOG_ID, 1)

    def follow(self, committed: int) -> None:
        while self.reader.position < committed:
            before = self.reader.position
            records = self.reader.read(committed, 500, 1 << 20)
            assert [each.seq for each in records] == list(range(before, before + len(records)))
            assert records
            for each in records:
                assert each.payload == payload(each.seq, len(each.payload) - len(b"%d." % each.seq))

    def forwarded(self) -> int:
        Cursor.save(self.directory, LOG_ID, self.reader.position)
        return self.reader.position


def run_and_kill(nursery: Nursery, follower: Follower, max_payload: int, seed: int, reported: int) -> int:
    """One life of the child on what those before it have `reported`; returns the last position that it reported."""
    random = Random(seed)
    for word, number in nursery.live(follower.directory, max_payload, seed, random.uniform(0, LIFE_MAX_S)):
        if word == "started":
            assert number >= reported, f"round {seed}: {reported - number} reported records are gone"
        else:
            assert number > reported
        reported = number
        follower.follow(reported)
        if random.random() < 0.1:
            nursery.tell(follower.forwarded())
    return reported


@pytest.mark.parametrize("max_payload", [200, 9_000])
def test_what_was_reported_is_there_in_order_once(tmp_path: Path, max_payload: int) -> None:
    follower = Follower(tmp_path)
    reported = 1
    with Nursery() as nursery:
        for seed in range(ROUNDS):
            reported = run_and_kill(nursery, follower, max_payload, seed, reported)
    assert reported > ROUNDS
    assert len(list(tmp_path.glob("*.seg"))) <= SMALL.max_bytes // SMALL.segment_bytes
    assert int(min(tmp_path.glob("*.seg")).stem) > 1, "nothing was ever recycled"
