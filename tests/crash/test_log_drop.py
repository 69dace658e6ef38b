"""kill -9 while the oldest segments are dropped: every number is in a segment or in the file of a gap."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest

from bridge.log.dropped import dropped_at
from bridge.log.errors import LogDamaged
from bridge.log.reader import LogReader
from tests.crash.log_child import payload
from tests.crash.nursery import Nursery
from tests.support.effort import EFFORT
from tests.unit.log.lane import LOG_ID, SMALL

ROUNDS = 100 * EFFORT


def account_for(directory: Path, committed: int) -> int:
    """Walks from the first number to `committed` as the forwarder does; returns how many were dropped on the way."""
    reader, dropped = LogReader(directory, LOG_ID, 1), 0
    while reader.position < committed:
        before = reader.position
        try:
            for record in reader.read(committed, 500, 1 << 20):
                assert record.payload == payload(record.seq, len(record.payload) - len(b"%d." % record.seq))
        except LogDamaged as damage:
            if (gone := dropped_at(directory, before)) is None:
                pytest.fail(f"neither there nor dropped: {damage}")
            assert sum(stream.count for stream in gone.streams) == gone.next_seq - before
            dropped += gone.next_seq - before
            reader.close()
            reader = LogReader(directory, LOG_ID, gone.next_seq)
    reader.close()
    return dropped


def live(nursery: Nursery, directory: Path, seed: int, reported: int) -> int:
    """One life of a child that drops; returns the last position that was reported."""
    for _, number in nursery.live(directory, 4000, seed, Random(seed).uniform(0, 0.15), "drop"):
        assert number >= reported
        reported = number
    return reported


def test_killed_at_any_moment_nothing_is_lost_in_silence(tmp_path: Path) -> None:
    reported = dropped = 0
    with Nursery() as nursery:
        for seed in range(ROUNDS):
            reported = live(nursery, tmp_path, seed, reported)
            dropped = account_for(tmp_path, reported)
    assert dropped > 0
    assert len(list(tmp_path.glob("*.seg"))) <= SMALL.max_bytes // SMALL.segment_bytes
