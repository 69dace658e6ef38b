"""The disk refuses a call, or a run of them: what was reported is there, and it goes on by itself or ends in words.

Where a spare cannot be made or a segment not taken back it is tried again; where a segment cannot be written it ends,
for nothing may be written to that file again, and the next start takes up all that was reported.
"""

from __future__ import annotations

import contextlib
import errno
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.crash.conftest import Preload
from tests.crash.log_child import payload
from tests.crash.nursery import CHECKOUT
from tests.crash.test_log_kill import Follower
from tests.support.effort import EFFORT
from tests.unit.log.lane import Lane, read_all

ENOUGH = 150
"""Commits after which the child has been through all that it does, and has gone on behind the failure."""
RETRIED = {"write", "unlink"}
"""Calls that only make and remove files that nobody writes to yet, or any more."""
CALLS = ("open", "write", "pwritev", "pwrite", "fdatasync", "fsync", "rename", "unlink", "mkdir")
FIRST = [1, 3, 8, 2, 5, 12, 20, 30, 40, 60][: 2 + EFFORT]
CASES = [(call, errno.ENOSPC) for call in CALLS] + [(call, errno.EIO) for call in ("fdatasync", "fsync", "pwritev")]


class End(NamedTuple):
    """How a child's life ended."""

    reported: int
    failed: str
    """What it said; empty: it went on until it was killed."""
    stderr: str
    code: int


def live(directory: Path, environment: dict[str, str]) -> End:
    """One life with a reader that keeps up, until the child fails or has gone on for long enough."""
    command = [sys.executable, "-m", "tests.crash.log_child", str(directory), "4000", "1"]
    child = subprocess.Popen(
        command, cwd=CHECKOUT, env={**os.environ, **environment},
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    killer = threading.Timer(60, child.kill)
    killer.start()
    follower, reported, commits, failed = Follower(directory), 1, 0, ""
    assert child.stdout is not None
    for line in child.stdout:
        word, _, rest = line.decode().strip().partition(" ")
        if word == "failed":
            failed = rest
        elif word == "committed":
            assert not failed, "something was reported as committed after the failure"
            reported, commits = int(rest), commits + 1
            follower.follow(reported)
            if commits % 10 == 0:
                tell(child, follower.forwarded())
        if commits >= ENOUGH:
            child.kill()
    assert child.stderr is not None
    stderr = child.stderr.read().decode()
    code = child.wait()
    killer.cancel()
    return End(reported, failed, stderr, code)


def tell(child: subprocess.Popen[bytes], position: int) -> None:
    """The child may be dead already."""
    assert child.stdin is not None
    with contextlib.suppress(BrokenPipeError):
        child.stdin.write(b"%d\n" % position)
        child.stdin.flush()


def refuse(directory: Path, call: str, first: int, error: int, count: int = 1) -> dict[str, str]:
    """The environment in which so many of these calls fail, from the `first` on."""
    numbers = {"FAIL_FROM": str(first), "FAIL_TO": str(first + count), "FAIL_ERRNO": str(error), "FAIL_WATCH": "1"}
    return {"FAIL_CALL": call, "FAIL_BELOW": f"{directory}/", **numbers}


def check(directory: Path, end: End) -> None:
    """All that was reported is there, and another start goes on."""
    lane = Lane(directory)
    assert lane.writer.next_seq >= end.reported
    oldest = int(lane.segments()[0].stem) if lane.segments() else 1
    records = read_all(directory, lane.writer.committed, oldest)
    assert [each.seq for each in records] == list(range(oldest, lane.writer.next_seq))
    assert all(each.payload.startswith(payload(each.seq, 0)) for each in records)
    lane.commit(b"goes on after a restart")
    assert not lane.failures
    lane.writer.close()


@pytest.mark.parametrize(("call", "error"), CASES, ids=[f"{call} {errno.errorcode[error]}" for call, error in CASES])
def test_one_call_is_refused(tmp_path: Path, preload: Preload, call: str, error: int) -> None:
    for first in FIRST:
        directory = tmp_path / f"{call}-{first}" / "lane"
        directory.parent.mkdir()
        end = live(directory, preload("fail_calls.c") | refuse(directory.parent, call, first, error))
        refused = "failed on purpose" in end.stderr
        if end.failed:
            assert os.strerror(error) in end.failed
        elif end.code > 0:
            assert end.reported == 1, end.stderr
            assert os.strerror(error) in end.stderr.splitlines()[-1], "it could not even start, and said why"
        else:
            assert "Traceback" not in end.stderr
        if call in RETRIED:
            assert not end.failed
        if call in ("fdatasync", "pwritev"):
            assert end.failed or not refused
            assert "after the failure" not in end.stderr
        check(directory, end)


def test_what_is_refused_for_a_while_is_done_when_it_is_not_any_more(tmp_path: Path, preload: Preload) -> None:
    directory = tmp_path / "lane"
    end = live(directory, preload("fail_calls.c") | refuse(tmp_path, "write", 4, errno.ENOSPC, count=3))
    assert "failed on purpose" in end.stderr
    assert (end.failed, end.code) == ("", -9)
    check(directory, end)


@pytest.mark.parametrize("call", ["fdatasync", "pwritev"])
def test_a_failed_write_is_never_tried_again(tmp_path: Path, preload: Preload, call: str) -> None:
    for first in (2, 3, 20, 40):
        directory = tmp_path / str(first) / "lane"
        end = live(directory, preload("fail_calls.c") | refuse(directory.parent, call, first, errno.EIO))
        assert "Input/output error" in end.failed
        assert end.stderr.count("failed on purpose") == 1
        assert "after the failure" not in end.stderr
        check(directory, end)
