"""kill -9 at any moment, while another process reads and segments are recycled: what was reported is there, once."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from bridge.log.cursor import Cursor
from bridge.log.reader import LogReader
from tests.crash.log_child import payload
from tests.support.effort import EFFORT
from tests.unit.log.lane import LOG_ID, SMALL

CHECKOUT = Path(__file__).parents[2]


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


def lines(child: subprocess.Popen[bytes]) -> Iterator[tuple[str, int]]:
    """What the child said, whole lines only, to its end."""
    assert child.stdout is not None
    for line in child.stdout:
        if line.endswith(b"\n"):
            word, _, number = line.decode().strip().partition(" ")
            yield word, int(number)


def start(directory: Path, max_payload: int, seed: int) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "tests.crash.log_child", str(directory), str(max_payload), str(seed)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=CHECKOUT)


def run_and_kill(follower: Follower, max_payload: int, seed: int) -> tuple[int, int]:
    """One life of the child; returns where it started and the last position that it reported."""
    random = Random(seed)
    child = start(follower.directory, max_payload, seed)
    started = reported = 0
    killer = threading.Timer(60, child.kill)
    for word, number in lines(child):
        if word == "started":
            started = reported = number
            follower.follow(started)
            killer.cancel()
            killer = threading.Timer(random.uniform(0, 0.25), child.kill)
            killer.start()
        else:
            assert word == "committed"
            assert number > reported
            reported = number
            follower.follow(reported)
            if random.random() < 0.1:
                tell(child, follower.forwarded())
    killer.cancel()
    child.wait()
    assert child.stdin is not None
    with contextlib.suppress(BrokenPipeError):
        child.stdin.close()
    return started, reported


def tell(child: subprocess.Popen[bytes], position: int) -> None:
    """The child may be dead already."""
    assert child.stdin is not None
    with contextlib.suppress(BrokenPipeError):
        child.stdin.write(b"%d\n" % position)
        child.stdin.flush()


@pytest.mark.parametrize(("max_payload", "rounds"), [(200, 15 * EFFORT), (9_000, 15 * EFFORT)])
def test_what_was_reported_is_there_in_order_once(tmp_path: Path, max_payload: int, rounds: int) -> None:
    follower = Follower(tmp_path)
    reported = 1
    for seed in range(rounds):
        started, last = run_and_kill(follower, max_payload, seed)
        assert started >= reported, f"round {seed}: {reported - started} reported records are gone"
        reported = last
    assert reported > rounds
    assert len(list(tmp_path.glob("*.seg"))) <= SMALL.max_bytes // SMALL.segment_bytes
    assert int(min(tmp_path.glob("*.seg")).stem) > 1, "nothing was ever recycled"
