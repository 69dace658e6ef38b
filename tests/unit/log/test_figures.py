"""Figures: what the metrics of a lane are made of, held against what is on the disk."""

from __future__ import annotations

from pathlib import Path

import msgspec

from bridge.log.segment import PAGE_BYTES
from bridge.log.settings import LogSettings
from tests.unit.log.lane import KIB, SMALL, Lane, message


def test_a_fresh_log_has_done_nothing(lane: Lane) -> None:
    figures = lane.writer.figures
    assert (figures.frames, figures.records, figures.bytes_written, figures.waiting_records) == (0, 0, 0, 0)
    assert figures.capacity_bytes <= SMALL.max_bytes


def test_one_message_a_commit_costs_a_page_and_many_share_it(lane: Lane) -> None:
    lane.commit(b"opens the segment: a page of header, one of frames")
    opened = lane.writer.figures
    assert opened.bytes_written == 2 * PAGE_BYTES
    for number in range(20):
        lane.commit(b"%d" % number)
    figures = lane.writer.figures
    assert (figures.frames, figures.syncs, figures.records) == (21, 21, 21)
    assert 20 * PAGE_BYTES <= figures.bytes_written - opened.bytes_written <= 22 * PAGE_BYTES
    lane.commit(*[b"x"] * 30)
    assert lane.writer.figures.records == 51
    assert lane.writer.figures.bytes_written - figures.bytes_written <= 2 * PAGE_BYTES
    assert 0 < lane.writer.figures.sync_seconds_max <= lane.writer.figures.sync_seconds


def test_what_waits_is_what_was_not_forwarded(lane: Lane) -> None:
    for _ in range(30):
        lane.commit(bytes(5_000))
    size = 30 * len(message(bytes(5_000)))
    figures = lane.writer.figures
    assert (figures.waiting_records, figures.records, figures.record_bytes) == (30, 30, size)
    assert size <= figures.waiting_bytes <= figures.segments * SMALL.segment_bytes
    lane.writer.forwarded(16)
    lane.wait(lambda: lane.writer.figures.waiting_records == 15)
    assert figures.waiting_bytes * 0.4 < lane.writer.figures.waiting_bytes < figures.waiting_bytes * 0.6
    lane.writer.forwarded(lane.writer.committed)
    lane.wait(lambda: lane.writer.figures.segments == 1)
    assert (lane.writer.figures.waiting_records, lane.writer.figures.waiting_bytes) == (0, 0)


def test_files_are_counted_as_they_are_on_disk(lane: Lane) -> None:
    lane.fill(5_000)
    figures = lane.writer.figures
    there = [path.stat().st_size for path in (*lane.segments(), *lane.spares())]
    assert (figures.file_bytes, figures.segments, figures.spares) == (sum(there), len(lane.segments()), 0)
    assert figures.capacity_bytes == SMALL.max_bytes
    assert figures.spare_bytes == sum(there)


def test_the_capacity_is_what_the_disk_can_really_hold(tmp_path: Path) -> None:
    lane = Lane(tmp_path, LogSettings(max_bytes=512 * KIB, segment_bytes=64 * KIB, free_space_floor=1 << 60))
    lane.wait(lambda: lane.writer.shortage)
    assert lane.writer.full
    assert lane.writer.capacity <= SMALL.max_bytes
    lane.writer.close()


def test_what_is_given_up_is_counted(tmp_path: Path) -> None:
    lane = Lane(tmp_path, msgspec.structs.replace(SMALL, drop_oldest=True))
    for _ in range(150):
        lane.commit(bytes(5_000))
    lane.wait(lambda: lane.writer.figures.dropped_segments)
    figures = lane.writer.figures
    assert figures.dropped_records + len(lane.payloads()) == 150
    assert figures.waiting_records == len(lane.payloads())
    lane.writer.close()
