"""A disk that is full, and one that fails: a state and an end, never an exception on the way of a message."""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bridge.log.cursor import Cursor
from bridge.log.errors import LogFull
from bridge.log.settings import LogSettings
from tests.crash.log_child import payload
from tests.unit.log.lane import KIB, LOG_ID, Lane, read_all

CHECKOUT = Path(__file__).parents[2]
SHIM = Path(__file__).with_name("fail_sync.c")
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


@pytest.fixture(scope="module")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A library that lets a chosen fdatasync or pwritev fail."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("needs a C compiler for the library that lets syncs fail")
    library = tmp_path_factory.mktemp("shim") / "fail_sync.so"
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", library, SHIM, "-ldl"], check=True)
    return library


@pytest.mark.parametrize("call", ["FAIL_FDATASYNC", "FAIL_PWRITEV"])
@pytest.mark.parametrize("nth", [2, 3, 20, 40])
def test_a_failed_write_is_never_tried_again(tmp_path: Path, shim: Path, call: str, nth: int) -> None:
    command = [sys.executable, "-m", "tests.crash.log_child", str(tmp_path), "300", "1"]
    environment = {**os.environ, "LD_PRELOAD": str(shim), call: str(nth)}
    child = subprocess.run(command, cwd=CHECKOUT, env=environment, capture_output=True, timeout=20, check=True)
    said = [line.split(" ", 1) for line in child.stdout.decode().splitlines()]
    words = [word for word, _ in said]
    assert words.count("failed") == 1
    assert words[-1] == "failed", "something was reported as committed after the failure"
    assert "Input/output error" in said[-1][1]
    assert child.stderr.decode().count("failed on purpose") == 1
    assert "after the failure" not in child.stderr.decode()
    reported = max([1, *(int(number) for word, number in said if word == "committed")])
    lane = Lane(tmp_path)
    records = read_all(tmp_path, lane.writer.committed)
    assert lane.writer.next_seq >= reported
    assert [each.seq for each in records] == list(range(1, lane.writer.next_seq))
    assert all(each.payload.startswith(payload(each.seq, 0)) for each in records)
    lane.commit(b"goes on after a restart")
    lane.writer.close()
