"""A real daemon on a real file system (ext4) whose card wears out, or that the kernel makes read-only.

Here nothing stands between the process and the kernel: fdatasync fails because the card refused what the page cache
had taken, and the kernel forgets those pages. The daemon ends and says why, to the log and to systemd, as often as it
is started; when the card is well again the next start has everything that was acknowledged.
"""

from __future__ import annotations

import errno
import os
import re
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from bridge.config import MIB
from tests.bench.support.slow_disk import NoSlowDiskError, SlowDisk, slow_disk
from tests.crash.test_daemon_disk import SMALL, VERSIONS, Publisher, numbers
from tests.interop.gateway import Gateway, wait_until


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[Gateway]:
    gateway = Gateway(tmp_path, SMALL)
    yield gateway
    if gateway.running:
        gateway.kill()


@pytest.fixture
def disk(tmp_path: Path, gateway: Gateway) -> Iterator[SlowDisk]:
    """Where the data directory is; what runs on it ends before it is taken away."""
    parts = tmp_path / "parts"
    parts.mkdir()
    with ExitStack() as undo:
        try:
            disk = undo.enter_context(slow_disk(parts, 48 * MIB, gateway.directory / "data", "errors=remount-ro"))
        except NoSlowDiskError as error:
            pytest.skip(f"such a disk cannot be had here: {error}")
        yield disk
        if gateway.running:
            gateway.kill()


@pytest.fixture
def systemd(tmp_path: Path, gateway: Gateway) -> Iterator[socket.socket]:
    """Where the daemon tells how it is doing (sd_notify(3))."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(tmp_path / "notify"))
        listening.setblocking(False)
        gateway.environment["NOTIFY_SOCKET"] = str(tmp_path / "notify")
        yield listening


def told(listening: socket.socket) -> list[str]:
    """All that it was told."""
    lines: list[str] = []
    while True:
        try:
            lines += listening.recv(65_536).decode().splitlines()
        except BlockingIOError:
            return lines


@pytest.mark.parametrize(
    ("break_it", "error"),
    [(SlowDisk.refuse_writes, errno.EIO), (SlowDisk.find_fault, errno.EROFS)],
    ids=["worn out", "read-only"],
)
def test_a_disk_that_fails_ends_it_in_words_and_all_that_was_acknowledged_is_there(
    disk: SlowDisk, gateway: Gateway, systemd: socket.socket, break_it, error: int
) -> None:
    gateway.start()
    publishers = [Publisher(gateway, name) for name in VERSIONS]
    for each in publishers:
        each.give(20)
    wait_until(lambda: all(each.done for each in publishers), "the first are acknowledged")
    break_it(disk)
    while gateway.running and publishers[0].given < 5_000:
        for each in publishers:
            each.give(1)
        time.sleep(0.02)
    wait_until(lambda: not gateway.running, "it gives up")
    assert gateway.process is not None
    assert gateway.process.returncode == 1
    assert any(line.startswith("STATUS=giving up: ") for line in told(systemd))
    # Mostly the lane; the cold store may be the first to notice, and has words of its own.
    words = f"{os.strerror(error)}|disk I/O error|readonly database"
    assert re.search(f"giving up: (writing )?{disk.directory}/.*({words})", gateway.log())
    first = gateway.log()
    assert "cannot start" not in first
    assert gateway.launch().wait(20) == 1
    assert " critical " in gateway.log()[len(first) :]
    assert "Traceback" not in gateway.log()

    before = {name: list(each.acknowledged) for name, each in zip(VERSIONS, publishers, strict=True)}
    disk.take_writes()
    disk.unmount()
    disk.mount()
    gateway.start()
    wait_until(lambda: all(each.done for each in publishers), "all is acknowledged after the restart", 60)
    for each in publishers:
        each.close()
    given = set(range(1, 1 + publishers[0].given))
    wait_until(lambda: all(set(numbers(gateway, name)) >= given for name in VERSIONS), "all is there", 60)
    assert gateway.stop() == 0
    for name, acknowledged in before.items():
        assert acknowledged == list(range(1, 1 + len(acknowledged)))
        assert list(dict.fromkeys(numbers(gateway, name))) == sorted(given), "at least once, in order"
