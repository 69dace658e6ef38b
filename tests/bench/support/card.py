"""A memory card that costs what its data sheet promises: one file in user space (FUSE), under a loop device.

`python -m tests.bench.support.card IMAGE DESCRIPTOR` is the card: it answers the kernel's requests for the file, one
after another as a card without a command queue, each after the time that it takes. The figures are of the Application
Performance Class 1 (A1, SD Physical Layer Specification 5.1): what a card of that class does at the least. They are not
those of any one card, and say nothing of what goes on inside (erasing, wear levelling, garbage collection).

A write is durable when it is answered: cards of class A1 have no cache that is to be flushed. With SIGUSR1 it begins
to refuse writes (EIO), as one that is worn out, with SIGUSR2 it takes them again.

Not more of FUSE than a loop device needs: linux/fuse.h, protocol 7.31.
"""

from __future__ import annotations

import errno
import os
import signal
import stat
import struct
import sys
import time
from pathlib import Path
from typing import Final

WRITES_PER_S: Final = 500
"""A1: random writes of 4 KiB."""
READS_PER_S: Final = 1500
"""A1: random reads of 4 KiB."""
BYTES_PER_S: Final = 10_000_000
"""A1: sequential writing; taken for reading too."""

_REQUEST = struct.Struct("<IIQQIIII")
_ANSWER = struct.Struct("<IiQ")
_INIT = struct.Struct("<IIIIHHIIHHII24x")
_ATTRIBUTES = struct.Struct("<QIIQQQQQQ10I")
_OPENED = struct.Struct("<QIi")
_TRANSFER = struct.Struct("<QQI")
_TRANSFER_BYTES: Final = 40
_WRITTEN = struct.Struct("<II")
_SIZE_MAX: Final = 1 << 20
"""Of one request, bytes."""
_ASYNC_READ, _BIG_WRITES, _MAX_PAGES = 1 << 0, 1 << 5, 1 << 22
_DIRECT_IO: Final = 1 << 0
"""What is read or written is not kept in the page cache a second time."""
_GETATTR, _SETATTR, _OPEN, _READ, _WRITE, _RELEASE, _FSYNC, _FLUSH, _BEGIN = 3, 4, 14, 15, 16, 18, 20, 25, 26
_NO_ANSWER: Final = (2, 36, 42)
"""FORGET, INTERRUPT, BATCH_FORGET."""


class Card:
    """The requests for one file, and what each costs."""

    def __init__(self, image: int) -> None:
        """`image`: descriptor of the file that has the content."""
        self._image = image
        self._size = os.fstat(image).st_size
        self._worn_out = False

    def wear_out(self, number: int, _frame: object) -> None:
        """SIGUSR1: writes are refused from now on; SIGUSR2: not any more."""
        self._worn_out = number == signal.SIGUSR1

    def answer(self, code: int, body: memoryview, begun: float) -> bytes:
        """Does what a request asks for, and takes the time that the card takes, from `begun` on.

        Raises:
            OSError: what the kernel is to be told.
        """
        if code == _READ:
            _, offset, size = _TRANSFER.unpack_from(body)
            content = os.pread(self._image, size, offset)
            _wait(begun, READS_PER_S, size)
            return content
        if code == _WRITE:
            _, offset, size = _TRANSFER.unpack_from(body)
            if self._worn_out:
                raise OSError(errno.EIO, "worn out")
            os.pwrite(self._image, body[_TRANSFER_BYTES : _TRANSFER_BYTES + size], offset)
            _wait(begun, WRITES_PER_S, size)
            return _WRITTEN.pack(size, 0)
        if code in (_GETATTR, _SETATTR):
            return self._attributes()
        if code == _OPEN:
            return _OPENED.pack(0, _DIRECT_IO, 0)
        if code == _BEGIN:
            flags = _ASYNC_READ | _BIG_WRITES | _MAX_PAGES
            return _INIT.pack(7, 31, 0, flags, 8, 6, _SIZE_MAX, 1, _SIZE_MAX // 4096, 0, 0, 0)
        if code in (_RELEASE, _FSYNC, _FLUSH):
            return b""
        raise OSError(errno.ENOSYS, "not for a card")

    def serve(self, kernel: int) -> None:
        """Until the file is unmounted; `kernel`: a descriptor of /dev/fuse."""
        buffer = bytearray(_SIZE_MAX + 4096)
        while True:
            try:
                size = os.readv(kernel, [buffer])
            except OSError as error:
                if error.errno == errno.ENODEV:
                    return
                if error.errno not in (errno.EPERM, errno.EINTR, errno.ENOENT, errno.EAGAIN):
                    raise
                time.sleep(0.001)  # it is not mounted yet, or the request was taken back
                continue
            begun = time.monotonic()
            code, unique = _REQUEST.unpack_from(buffer)[1:3]
            if code in _NO_ANSWER:
                continue
            failed = 0
            try:
                with memoryview(buffer) as view:
                    answer = self.answer(code, view[_REQUEST.size : size], begun)
            except OSError as error:
                failed, answer = error.errno or errno.EIO, b""
            os.writev(kernel, [_ANSWER.pack(_ANSWER.size + len(answer), -failed, unique), answer])

    def _attributes(self) -> bytes:
        mode = stat.S_IFREG | 0o600
        return _ATTRIBUTES.pack(
            1, 0, 0, 1, self._size, -(-self._size // 512), 0, 0, 0, 0, 0, 0, mode, 1, 0, 0, 0, 4096, 0
        )


def _wait(begun: float, per_s: int, size: int) -> None:
    time.sleep(max(0.0, begun + max(1 / per_s, size / BYTES_PER_S) - time.monotonic()))


def main(image: Path, kernel: int) -> None:
    """The process."""
    os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))  # a card does not wait for the gateway's processor
    card = Card(os.open(image, os.O_RDWR))
    signal.signal(signal.SIGUSR1, card.wear_out)
    signal.signal(signal.SIGUSR2, card.wear_out)
    card.serve(kernel)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
