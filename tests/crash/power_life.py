"""One life of a gateway's log, from its start on what an earlier one left; and what must be true after a power cut.

Run as a process of its own, with record_calls.c preloaded, it lives once for each line `ROOT LIFE` on standard input.
"""

from __future__ import annotations

import os
import struct
import sys
import time
import zlib
from pathlib import Path
from random import Random

from bridge.log.cursor import Cursor
from bridge.log.errors import LogFailure, LogFull
from bridge.log.log_id import load_or_create_log_id
from bridge.log.queue_key import KEY_BYTES, Keyring, QueueKey
from bridge.log.record import Record
from bridge.log.settings import LogSettings
from bridge.log.writer import LogWriter
from tests.unit.log.lane import BOOT_ID, KIB, message

PAYLOAD_MAX = 4000
SETTINGS = LogSettings(max_bytes=512 * KIB, segment_bytes=64 * KIB, spare_segments_max=2)
"""So small that segments are recycled and given back within one life."""
DROPPING = LogSettings(max_bytes=256 * KIB, segment_bytes=64 * KIB, spare_segments_max=2, drop_oldest=True)
"""So small that what is not forwarded soon is dropped, and its gap told."""
KEY = QueueKey(bytes(range(KEY_BYTES)))
"""Every other life encrypts."""
MARKS = "marks"
"""Beside the log: what the life said about itself, in order with its calls."""


def payload(life: int, seq: int) -> bytes:
    """What record `seq` holds where it was appended in life `life`; no two are the same."""
    word = b"%d.%d " % (life, seq)
    size = (seq * 7919 + life * 104_729) % PAYLOAD_MAX
    return word + word * (size // len(word))


def drops(life: int) -> bool:
    """Whether the oldest go in this life; else it waits."""
    return life % 3 == 0


class Chain:
    """A fold that knows whether it saw every record exactly once, in order."""

    def __init__(self) -> None:
        self.count = self.sum = 0

    def apply(self, effect: object) -> None:
        assert isinstance(effect, bytes)
        self.count, self.sum = self.count + 1, zlib.crc32(effect, self.sum)

    def checkpoint(self) -> bytes:
        return struct.pack("<QQ", self.count, self.sum)

    def restore(self, payload: bytes) -> None:
        self.count, self.sum = struct.unpack("<QQ", payload)

    def replay(self, record: Record) -> None:
        self.apply(record.payload)


class Life:
    """Appends, waits, forwards, by chance."""

    def __init__(self, root: Path, life: int) -> None:
        self.life = life
        self.random = Random(life)
        self.lane = root / "uplink" / "normal"
        self._marks = os.open(root / MARKS, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        self.log_id = load_or_create_log_id(root / "uplink")
        self.mark(f"log {self.log_id.hex()}")
        self.writer = LogWriter.open(
            self.lane, DROPPING if drops(life) else SETTINGS,
            log_id=self.log_id, boot_id=BOOT_ID, wall_ns=lambda: 0, fold=Chain(),
            on_commit=lambda _, committed: self.mark(f"committed {committed}"), on_failure=self._failed,
            keys=Keyring(KEY if life % 2 else None, [KEY]),
        )  # fmt: skip
        self.mark(f"began {self.writer.next_seq}")

    def mark(self, text: str) -> None:
        os.write(self._marks, f"{text}\n".encode())

    def run(self) -> None:
        """Lives until its end, which is clean: the power cut is put anywhere before it later."""
        for _ in range(self.random.randrange(30, 70) if drops(self.life) else self.random.randrange(5, 60)):
            self._append(self.random.choice((1, 1, 2, 9)))
            if self.random.random() < 0.5:
                self._wait()
            if self.random.random() < (0.03 if drops(self.life) else 0.4):
                self._forward()
        self.writer.close()
        os.close(self._marks)

    def _append(self, count: int) -> None:
        for _ in range(count):
            body = payload(self.life, self.writer.next_seq)
            # Said before it is done, as it may be handed over at once: nothing behind it was ever given to the disk.
            self.mark(f"given {self.writer.next_seq + 1}")
            try:
                self.writer.append(message(body), effect=body)
            except LogFull:
                self._wait()
                self._forward()
                time.sleep(0.001)
        self.writer.kick()

    def _wait(self) -> None:
        self.writer.kick()
        while self.writer.committed < self.writer.next_seq:
            time.sleep(0.0002)

    def _forward(self) -> None:
        before = Cursor.load(self.lane)
        oldest = before.position if before is not None else 1
        position = self.random.randint(oldest, max(oldest, self.writer.committed))
        self.mark(f"saving {position}")
        Cursor.save(self.lane, self.log_id, position)
        self.mark(f"saved {position}")
        self.writer.forwarded(position)

    def _failed(self, failure: LogFailure) -> None:
        self.mark(f"failed {failure}")


def main() -> None:
    for line in sys.stdin:
        root, life = line.split()
        Life(Path(root), int(life)).run()
        print("done", flush=True)


if __name__ == "__main__":
    main()
