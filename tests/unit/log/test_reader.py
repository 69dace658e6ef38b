"""LogReader: in order, from anywhere, and exact about what it cannot read."""

from __future__ import annotations

from pathlib import Path

import pytest

from bridge.log.errors import LogDamaged
from bridge.log.reader import LogReader, oldest_position
from bridge.log.record import Record
from bridge.log.segment import PAGE_BYTES
from tests.unit.log.lane import BOOT_ID, CONTEXT, LOG_ID, Lane


def spoil(path: Path, at: int) -> None:
    """Turns one bit of the file."""
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)


def read_or_skip(lane: Lane, position: int = 1) -> tuple[list[Record], list[tuple[int, int]], list[LogDamaged]]:
    """All records that can be read, the ranges that were skipped, and why."""
    reader = LogReader(lane.directory, LOG_ID, position)
    records: list[Record] = []
    gaps, damages = [], []
    while reader.position < lane.writer.committed:
        try:
            records += reader.read(lane.writer.committed, 10, 10_000)
        except LogDamaged as damage:
            damages.append(damage)
            gaps.append(reader.skip_damage(lane.writer.committed))
    return records, gaps, damages


def test_a_record_has_all_that_was_written(lane: Lane) -> None:
    lane.commit(b"payload")
    (one,) = LogReader(lane.directory, LOG_ID, 1).read(2, 100, 10_000)
    assert one == Record(1, 1, 1, 7, 1_000, 2_000, BOOT_ID, CONTEXT, b"", b"payload")


def test_nothing_is_read_beyond_what_is_committed(lane: Lane) -> None:
    lane.commit(*[b"%d" % each for each in range(10)])
    reader = LogReader(lane.directory, LOG_ID, 1)
    assert [each.payload for each in reader.read(4, 100, 10_000)] == [b"0", b"1", b"2"]
    assert reader.read(4, 100, 10_000) == []
    assert reader.position == 4
    assert [each.payload for each in reader.read(11, 2, 10_000)] == [b"3", b"4"]
    assert len(reader.read(11, 100, 1)) == 1
    assert [each.seq for each in reader.read(11, 100, 10_000)] == [7, 8, 9, 10]
    assert reader.read(11, 100, 10_000) == []


@pytest.mark.parametrize("position", [1, 2, 37, 199, 200, 201])
def test_it_begins_anywhere(lane: Lane, position: int) -> None:
    for first in range(0, 200, 4):
        lane.commit(*[b"%d" % each * 300 for each in range(first, first + 4)])
    assert len(lane.segments()) > 1
    expected = [b"%d" % each * 300 for each in range(position - 1, 200)]
    assert lane.payloads(position) == expected


def test_a_reader_follows_while_the_log_is_written(lane: Lane) -> None:
    reader = LogReader(lane.directory, LOG_ID, 1)
    for turn in range(400):
        lane.commit(b"%d" % turn * 200)
        (one,) = reader.read(lane.writer.committed, 100, 100_000)
        assert (one.seq, one.payload) == (turn + 1, b"%d" % turn * 200)
        if turn % 50 == 49:
            lane.writer.forwarded(reader.position)
    lane.wait(lambda: len(lane.segments()) <= 2)


def test_a_frame_longer_than_the_window_is_read(tmp_path: Path) -> None:
    from bridge.log.settings import LogSettings

    lane = Lane(tmp_path, LogSettings(max_bytes=64 << 20, segment_bytes=8 << 20))
    big = bytes(range(256)) * (3 << 12)
    lane.commit(b"small", big, b"small", big)
    assert lane.payloads() == [b"small", big, b"small", big]
    lane.writer.close()


def test_an_empty_log_begins_at_one(tmp_path: Path) -> None:
    assert oldest_position(tmp_path) == 1
    reader = LogReader(tmp_path, LOG_ID)
    assert reader.read(1, 10, 10) == []
    with pytest.raises(LogDamaged, match="gone"):
        reader.read(2, 10, 10)


def test_a_position_that_is_gone_is_a_damage_that_ends_at_the_oldest(lane: Lane) -> None:
    for _ in range(40):
        lane.commit(bytes(5000))
    lane.writer.forwarded(lane.writer.committed)
    lane.wait(lambda: len(lane.segments()) == 1)
    oldest = oldest_position(lane.directory)
    records, gaps, _ = read_or_skip(lane, 1)
    assert gaps == [(1, oldest)]
    assert [each.seq for each in records] == list(range(oldest, 41))


def test_another_log_is_damage(lane: Lane) -> None:
    lane.commit(b"x")
    with pytest.raises(LogDamaged, match="another log"):
        LogReader(lane.directory, b"?" * 16, 1).read(2, 10, 10)


def test_a_damaged_frame_costs_its_own_records_only(lane: Lane) -> None:
    for first in range(0, 30, 3):
        lane.commit(*[b"record %d" % each for each in range(first, first + 3)])
    (path,) = lane.segments()
    spoil(path, path.read_bytes().index(b"record 13"))
    records, gaps, damages = read_or_skip(lane)
    assert gaps == [(13, 16)]
    assert [each.seq for each in records] == [*range(1, 13), *range(16, 31)]
    assert (damages[0].path, damages[0].first_bad) == (path, 13)
    assert damages[0].offset % 8 == 0
    assert damages[0].offset < path.read_bytes().index(b"record 12")


def test_a_position_within_a_damaged_frame_is_damage_too(lane: Lane) -> None:
    lane.commit(b"first")
    lane.commit(b"a", b"b", b"c")
    lane.commit(b"last")
    (path,) = lane.segments()
    spoil(path, PAGE_BYTES + path.read_bytes()[PAGE_BYTES:].index(b"first") + 60)
    records, gaps, _ = read_or_skip(lane, 3)
    assert gaps == [(3, 5)]
    assert [each.payload for each in records] == [b"last"]


@pytest.mark.parametrize("victim", [0, 1, 2])
def test_a_damaged_header_costs_its_segment(lane: Lane, victim: int) -> None:
    while len(lane.segments()) < 4:
        lane.commit(bytes(5000))
    path = lane.segments()[victim]
    spoil(path, 20)
    first, following = int(path.stem), int(lane.segments()[victim + 1].stem)
    records, gaps, damages = read_or_skip(lane)
    assert gaps == [(first, following)]
    assert damages[0].path == path
    assert [each.seq for each in records] == [*range(1, first), *range(following, lane.writer.committed)]


def test_damage_at_the_end_is_passed_and_what_is_written_later_is_read(lane: Lane) -> None:
    lane.commit(b"good")
    lane.commit(b"spoilt")
    (path,) = lane.segments()
    spoil(path, path.read_bytes().index(b"spoilt"))
    reader = LogReader(lane.directory, LOG_ID, 1)
    assert [each.payload for each in reader.read(3, 10, 10_000)] == [b"good"]
    with pytest.raises(LogDamaged):
        reader.read(3, 10, 10_000)
    assert reader.skip_damage(3) == (2, 3)
    assert reader.read(3, 10, 10_000) == []
    lane.commit(b"later")
    assert [each.payload for each in reader.read(4, 10, 10_000)] == [b"later"]


def test_a_missing_segment_is_damage_of_its_records(lane: Lane) -> None:
    while len(lane.segments()) < 4:
        lane.commit(bytes(5000))
    _, second, third, _ = lane.segments()
    second.unlink()
    records, gaps, _ = read_or_skip(lane)
    assert gaps == [(int(second.stem), int(third.stem))]
    assert len(records) + int(third.stem) - int(second.stem) == lane.writer.committed - 1
