"""The report of `busbridge queue inspect` as tables."""

from __future__ import annotations

import time

from bridge.cli.output import print_rows
from bridge.cli.queue_report import Lane, Report
from bridge.device_side.clock import rfc3339

STREAMS_SHOWN = 20


def print_report(report: Report) -> None:
    """Print it."""
    columns = ("lane", "records", "forwarded", "waiting", "waiting_bytes", "waits_since", "segments", "bytes", "why")
    print_rows(columns, [_lane_row(lane) for lane in report.lanes], as_json=False)
    for lane in report.lanes:
        for damage in lane.damage:
            print(f"{lane.lane}: {damage}")
        if lane.dropped:
            print(f"{lane.lane}: {lane.dropped} records were dropped for want of space; gap records will say whose")
        if lane.quarantine:
            print(f"{lane.lane}: recovery put into quarantine: {', '.join(lane.quarantine)}")
    if report.dead_letters:
        print(f"{report.dead_letters} dead letters stay on this gateway: see `busbridge queue dead-letters`")
    streams = [(lane.lane, stream) for lane in report.lanes for stream in lane.streams]
    if streams:
        print()
        rows = [
            (name, each.device, each.target, str(each.records), str(each.waiting), str(each.bytes),
             _time(each.oldest_ns), _time(each.newest_ns))
            for name, each in streams[:STREAMS_SHOWN]
        ]  # fmt: skip
        print_rows(("lane", "device", "target", "records", "waiting", "bytes", "oldest", "newest"), rows, as_json=False)
    if len(streams) > STREAMS_SHOWN:
        print(f"and {len(streams) - STREAMS_SHOWN} more: see --json")
    _print_segments(report)


def _print_segments(report: Report) -> None:
    rows = [
        (lane.lane, each.file, str(each.first_seq), str(each.next_seq - 1), str(each.frames), str(each.bytes),
         "forwarded" if each.forwarded else "needed")
        for lane in report.lanes for each in lane.segments
    ]  # fmt: skip
    if rows:
        print()
        print_rows(("lane", "segment", "first", "last", "frames", "bytes", "state"), rows, as_json=False)


def _lane_row(lane: Lane) -> tuple[str, ...]:
    first = lane.oldest_seq or lane.written
    held = f"{first} to {lane.written - 1}" if lane.written > first else "none"
    return (
        lane.lane, held, f"before {lane.forwarded}" if lane.forwarded else "unknown", str(lane.waiting),
        str(lane.waiting_bytes), _age(lane.oldest_waiting_ns), str(len(lane.segments)), str(lane.bytes), lane.why,
    )  # fmt: skip


def _age(received_ns: int | None) -> str:
    """How long ago by this machine's clock."""
    if received_ns is None:
        return ""
    seconds = max(0.0, (time.time_ns() - received_ns) / 1e9)
    for unit, scale in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * scale:
            return f"{seconds / scale:.0f} {unit}"
    return f"{seconds:.0f} s"


def _time(received_ns: int | None) -> str:
    return "" if received_ns is None else rfc3339(received_ns)
