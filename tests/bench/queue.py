"""`./dev bench queue`: what it costs to have a record on the disk, beside SQLite on the same disk in the same run.

N writers have one record in flight each, as N devices with a window of one: they append again when theirs is durable.
SQLite (WAL, synchronous=FULL) gets the same records, N to a transaction, which is the grouping at its best. The two
take turns, and the median of the turns counts, so that whatever else the machine does concerns both. Bytes are those
that the block device counted, of everything on it: on a busy machine give it a device of its own (README.md).
"""

from __future__ import annotations

import argparse
import os
import sqlite3
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from queue import SimpleQueue
from statistics import quantiles

import msgspec
from rich.console import Console
from rich.table import Table

from bridge.config import MIB
from bridge.log import record
from bridge.log.errors import LogFailure
from bridge.log.fold import NoFold
from bridge.log.queue_key import KEY_BYTES, Keyring, QueueKey
from bridge.log.reader import LogReader
from bridge.log.settings import LogSettings
from bridge.log.writer import LogWriter
from tests.bench import queue_backlog
from tests.bench.queue_backlog import Start

WRITERS = (1, 16, 256, 4096)
CONTEXT = record.encode_context("dev-00001", "devices/dev-00001/telemetry/temperature", "telemetry")
RESULTS = Path(__file__).parents[2] / "bench-results"
LOG_ID = BOOT_ID = bytes(16)
WARM_UP_S = 0.2
APPENDS = 50_000
FORWARD_RECORDS = 20_000
READ_RECORDS, FRAME_RECORDS = 100_000, 250
FIGURES = (
    "appends_per_s", "us_per_append", "cpu_us_per_append", "commit_p50_us", "commit_p99_us",
    "device_bytes_per_append",
)  # fmt: skip
SECTOR = 512
SECTORS_WRITTEN = 6
"""Which field of /sys/dev/block/*/stat it is (Documentation/block/stat.rst)."""


class Result(msgspec.Struct, frozen=True):
    """One store with one number of writers. All durations are microseconds."""

    store: str
    writers: int
    appends_per_s: float
    us_per_append: float
    cpu_us_per_append: float
    commit_p50_us: float
    commit_p99_us: float
    device_bytes_per_append: float | None
    """None: the file system is on no block device that counts."""


class Read(msgspec.Struct, frozen=True):
    """Records of 1 KiB read from the page cache."""

    batch_bytes: int
    """Read at a time, and then forgotten."""
    us_per_record: float
    """CPU."""
    gb_per_s: float
    """10^9 bytes of records a second of CPU."""


class Report(msgspec.Struct, frozen=True):
    """All of a run."""

    payload_bytes: int
    append_us: float
    """CPU of the loop's side of one append, 16 a kick."""
    reads: list[Read]
    results: list[Result]
    times_faster: dict[int, float]
    """By writers: appends a second, over SQLite's."""
    times_fewer_bytes: dict[int, float]
    """By writers: SQLite's device bytes an append, over the log's; empty where the device does not count."""
    start: Start | None
    """On a backlog."""


class Disk:
    """The block device beneath a directory."""

    def __init__(self, directory: Path) -> None:
        device = directory.stat().st_dev
        self._stat = Path(f"/sys/dev/block/{os.major(device)}:{os.minor(device)}/stat")

    def written(self) -> int | None:
        """Bytes, since the machine was started."""
        if not self._stat.exists():
            return None
        os.sync()
        return int(self._stat.read_text().split()[SECTORS_WRITTEN]) * SECTOR


class Log:
    """The log, with a reading side that keeps up, so that segments are recycled."""

    def __init__(self, directory: Path, one: bytes, keys: Keyring | None = None) -> None:
        self.name = "log" if keys is None else "encrypted"
        self.directory = directory
        self._one = one
        self._reports: SimpleQueue[int] = SimpleQueue()
        self._forwarded = 1
        self.writer = LogWriter.open(
            directory,
            LogSettings(segment_bytes=16 * MIB),
            log_id=LOG_ID,
            boot_id=BOOT_ID,
            wall_ns=time.time_ns,
            fold=NoFold(),
            on_commit=self._on_commit,
            on_failure=self._on_failure,
            keys=keys,
        )

    def commit(self, count: int) -> None:
        """Returns when `count` new records are durable."""
        while self.writer.full:  # faster than spares can be written out
            time.sleep(0.001)
        for _ in range(count):
            self.writer.append(self._one, token=True)
        self.writer.kick()
        while count:
            count -= self._reports.get()

    def close(self) -> None:
        """The threads end."""
        self.writer.close()

    def _on_commit(self, tokens: list[object], committed: int) -> None:
        self._reports.put(len(tokens))
        if committed >= self._forwarded + FORWARD_RECORDS:
            self._forwarded = committed
            self.writer.forwarded(committed)

    def _on_failure(self, failure: LogFailure) -> None:
        print(failure, file=sys.stderr)
        os._exit(1)


