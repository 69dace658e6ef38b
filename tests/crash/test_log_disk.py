"""A disk that is full: a state, never an exception on the way of a message."""

from __future__ import annotations

import itertools
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from bridge.log.cursor import Cursor
from bridge.log.errors import LogFull
from bridge.log.settings import LogSettings
from tests.unit.log.lane import KIB, LOG_ID, Lane

ROOMY = LogSettings(max_bytes=64 << 20, segment_bytes=64 * KIB)


@pytest.fixture(params=["size=1M", "size=8M,nr_inodes=12"], ids=["no bytes left", "no inodes left"])
def small_disk(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Path]:
    """A file system that is full when statvfs says so, and one that is full although it says there is room."""
    if os.geteuid() != 0:
        pytest.skip("needs root to mount a small tmpfs")
    mounted = tmp_path / "disk"
    mounted.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", request.param, "tmpfs", mounted], capture_output=True, check=False
    )
    if done.returncode:
        pytest.skip(f"cannot mount a tmpfs here: {done.stderr.decode().strip()}")
    yield mounted
    subprocess.run(["umount", "-l", mounted], check=True)


def fill(disk: Path, leave: int = 0) -> None:
    """Others take the whole disk, but for `leave` files of a segment's size."""
    for number in itertools.count():
        try:
            (disk / f"filler-{number}").write_bytes(bytes(ROOMY.segment_bytes))
        except OSError:
            break
    for back in range(leave):
        (disk / f"filler-{number - 1 - back}").unlink()


def empty(disk: Path) -> None:
    """The others go."""
    for path in disk.glob("filler-*"):
        path.unlink()


def filled(lane: Lane) -> list[bytes]:
    """Everything that fitted on the disk."""
    payloads = [(b"%d" % each).zfill(1500) for each in range(lane.fill(1500))]
    assert lane.writer.full
    with pytest.raises(LogFull, match=r"are free, the floor is|No space left"):
        lane.append(bytes(1500))
    assert not lane.failures
    assert lane.payloads() == payloads
    return payloads


def test_a_full_disk_is_a_state_that_forwarding_ends(small_disk: Path) -> None:
    Cursor.save(small_disk, LOG_ID, 1)
    lane = Lane(small_disk, ROOMY)
    payloads = filled(lane)
    assert len(payloads) > 200
    fill(small_disk)
    Cursor.save(small_disk, LOG_ID, lane.writer.committed)
    assert Cursor.load(small_disk) == Cursor(LOG_ID, lane.writer.committed)
    lane.writer.forwarded(lane.writer.committed)
    lane.wait(lambda: not lane.writer.full)
    position = lane.writer.next_seq
    assert lane.commit(b"again", b"and again") == [position, position + 1]
    assert lane.payloads(position) == [b"again", b"and again"]
    lane.writer.close()
    assert not lane.failures


def test_a_disk_that_others_filled_is_used_again_when_they_go(small_disk: Path) -> None:
    fill(small_disk, leave=3)
    lane = Lane(small_disk, ROOMY)
    before = len(filled(lane))
    empty(small_disk)
    lane.wait(lambda: not lane.writer.full)
    lane.commit(b"again")
    assert lane.fill(1500) > before
    lane.writer.close()
    assert not lane.failures


def test_a_log_starts_on_a_full_disk(small_disk: Path) -> None:
    lane = Lane(small_disk, ROOMY)
    payloads = filled(lane)
    lane.writer.close()
    lane.open()
    assert lane.payloads() == payloads
    lane.writer.close()


def test_an_empty_log_starts_on_a_full_disk(small_disk: Path) -> None:
    directory = small_disk / "lane"
    directory.mkdir()
    fill(small_disk)
    lane = Lane(directory, ROOMY)
    assert lane.writer.full
    empty(small_disk)
    lane.wait(lambda: not lane.writer.full)
    assert lane.commit(b"x") == [1]
    lane.writer.close()
