"""One daemon a data directory, whatever became of the last one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from bridge.device_side.lock import DirectoryLock, Locked

HOLDER = """
import sys, time
from pathlib import Path
from bridge.device_side.lock import DirectoryLock
with DirectoryLock(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""

OPENED = """
import os, sys
from pathlib import Path
from bridge.device_side.lock import DirectoryLock
opened = []
sys.addaudithook(lambda event, args: opened.append(str(args[0])) if event == "open" else None)
with DirectoryLock(Path(sys.argv[1])):
    print("\\n".join(path for path in opened if os.path.isdir(path)))
"""


def holder(directory: Path) -> subprocess.Popen[str]:
    """A process that has the lock."""
    process = subprocess.Popen([sys.executable, "-c", HOLDER, str(directory)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_a_second_process_is_refused_with_the_pid_and_gets_in_after_a_kill(tmp_path: Path) -> None:
    process = holder(tmp_path)
    try:
        with pytest.raises(Locked, match=f"is in use by process {process.pid}: "), DirectoryLock(tmp_path):
            pytest.fail("two have the lock")
    finally:
        process.kill()
        process.wait()
    with DirectoryLock(tmp_path):
        assert (tmp_path / "lock").read_text().strip() != str(process.pid)


def test_it_is_given_back_at_the_end_of_the_block_and_a_longer_pid_leaves_no_trace(tmp_path: Path) -> None:
    (tmp_path / "lock").write_text("99999999999999\n")
    for _ in range(2):
        with DirectoryLock(tmp_path):
            assert len((tmp_path / "lock").read_text()) < 15


def test_the_directory_is_made_for_its_owner_alone(tmp_path: Path) -> None:
    with DirectoryLock(tmp_path / "a" / "b"):
        assert (tmp_path / "a" / "b").stat().st_mode & 0o777 == 0o700


def test_a_new_directory_has_its_name_on_the_disk_and_so_have_those_above_it(tmp_path: Path) -> None:
    directory = tmp_path / "a" / "b"
    command = [sys.executable, "-c", OPENED, str(directory)]
    for left_by_a_crash in (False, True):
        if left_by_a_crash:
            (directory / "lock").unlink()
        synced = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout.split()
        expected = {str(directory.parent)} if left_by_a_crash else {str(tmp_path), str(directory.parent)}
        assert set(synced) == expected
    assert not subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout.split()


def test_a_child_does_not_keep_the_lock(tmp_path: Path) -> None:
    with DirectoryLock(tmp_path):
        command = [sys.executable, "-c", "print(1, flush=True); input()"]
        child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, close_fds=False)
        assert child.stdout is not None
        assert child.stdout.readline() == b"1\n"  # Popen returns a moment before exec has closed the descriptors
    try:
        with DirectoryLock(tmp_path):
            assert child.poll() is None
    finally:
        child.communicate(b"\n")