class Sqlite:
    """A queue as one would make it: numbers that are never given twice, and rows that go when they are forwarded."""

    name = "SQLite"

    def __init__(self, directory: Path, one: bytes) -> None:
        self._one = one
        self._database = sqlite3.connect(directory / "queue.sqlite", isolation_level=None)
        self._database.execute("PRAGMA journal_mode=WAL")
        self._database.execute("PRAGMA synchronous=FULL")
        self._database.execute("CREATE TABLE queue (seq INTEGER PRIMARY KEY AUTOINCREMENT, record BLOB)")
        self._committed = self._forwarded = 0

    def commit(self, count: int) -> None:
        """Returns when `count` new records are durable."""
        self._database.execute("BEGIN")
        self._database.executemany("INSERT INTO queue (record) VALUES (?)", [(self._one,)] * count)
        self._database.execute("COMMIT")
        self._committed += count
        if self._committed >= self._forwarded + FORWARD_RECORDS:
            self._forwarded = self._committed
            self._database.execute("DELETE FROM queue WHERE seq <= ?", (self._forwarded,))

    def close(self) -> None:
        """Checkpoints."""
        self._database.close()


def commits(store: Log | Sqlite, writers: int, seconds: float) -> list[float]:
    """How long each took, microseconds."""
    taken = []
    end = now = time.perf_counter()
    end += seconds
    while now < end:
        store.commit(writers)
        begun, now = now, time.perf_counter()
        taken.append((now - begun) * 1e6)
    return taken


def measure(store: Log | Sqlite, disk: Disk, writers: int, seconds: float) -> Result:
    """One row of the table."""
    commits(store, writers, WARM_UP_S)
    written, cpu = disk.written(), time.process_time()
    taken = commits(store, writers, seconds)
    cpu = time.process_time() - cpu
    after = disk.written()
    appends = writers * len(taken)
    percentiles = quantiles(taken, n=100)
    return Result(
        store=store.name,
        writers=writers,
        appends_per_s=appends / sum(taken) * 1e6,
        us_per_append=sum(taken) / appends,
        cpu_us_per_append=cpu / appends * 1e6,
        commit_p50_us=percentiles[49],
        commit_p99_us=percentiles[98],
        device_bytes_per_append=None if written is None or after is None else (after - written) / appends,
    )


