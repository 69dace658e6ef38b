"""Bad sectors (EIO) in the newest segment: it starts, what can be read is read, what cannot is a gap."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from bridge.log.segment import PAGE_BYTES
from tests.crash.conftest import Preload
from tests.unit.log.lane import Lane

CHECKOUT = Path(__file__).parents[2]
COUNT = 9


def salvage(
    segment: Path, shim: dict[str, str], bad: tuple[int, int]
) -> tuple[dict[int, str], list[tuple[int, int]], str]:
    """What a process on such a disk read, by number; the gaps that it met; what it logged."""
    spoilt = {"FAIL_READ_OF": segment.name, "FAIL_READ_FROM": str(bad[0]), "FAIL_READ_TO": str(bad[1])}
    environment = {**os.environ, **shim, **spoilt}
    command = [sys.executable, "-m", "tests.crash.log_salvage", str(segment.parent)]
    child = subprocess.run(
        command, cwd=CHECKOUT, env=environment, capture_output=True, text=True, timeout=30, check=False
    )
    assert child.returncode == 0, child.stderr
    words = [line.split() for line in child.stdout.splitlines()]
    records = {int(seq): text for kind, seq, text in words if kind == "record"}
    return records, [(int(first), int(after)) for kind, first, after in words if kind == "gap"], child.stderr


@pytest.mark.parametrize("page", range(6))
def test_bad_sectors_in_the_newest_segment_do_not_keep_it_from_starting(
    tmp_path: Path, preload: Preload, page: int
) -> None:
    lane = Lane(tmp_path)
    payloads = {seq: f"{seq:04d}".ljust(3_000, ".") for seq in range(1, COUNT + 1)}
    for text in payloads.values():
        lane.commit(text.encode())
    lane.writer.close()
    (path,) = lane.segments()
    content = path.read_bytes()
    at = page * PAGE_BYTES + 100
    hit = {seq for seq, text in payloads.items() if overlaps(content, text.encode(), page)}
    records, gaps, log = salvage(path, preload("fail_read.c"), (at, at + 1))
    new = max(records)
    assert records.pop(new) == "new"
    assert new > COUNT
    missing = {seq for first, after in gaps for seq in range(first, after)}
    assert missing | set(records) == set(range(1, new))
    assert not missing & set(records)
    assert all(payloads[seq] == text for seq, text in records.items())
    assert path.name in log
    assert (tmp_path / "quarantine").is_dir()
    if page == 0:
        assert not records, "without the header nothing can be believed"
    else:
        assert set(range(1, COUNT + 1)) - set(records) <= hit


def overlaps(content: bytes, payload: bytes, page: int) -> bool:
    """Whether the record, or the head of the frame around it, has bytes in the page."""
    at = content.index(payload)
    return at - 200 < (page + 1) * PAGE_BYTES and at + len(payload) > page * PAGE_BYTES
