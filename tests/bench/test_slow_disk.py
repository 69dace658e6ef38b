"""The memory card of `./dev bench queue --slow-disk` keeps what is written to it, and takes each write by itself."""

from __future__ import annotations

import os
from contextlib import ExitStack
from pathlib import Path

import pytest

from bridge.config import MIB
from tests.bench.queue import Disk
from tests.bench.support.slow_disk import NoSlowDiskError, slow_disk


def test_a_card_keeps_what_is_written_and_is_gone_afterwards(tmp_path: Path) -> None:
    content = os.urandom(3 * MIB + 5)
    with ExitStack() as undo:
        try:
            mounted = undo.enter_context(slow_disk(tmp_path, 64 * MIB)).directory
        except NoSlowDiskError as error:
            pytest.skip(f"a slow disk cannot be had here: {error}")
        disk, file = Disk(mounted), mounted / "file"
        file.write_bytes(content)
        before = disk.counts()
        with file.open("r+b") as writing:
            os.pwrite(writing.fileno(), bytes(4096), 4096)
            os.fdatasync(writing.fileno())
            os.posix_fadvise(writing.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        after = disk.counts()
        assert file.read_bytes() == content[:4096] + bytes(4096) + content[8192:]
        assert before is not None
        assert after is not None
        assert after.writes > before.writes
        assert after.bytes_written >= before.bytes_written + 4096
        assert after.flushes == before.flushes, "a card without a cache"
    assert not any(str(tmp_path) in line for line in Path("/proc/mounts").read_text().splitlines())
    assert str(tmp_path) not in "".join(path.read_text() for path in Path("/sys/block").glob("loop*/loop/backing_file"))
