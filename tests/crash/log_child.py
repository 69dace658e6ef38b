"""A process that appends at full speed until it is killed. Not a test.

It prints the position behind the last durable record each time `on_commit` is called, and reads from standard input
how far they have been forwarded: `python log_child.py DIRECTORY MAX_PAYLOAD SEED [drop]`; `drop`: the oldest go.
Without arguments it is the nursery of many such processes, one after another: see `nursery`.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from pathlib import Path
from random import Random

import msgspec

from bridge.log.errors import LogFailed, LogFailure, LogFull
from bridge.log.fold import NoFold
from bridge.log.settings import LogSettings
from bridge.log.writer import LogWriter
from tests.unit.log.lane import BOOT_ID, LOG_ID, SMALL, message


def payload(seq: int, size: int) -> bytes:
    """What record `seq` must hold: its number, over and over."""
    word = b"%d." % seq
    return word * (1 + size // len(word))


def report(line: str) -> None:
    """One write, so that a line is there whole or not at all."""
    os.write(1, f"{line}\n".encode())


def main(directory: Path, max_payload: int, seed: int, settings: LogSettings) -> None:
    """Appends turn by turn."""
    random = Random(seed)
    failed = threading.Event()

    def on_failure(failure: LogFailure) -> None:
        report(f"failed {failure}")
        failed.set()

    writer = LogWriter.open(
        directory, settings, log_id=LOG_ID, boot_id=BOOT_ID, wall_ns=time.time_ns, fold=NoFold(),
        on_commit=lambda _, committed: report(f"committed {committed}"), on_failure=on_failure,
    )  # fmt: skip
    report(f"started {writer.next_seq}")
    threading.Thread(target=lambda: [writer.forwarded(int(line)) for line in sys.stdin], daemon=True).start()
    while not failed.is_set():
        try:
            for _ in range(random.randint(1, 30)):
                writer.append(message(payload(writer.next_seq, random.randint(0, max_payload))))
        except LogFull:
            time.sleep(0.001)
        except LogFailed:
            break
        writer.kick()
        time.sleep(random.choice((0, 0, 0.0005)))
    failed.wait()
    writer.close()


def settings(words: list[str]) -> LogSettings:
    """Behind SEED."""
    return msgspec.structs.replace(SMALL, drop_oldest=words == ["drop"])


def nursery() -> None:
    """For each line `live DIRECTORY MAX_PAYLOAD SEED [drop]` forks such a process, which needs not be loaded again.

    What is said of it: `born PID` before anything else, `ended 0` when it is gone.
    """
    for line in sys.stdin:
        word, *rest = line.split()
        if word != "live":  # meant for one that is gone
            continue
        child = os.fork()
        if not child:
            report(f"born {os.getpid()}")
            main(Path(rest[0]), int(rest[1]), int(rest[2]), settings(rest[3:]))
            os._exit(0)
        os.waitpid(child, 0)
        report("ended 0")


if __name__ == "__main__":
    if sys.argv[1:]:
        main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), settings(sys.argv[4:]))
    else:
        nursery()
