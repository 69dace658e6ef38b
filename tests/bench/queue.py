"""`./dev bench queue`: what it costs to have a record on the disk, beside SQLite on the same disk in the same run.

N writers have one record in flight each, as N devices with a window of one: they append again when theirs is durable.
SQLite (WAL, synchronous=FULL) gets the same records, N to a transaction, which is the grouping at its best. The stores
take turns, and the median of the turns counts, so that whatever else the machine does concerns all. Bytes are those
that the block device counted, of everything on it: on a busy machine give it a device of its own (README.md).
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import quantiles

import msgspec
from rich.console import Console
from rich.table import Table

from bridge.config import GIB, MIB
from bridge.log import record
from bridge.log.queue_key import KEY_BYTES, Keyring, QueueKey
from bridge.log.reader import LogReader
from tests.bench import queue_backlog
from tests.bench.queue_backlog import Start
from tests.bench.queue_stores import LOG, LOG_ID, WRITERS, Log, OnePage, Sqlite, SqliteGrowing, Store
from tests.bench.support.slow_disk import NoSlowDiskError, slow_disk

CONTEXT = record.encode_context("dev-00001", "devices/dev-00001/telemetry/temperature", "telemetry")
RESULTS = Path(__file__).parents[2] / "bench-results"
WARM_UP_S = 0.2
APPENDS = 50_000
READ_RECORDS, FRAME_RECORDS = 100_000, 250
FIGURES = (
    "appends_per_s", "us_per_append", "cpu_us_per_append", "commit_p50_us", "commit_p99_us",
    "device_bytes_per_append", "device_writes_per_commit", "device_flushes_per_commit",
)  # fmt: skip
SECTOR = 512
WRITES, SECTORS_WRITTEN, FLUSHES = 4, 6, 15
"""Which fields of /sys/dev/block/*/stat they are (Documentation/block/stat.rst)."""
SECONDS, SLOW_SECONDS = 3.0, 12.0
SLOW_BYTES = 2 * GIB
WIDTH = 120
"""Of the table, characters."""


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
    """None, as the next two: the file system is on no block device that counts."""
    device_writes_per_commit: float | None
    device_flushes_per_commit: float | None
    """Orders to make durable what the device has in its cache; 0 where it says that it has none."""


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
    times_faster: dict[str, dict[int, float]]
    """By the other store and writers: the log's appends a second, over that one's."""
    times_fewer_bytes: dict[str, dict[int, float]]
    """By the other store and writers: its device bytes an append, over the log's; empty where nothing is counted."""
    start: Start | None
    """On a backlog."""


class Counts(msgspec.Struct, frozen=True):
    """What a block device has been asked for, in total or by each commit."""

    bytes_written: float
    writes: float
    flushes: float

    def each(self, before: Counts, commits: int) -> Counts:
        """What one of so many commits since then took."""
        ours, theirs = msgspec.structs.astuple(self), msgspec.structs.astuple(before)
        return Counts(*((now - then) / commits for now, then in zip(ours, theirs, strict=True)))


class Disk:
    """The block device beneath a directory."""

    def __init__(self, directory: Path) -> None:
        device = directory.stat().st_dev
        self._stat = Path(f"/sys/dev/block/{os.major(device)}:{os.minor(device)}/stat")

    def counts(self) -> Counts | None:
        """Since the machine was started; None: it does not count."""
        if not self._stat.exists():
            return None
        os.sync()
        fields = [int(field) for field in self._stat.read_text().split()]
        return Counts(fields[SECTORS_WRITTEN] * SECTOR, fields[WRITES], fields[FLUSHES])


def commits(store: Store, writers: int, seconds: float) -> list[float]:
    """How long each took, microseconds."""
    taken = []
    end = now = time.perf_counter()
    end += seconds
    while now < end:
        store.commit(writers)
        begun, now = now, time.perf_counter()
        taken.append((now - begun) * 1e6)
    return taken


def measure(store: Store, disk: Disk, writers: int, seconds: float) -> Result:
    """One row of the table."""
    commits(store, writers, WARM_UP_S)
    before, cpu = disk.counts(), time.process_time()
    taken = commits(store, writers, seconds)
    cpu = time.process_time() - cpu
    after = disk.counts()
    appends = writers * len(taken)
    device = None if before is None or after is None else after.each(before, len(taken))
    percentiles = quantiles(taken, n=100)
    return Result(
        store=store.name,
        writers=writers,
        appends_per_s=appends / sum(taken) * 1e6,
        us_per_append=sum(taken) / appends,
        cpu_us_per_append=cpu / appends * 1e6,
        commit_p50_us=percentiles[49],
        commit_p99_us=percentiles[98],
        device_bytes_per_append=None if device is None else device.bytes_written / writers,
        device_writes_per_commit=None if device is None else device.writes,
        device_flushes_per_commit=None if device is None else device.flushes,
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
    return msgspec.structs.replace(
        results[0], **{name: median([getattr(each, name) for each in results]) for name in FIGURES}
    )


def median(values: Sequence[float | None]) -> float | None:
    """The one in the middle; None where one is not known."""
    known = sorted(value for value in values if value is not None)
    return known[len(known) // 2] if len(known) == len(values) else None


def compare(directory: Path, one: bytes, seconds: float, turns: int) -> tuple[float, list[Result]]:
    """CPU of an append on the loop's side, and the rows of every store, turn by turn."""
    disk, log = Disk(directory), Log(directory / "log", one)
    append_us = measure_append(log, one)
    encrypted = Log(directory / "encrypted", one, Keyring(QueueKey(bytes(KEY_BYTES))))
    sqlite, growing = Sqlite(directory / "sqlite", one), SqliteGrowing(directory / "growing", one)
    stores: tuple[Store, ...] = (log, encrypted, sqlite, growing, OnePage(directory / "one-page"))
    for store in stores:
        store.settle()
    rows: dict[tuple[str, int], list[Result]] = {}
    for writers in WRITERS:
        for _ in range(turns):
            for store in stores:
                if writers in store.writers:
                    rows.setdefault((store.name, writers), []).append(measure(store, disk, writers, seconds / turns))
    for store in stores:
        store.close()
    return append_us, [middle(rows[store.name, writers]) for store in stores for writers in store.writers]


def ratios(results: list[Result], name: str, *, log_over_other: bool) -> dict[str, dict[int, float]]:
    """By the store that is compared with, and writers; nothing where a figure is not known."""
    log = {each.writers: getattr(each, name) for each in results if each.store == LOG}
    found: dict[str, dict[int, float]] = {}
    for each in results:
        mine, other = log[each.writers], getattr(each, name)
        if each.store in (Sqlite.name, SqliteGrowing.name) and mine and other:
            found.setdefault(each.store, {})[each.writers] = mine / other if log_over_other else other / mine
    return found


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
    return Report(payload_bytes, append_us, reads, results, *compared(results), start)


def run_slow(directory: Path, payload_bytes: int, seconds: float, turns: int) -> Report:
    """What is written, on a card whose parts are in `directory`."""
    one = record.encode(record.MESSAGE, 1, 7, time.time_ns(), time.monotonic_ns(), CONTEXT, b"", bytes(payload_bytes))
    with slow_disk(directory, SLOW_BYTES) as card:
        append_us, results = compare(card.directory, one, seconds, turns)
    return Report(payload_bytes, append_us, [], results, *compared(results), None)


def compared(results: list[Result]) -> tuple[dict[str, dict[int, float]], dict[str, dict[int, float]]]:
    """How many times faster the log is, and how many times fewer bytes it writes."""
    faster = ratios(results, "appends_per_s", log_over_other=True)
    return faster, ratios(results, "device_bytes_per_append", log_over_other=False)


COLUMNS = (
    "store", "writers", "appends/s", "µs", "CPU µs", "p50 ms", "p99 ms", "device bytes", "writes, flushes a commit",
)  # fmt: skip


def row(each: Result) -> tuple[str, ...]:
    """One line of the table."""
    written = device = "not known"
    if each.device_bytes_per_append is not None:
        written = f"{each.device_bytes_per_append:,.0f}"
        device = f"{each.device_writes_per_commit:.1f}, {each.device_flushes_per_commit:.1f}"
    commit = (f"{each.commit_p50_us / 1e3:.2f}", f"{each.commit_p99_us / 1e3:.2f}")
    costs = (f"{each.appends_per_s:,.0f}", f"{each.us_per_append:.1f}", f"{each.cpu_us_per_append:.1f}")
    return each.store, str(each.writers), *costs, *commit, written, device


def show(report: Report, console: Console) -> None:
    """The table."""
    table = Table(title=f"records of {report.payload_bytes} bytes of payload, durable one by one")
    for column in COLUMNS:
        table.add_column(column, justify="left" if column == "store" else "right")
    for each in report.results:
        table.add_row(*row(each))
    console.print(table)
    for store, by_writers in report.times_faster.items():
        for writers, times in by_writers.items():
            fewer = report.times_fewer_bytes.get(store, {}).get(writers)
            fewer_bytes = f", {fewer:.1f} times fewer device bytes" if fewer else ""
            console.print(f"{writers} writers: {times:.1f} times the appends of {store}{fewer_bytes}")
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

    Returns: the exit code: 0, also where `--slow-disk` is asked for and cannot be had.
    """
    parser = argparse.ArgumentParser(prog="./dev bench queue", description=__doc__)
    parser.add_argument("--seconds", type=float, help=f"for each row ({SECONDS:g}; on the card {SLOW_SECONDS:g})")
    parser.add_argument("--turns", type=int, default=3, help="in which each row's seconds are divided")
    parser.add_argument("--backlog", type=float, default=2.0, help="GiB to start on; 0: none")
    parser.add_argument("--payload", type=int, default=128, help="bytes")
    parser.add_argument("--directory", type=Path, default=RESULTS, help="on the disk to be measured")
    parser.add_argument("--slow-disk", action="store_true", help="on a memory card of class A1 instead; needs root")
    parser.add_argument(
        "--json", type=Path, help="where the figures go (bench-results/queue.json, queue-slow-disk.json)"
    )
    options = parser.parse_args(argv)
    to = options.json or RESULTS / ("queue-slow-disk.json" if options.slow_disk else "queue.json")
    for directory in (options.directory, to.parent):
        directory.mkdir(parents=True, exist_ok=True)
    try:
        with tempfile.TemporaryDirectory(prefix="queue-", dir=options.directory) as place:
            report = report_of(Path(place), options)
    except NoSlowDiskError as error:
        print(f"left out: there can be no slow disk here: {error}")
        return 0
    show(report, Console(width=WIDTH))
    to.write_bytes(msgspec.json.format(msgspec.json.encode(report)) + b"\n")
    return 0


def report_of(place: Path, options: argparse.Namespace) -> Report:
    """Everything that was asked for, in an empty directory."""
    if options.slow_disk:
        return run_slow(place, options.payload, options.seconds or SLOW_SECONDS, options.turns)
    return run(place, options.payload, options.seconds or SECONDS, options.turns, int(options.backlog * GIB))


if __name__ == "__main__":
    sys.exit(main())
