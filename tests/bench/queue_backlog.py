"""A backlog of many gigabytes, made quickly, and what a start on it costs; `queue` runs this.

`python -m tests.bench.queue_backlog DIRECTORY` is one start in a process of its own: it opens the log, reads the first
records, and prints the seconds and its peak memory as JSON.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import time
from pathlib import Path

import msgspec

from bridge.config import MIB
from bridge.log import record
from bridge.log.fold import NoFold
from bridge.log.reader import LogReader
from bridge.log.segment import FRAME_BYTES, PAGE_BYTES, Header, aligned, encode_frame, segment_name
from bridge.log.settings import LogSettings
from bridge.log.writer import LogWriter

SEGMENT_BYTES = 16 * MIB
FRAME_RECORDS = 256
PAYLOAD = bytes(1024)
CHECKOUT = Path(__file__).parents[2]
LOG_ID = BOOT_ID = bytes(16)
CONTEXT = record.encode_context("dev-00001", "devices/dev-00001/telemetry/temperature", "telemetry")


class Start(msgspec.Struct, frozen=True):
    """What a start on a backlog took."""

    backlog_bytes: int
    segments: int
    records: int
    open_s: float
    """Recovery, and the writer ready."""
    first_read_s: float
    """Until the first records are read, from the beginning."""
    imports_bytes: int
    """Memory before: the interpreter and what it has loaded."""
    peak_bytes: int


def make(directory: Path, size: int) -> None:
    """Whole segments of records of 1 KiB, `size` bytes of them at least; what a writer would have left.

    Not synced: a start reads the newest from the disk all the same.
    """
    one = record.encode(record.MESSAGE, 1, 7, time.time_ns(), time.monotonic_ns(), CONTEXT, b"", PAYLOAD)
    records = [one] * FRAME_RECORDS
    frame_bytes = aligned(FRAME_BYTES + len(one) * FRAME_RECORDS)
    checkpoint = record.encode(record.CHECKPOINT, 0, 0, time.time_ns(), 0, b"", b"", b"")
    first_seq = 1
    for _ in range(-(-size // SEGMENT_BYTES)):
        header = Header(SEGMENT_BYTES, LOG_ID, first_seq, time.time_ns(), first_seq)
        with (directory / segment_name(first_seq)).open("wb") as file:
            file.write(header.encode())
            file.writelines(encode_frame(header.seed, first_seq, 0, BOOT_ID, [checkpoint]))
            while SEGMENT_BYTES - file.tell() > frame_bytes + PAGE_BYTES:
                file.writelines(encode_frame(header.seed, first_seq, FRAME_RECORDS, BOOT_ID, records))
                first_seq += FRAME_RECORDS
            file.truncate(SEGMENT_BYTES)


def measure(directory: Path) -> Start:
    """One start, in a process of its own."""
    command = [sys.executable, "-m", "tests.bench.queue_backlog", str(directory)]
    done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, check=True)
    return msgspec.json.decode(done.stdout, type=Start)


def start(directory: Path) -> Start:
    """As the daemon starts on its queue and the forwarder begins to read it."""
    size = sum(path.stat().st_size for path in directory.glob("*.seg"))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10
    settings = LogSettings(max_bytes=2 * size, segment_bytes=SEGMENT_BYTES)
    begun = time.perf_counter()
    writer = LogWriter.open(
        directory, settings, log_id=LOG_ID, boot_id=BOOT_ID, wall_ns=time.time_ns, fold=NoFold(),
        on_commit=lambda _tokens, _committed: None, on_failure=lambda failure: sys.exit(str(failure)),
    )  # fmt: skip
    opened = time.perf_counter()
    reader = LogReader(directory, LOG_ID, 1)
    found = reader.read(writer.committed, 20_000, 16 * MIB)
    read = time.perf_counter()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10
    assert [each.seq for each in found[:2]] == [1, 2]
    segments, records = writer.figures.segments, writer.committed - 1
    writer.close()
    return Start(size, segments, records, opened - begun, read - opened, before, peak)


if __name__ == "__main__":
    sys.stdout.buffer.write(msgspec.json.encode(start(Path(sys.argv[1]))))
