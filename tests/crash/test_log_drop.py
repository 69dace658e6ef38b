"""kill -9 while the oldest segments are dropped: every number is in a segment or in the file of a gap."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path
from random import Random

import pytest

from bridge.log.dropped import dropped_at
from bridge.log.errors import LogDamaged
from bridge.log.reader import LogReader
from tests.crash.log_child import payload
from tests.crash.test_log_kill import CHECKOUT, lines
from tests.support.effort import EFFORT
from tests.unit.log.lane import LOG_ID, SMALL

ROUNDS = 25 * EFFORT


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


def live(directory: Path, seed: int) -> int:
    """One life of a child that drops; returns the last position that it reported."""
    command = [sys.executable, "-m", "tests.crash.log_child", str(directory), "4000", str(seed), "drop"]
    child = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd=CHECKOUT
    )
    reported, killer = 0, None
    for word, number in lines(child):
        assert word in ("started", "committed")
        reported = number
        if killer is None:
            killer = threading.Timer(Random(seed).uniform(0.01, 0.15), child.kill)
            killer.start()
    child.wait()
    return reported


def test_killed_at_any_moment_nothing_is_lost_in_silence(tmp_path: Path) -> None:
    reported = dropped = 0
    for seed in range(ROUNDS):
        before, reported = reported, live(tmp_path, seed)
        assert reported >= before
        dropped = account_for(tmp_path, reported)
    assert dropped > 0
    assert len(list(tmp_path.glob("*.seg"))) <= SMALL.max_bytes // SMALL.segment_bytes