def measure_append(store: Log, one: bytes) -> float:
    """The loop's side of one append, with a kick for every 16; microseconds of CPU."""
    begun = time.thread_time()
    for _ in range(APPENDS // 16):
        for _ in range(16):
            store.writer.append(one)
        store.writer.kick()
    return (time.thread_time() - begun) / APPENDS * 1e6


def measure_read(directory: Path) -> list[Read]:
    """1 KiB at a time, in batches of several sizes; the best of three, for others may be at work on this core."""
    one = record.encode(record.MESSAGE, 1, 7, time.time_ns(), time.monotonic_ns(), CONTEXT, b"", bytes(1024))
    log = Log(directory, one)
    for _ in range(READ_RECORDS // FRAME_RECORDS):
        log.commit(FRAME_RECORDS)
    reads = []
    for batch_bytes in (MIB, 16 * MIB):
        cpu = min(read_all(directory, log.writer.committed, batch_bytes) for _ in range(3))
        reads.append(Read(batch_bytes, cpu * 1e6, len(one) / cpu / 1e9))
    log.close()
    return reads


def read_all(directory: Path, committed: int, batch_bytes: int) -> float:
    """Seconds of CPU for one record, of all that are there."""
    reader, count = LogReader(directory, LOG_ID), 0
    begun = time.thread_time()
    while records := reader.read(committed, 20_000, batch_bytes):
        count += len(records)
    cpu = time.thread_time() - begun
    reader.close()
    return cpu / count


def middle(results: Sequence[Result]) -> Result:
    """The medians of several turns of the same."""
    ordered = {name: sorted(getattr(each, name) or 0.0 for each in results) for name in FIGURES}
    return msgspec.structs.replace(
        results[0], **{name: values[len(values) // 2] or None for name, values in ordered.items()}
    )


def compare(directory: Path, one: bytes, seconds: float, turns: int) -> tuple[float, list[Result]]:
    """CPU of an append on the loop's side, and the rows of both stores, turn by turn."""
    disk, log, sqlite = Disk(directory), Log(directory / "log", one), Sqlite(directory, one)
    append_us = measure_append(log, one)
    encrypted = Log(directory / "encrypted", one, Keyring(QueueKey(bytes(KEY_BYTES))))
    stores: tuple[Log | Sqlite, ...] = (log, encrypted, sqlite)
    rows: dict[tuple[str, int], list[Result]] = {}
    for writers in WRITERS:
        for _ in range(turns):
            for store in stores:
                rows.setdefault((store.name, writers), []).append(measure(store, disk, writers, seconds / turns))
    for store in stores:
        store.close()
    return append_us, [middle(rows[store.name, writers]) for store in stores for writers in WRITERS]


def ratios(results: list[Result], name: str, *, log_over_sqlite: bool) -> dict[int, float]:
    """By writers; empty where a figure is not known."""
    found = {(each.store, each.writers): getattr(each, name) for each in results}
    pairs = {writers: (found["log", writers], found["SQLite", writers]) for writers in WRITERS}
    return {n: log / other if log_over_sqlite else other / log for n, (log, other) in pairs.items() if log and other}


def run(directory: Path, payload_bytes: int, seconds: float, turns: int, backlog: int) -> Report:
    """Everything, in `directory`; `backlog` bytes, 0: none."""
    one = record.encode(record.MESSAGE, 1, 7, time.time_ns(), time.monotonic_ns(), CONTEXT, b"", bytes(payload_bytes))
    append_us, results = compare(directory, one, seconds, turns)
    reads = measure_read(directory / "read")
    start = None
    if backlog:
        (directory / "backlog").mkdir()
        queue_backlog.make(directory / "backlog", backlog)
        start = queue_backlog.measure(directory / "backlog")
    faster = ratios(results, "appends_per_s", log_over_sqlite=True)
    fewer = ratios(results, "device_bytes_per_append", log_over_sqlite=False)
    return Report(payload_bytes, append_us, reads, results, faster, fewer, start)


def show(report: Report, console: Console) -> None:
    """The table."""
    table = Table(title=f"records of {report.payload_bytes} bytes of payload, durable one by one")
    columns = ("store", "writers", "appends/s", "µs", "CPU µs", "p50 ms", "p99 ms", "device bytes")
    for column in columns:
        table.add_column(column, justify="left" if column == "store" else "right")
    for each in report.results:
        written = "not known" if each.device_bytes_per_append is None else f"{each.device_bytes_per_append:,.0f}"
        commit = (f"{each.commit_p50_us / 1e3:.2f}", f"{each.commit_p99_us / 1e3:.2f}")
        costs = (f"{each.appends_per_s:,.0f}", f"{each.us_per_append:.1f}", f"{each.cpu_us_per_append:.1f}")
        table.add_row(each.store, str(each.writers), *costs, *commit, written)
    console.print(table)
    for writers, times in report.times_faster.items():
        fewer = report.times_fewer_bytes.get(writers)
        console.print(
            f"{writers} writers: {times:.1f} times SQLite's appends"
            + (f", {fewer:.1f} times fewer device bytes" if fewer else "")
        )
    console.print(f"append, the loop's side: {report.append_us:.2f} µs of CPU")
    for read in report.reads:
        speed = f"{read.us_per_record:.2f} µs of CPU, {read.gb_per_s:.2f} GB/s"
        console.print(f"a record of 1 KiB read from the page cache, {read.batch_bytes >> 20} MiB at a time: {speed}")
    if (start := report.start) is not None:
        console.print(
            f"start on {start.backlog_bytes / (1 << 30):.1f} GiB in {start.segments} segments: {start.open_s:.2f} s, "
            f"first read {start.first_read_s:.2f} s, at most {start.peak_bytes >> 20} MiB of memory"
        )


def main(argv: Sequence[str] | None = None) -> int:
    """Runs it and writes the table, and the figures as JSON.

    Returns: the exit code, 0.
    """
    parser = argparse.ArgumentParser(prog="./dev bench queue", description=__doc__)
    parser.add_argument("--seconds", type=float, default=3.0, help="for each row")
    parser.add_argument("--turns", type=int, default=3, help="in which each row's seconds are divided")
    parser.add_argument("--backlog", type=float, default=2.0, help="GiB to start on; 0: none")
    parser.add_argument("--payload", type=int, default=128, help="bytes")
    parser.add_argument("--directory", type=Path, default=RESULTS, help="on the disk to be measured")
    parser.add_argument("--json", type=Path, default=RESULTS / "queue.json", help="where the figures go")
    options = parser.parse_args(argv)
    options.directory.mkdir(parents=True, exist_ok=True)
    options.json.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="queue-", dir=options.directory) as directory:
        report = run(Path(directory), options.payload, options.seconds, options.turns, int(options.backlog * (1 << 30)))
    show(report, Console())
    options.json.write_bytes(msgspec.json.format(msgspec.json.encode(report)) + b"\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
