"""A directory on a memory card as gateways have them (`card`), with ext4 on it. Needs root."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

CHECKOUT = Path(__file__).parents[3]
_BUSY_S = 5.0
_NEEDED = ("mount", "umount", "losetup", "mkfs.ext4")


class NoSlowDiskError(Exception):
    """There can be none here; the text says why."""


def _obstacle() -> str | None:
    if os.geteuid() != 0:
        return "mounting one needs root"
    for device in ("/dev/fuse", "/dev/loop-control"):
        if not Path(device).exists():
            return f"this kernel has no {device}"
    lacking = [name for name in _NEEDED if shutil.which(name) is None]
    return f"{', '.join(lacking)} cannot be found" if lacking else None


class SlowDisk:
    """One that is mounted."""

    def __init__(self, directory: Path, device: str, card: subprocess.Popen[bytes], options: str) -> None:
        self.directory = directory
        """Where it is mounted."""
        self._device = device
        self._card = card
        self._options = options

    def refuse_writes(self) -> None:
        """From now on the card answers each with EIO; what is read is there."""
        self._card.send_signal(signal.SIGUSR1)

    def take_writes(self) -> None:
        """It is well again."""
        self._card.send_signal(signal.SIGUSR2)

    def find_fault(self) -> None:
        """What the kernel does when it finds the file system's own data wrong: with `errors=remount-ro`, just that."""
        Path("/sys/fs/ext4", Path(self._device).name, "trigger_fs_error").write_text("1")

    def mount(self) -> None:
        """Raises NoSlowDiskError."""
        _run("mount", "-t", "ext4", "-o", self._options, self._device, self.directory)

    def unmount(self) -> None:
        """Waits for who is ending on it just now. Raises NoSlowDiskError."""
        end = time.monotonic() + _BUSY_S
        while True:
            try:
                _run("umount", self.directory)
            except NoSlowDiskError:
                if time.monotonic() > end:
                    raise
                time.sleep(0.05)
            else:
                return


@contextmanager
def slow_disk(
    place: Path, size: int, directory: Path | None = None, options: str = "errors=continue"
) -> Iterator[SlowDisk]:
    """An empty ext4 of `size` bytes on a card; what has been written is gone afterwards.

    Args:
        place: an empty directory for the parts of it, on a disk that is faster.
        size: bytes.
        directory: where it is mounted; None: somewhere in `place`.
        options: of the mount.

    Raises:
        NoSlowDiskError: it cannot be had here.
    """
    if (why := _obstacle()) is not None:
        raise NoSlowDiskError(why)
    image, card, mounted = place / "image", place / "card", directory or place / "disk"
    with ExitStack() as undo:
        with image.open("wb") as file:
            file.truncate(size)
        # All of it now: else the kernel goes on writing inode tables while something is measured.
        _run("mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=0,lazy_journal_init=0", image)
        card.touch()
        server = _insert(image, card, undo)
        device = _run("losetup", "--find", "--show", card).strip()
        undo.callback(_run, "losetup", "--detach", device)
        Path("/sys/block", Path(device).name, "queue/write_cache").write_text("write through")
        mounted.mkdir(exist_ok=True)
        disk = SlowDisk(mounted, device, server, options)
        disk.mount()
        undo.callback(disk.unmount)
        yield disk


def _insert(image: Path, card: Path, undo: ExitStack) -> subprocess.Popen[bytes]:
    """Makes `card` the file whose requests cost time; returns the process that answers them."""
    try:
        kernel = os.open("/dev/fuse", os.O_RDWR)
    except OSError as error:
        raise NoSlowDiskError(str(error)) from error
    server = subprocess.Popen(
        [sys.executable, "-m", "tests.bench.support.card", image, str(kernel)], cwd=CHECKOUT, pass_fds=[kernel]
    )
    undo.callback(server.wait)
    undo.callback(os.close, kernel)
    options = f"fd={kernel},rootmode=100000,user_id=0,group_id=0"
    try:
        _run("mount", "--internal-only", "-t", "fuse", "-o", options, "card", card, descriptors=[kernel])
    except NoSlowDiskError:
        server.kill()
        raise
    undo.callback(_run, "umount", card)
    return server


def _run(*command: str | Path, descriptors: list[int] | None = None) -> str:
    done = subprocess.run(command, capture_output=True, text=True, pass_fds=descriptors or [], check=False)
    if done.returncode:
        raise NoSlowDiskError(f"{command[0]}: {done.stderr.strip()}")
    return done.stdout
