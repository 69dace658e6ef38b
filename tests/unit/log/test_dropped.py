"""Dropping the oldest segments: bounded, never silent, never twice."""

from __future__ import annotations

import time
from itertools import pairwise
from pathlib import Path

import msgspec
import pytest

from bridge.log.boot_clocks import BootClock, BootClocks
from bridge.log.dropped import FILES_MAX, Dropped, Ledger, Stream, dropped_at, dropped_in
from bridge.log.errors import LogDamaged
from bridge.log.queue_key import Keyring
from bridge.log.reader import LogReader
from bridge.log.segment import segment_name
from bridge.log.spares import CLOCK_PLAUSIBLE_NS
from tests.unit.log.lane import LOG_ID, SMALL, Lane
from tests.unit.log.test_reader import spoil
from tests.unit.log.test_writer import Sum

DROPPING = msgspec.structs.replace(SMALL, drop_oldest=True)
MANY = 3 * SMALL.max_bytes // 5_000


@pytest.fixture
def dropping(tmp_path: Path) -> Lane:
    """Three times what the bound allows has been appended."""
    lane = Lane(tmp_path, DROPPING, fold=Sum())
    lane.commit(*(b"1".zfill(5_000) for _ in range(MANY)))
    lane.wait(lambda: len(lane.spares()) == 1)  # the next one is made: nothing more goes
    return lane


def test_it_is_never_full_for_long_and_never_larger_than_its_bound(dropping: Lane) -> None:
    assert dropping.writer.committed == MANY + 1
    files = [*dropping.segments(), *dropping.spares()]
    assert sum(path.stat().st_size for path in files) <= SMALL.max_bytes
    dropping.writer.close()


def test_each_record_is_there_or_told_of(dropping: Lane) -> None:
    oldest = int(dropping.segments()[0].stem)
    gone = [dropped for _, dropped in dropped_in(dropping.directory)]
    assert gone[0].first_seq == 1
    assert [each.next_seq for each in gone] == [*(each.first_seq for each in gone[1:]), oldest]
    for each in gone:
        count = each.next_seq - each.first_seq
        stream = Stream("dev-1", "telemetry", each.first_seq, each.next_seq - 1, count, 1_000, 1_000)
        assert (each.streams, each.reason) == ([stream], "queue-full")
    assert len(dropping.payloads(oldest)) == MANY + 1 - oldest
    dropping.writer.close()


def test_what_is_told_is_forgotten_behind_the_cursor(dropping: Lane) -> None:
    second = dropped_in(dropping.directory)[1][1]
    dropping.writer.forwarded(second.first_seq)
    dropping.wait(lambda: dropped_in(dropping.directory)[0][1] == second)
    dropping.writer.forwarded(dropping.writer.committed)
    dropping.wait(lambda: not dropped_in(dropping.directory))
    dropping.writer.close()


def test_the_fold_outlives_what_is_dropped(dropping: Lane) -> None:
    dropping.writer.close()
    fold = Sum()
    dropping.open(fold)
    assert fold.total == MANY
    dropping.writer.close()


def test_the_segment_that_is_being_forwarded_stays(tmp_path: Path) -> None:
    lane = Lane(tmp_path, DROPPING)
    while len(lane.segments()) < 3:
        lane.commit(bytes(5_000))
    lane.writer.forwarded(3)
    lane.commit(*(bytes(5_000) for _ in range(MANY)))
    assert lane.segments()[0].name == segment_name(1)
    assert dropped_in(tmp_path)[0][1].first_seq == end_of_segment(lane, 1)
    lane.writer.close()


def test_what_is_being_forwarded_outlives_a_restart_though_what_was_behind_it_is_gone(tmp_path: Path) -> None:
    lane = Lane(tmp_path, DROPPING)
    while len(lane.segments()) < 3:
        lane.commit(bytes(5_000))
    lane.writer.forwarded(3)
    lane.commit(*(bytes(5_000) for _ in range(MANY)))
    end = end_of_segment(lane, 1)
    lane.writer.close()
    lane.open()
    assert [each.seq for each in LogReader(tmp_path, LOG_ID, 3).read(end, 100, 1 << 20)] == list(range(3, end))
    lane.writer.close()


def test_when_it_goes_too_the_word_of_what_was_behind_it_stays(tmp_path: Path) -> None:
    lane = Lane(tmp_path, DROPPING)
    while len(lane.segments()) < 3:
        lane.commit(bytes(5_000))
    lane.writer.forwarded(3)
    lane.commit(*(bytes(5_000) for _ in range(MANY)))
    end = end_of_segment(lane, 1)
    lane.writer.close()
    lane.open()  # and nobody says what is forwarded
    lane.commit(*(bytes(5_000) for _ in range(MANY)))
    gone = dropped_at(tmp_path, 1)
    assert gone is not None
    assert gone.next_seq == end
    assert {stream.device for _, dropped in dropped_in(tmp_path) for stream in dropped.streams} == {"dev-1"}
    lane.writer.close()


def end_of_segment(lane: Lane, seq: int) -> int:
    """Where the segment ends that begins with `seq`: a reader comes to there and no further (12 records of 5,000)."""
    reader = LogReader(lane.directory, LOG_ID, seq)
    for _ in range(SMALL.segment_bytes // 5_000 - 1):
        reader.read(lane.writer.committed, 1, 1 << 20)
    with pytest.raises(LogDamaged):
        reader.read(lane.writer.committed, 1, 1 << 20)
    return reader.position


HOUR_NS = 3600 * 10**9
AGING = msgspec.structs.replace(SMALL, max_age=0.5)


def fill_segments(lane: Lane, segments: int) -> None:
    """Writes until there are so many."""
    while len(lane.segments()) < segments:
        lane.commit(bytes(5_000))


@pytest.mark.parametrize("forwarded", [0, 5])
def test_what_is_too_old_goes_but_for_the_newest_segment(tmp_path: Path, forwarded: int) -> None:
    lane = Lane(tmp_path, AGING)
    lane.wall_ns = CLOCK_PLAUSIBLE_NS + HOUR_NS
    fill_segments(lane, 3)
    lane.writer.forwarded(forwarded)
    newest = int(lane.segments()[-1].stem)
    assert not dropped_in(tmp_path), "nothing is old yet"
    lane.mono_ns += HOUR_NS
    lane.wait(lambda: len(lane.segments()) == 1)
    gone = [dropped for _, dropped in dropped_in(tmp_path)]
    assert {each.reason for each in gone} == {"expired"}
    assert gone[0].first_seq == max(1, forwarded), "what was forwarded is not called lost"
    assert gone[-1].next_seq == newest
    assert sum(each.streams[0].count for each in gone) == newest - max(1, forwarded)
    assert len(lane.payloads(newest)) == lane.writer.committed - newest
    lane.writer.close()


@pytest.mark.parametrize("step_ns", [50 * 365 * 24 * HOUR_NS, -5 * HOUR_NS])
def test_a_step_of_the_clock_makes_nothing_old(tmp_path: Path, step_ns: int) -> None:
    lane = Lane(tmp_path, AGING)
    lane.wall_ns = CLOCK_PLAUSIBLE_NS
    fill_segments(lane, 3)
    lane.wall_ns += step_ns
    fill_segments(lane, 4)
    time.sleep(3 * AGING.max_age / 10)
    assert lane.segments()[0].name == segment_name(1)
    assert not dropped_in(tmp_path)
    lane.writer.close()


def begun_in_1970(directory: Path) -> Lane:
    """Three segments of a boot whose clock was not set, and then another boot whose clock is right."""
    lane = Lane(directory, AGING, synchronised=False)
    fill_segments(lane, 3)
    lane.writer.close()
    lane.boot_id, lane.synchronised, lane.mono_ns = b"another boot....", True, HOUR_NS
    lane.wall_ns = CLOCK_PLAUSIBLE_NS + 9 * HOUR_NS
    return lane


def test_what_was_written_before_the_clock_was_set_stays(tmp_path: Path) -> None:
    lane = begun_in_1970(tmp_path)
    lane.open()
    fill_segments(lane, 5)
    time.sleep(3 * AGING.max_age / 10)
    assert lane.segments()[0].name == segment_name(1)
    assert not dropped_in(tmp_path)
    lane.writer.close()


def test_a_boot_whose_clock_was_set_later_has_an_age_and_its_gaps_the_right_times(tmp_path: Path) -> None:
    lane = Lane(tmp_path, AGING, synchronised=False)
    fill_segments(lane, 3)
    begun = BootClock(CLOCK_PLAUSIBLE_NS, 1000)
    lane.writer.tell_clock(lane.boot_id, begun, 5_000)
    lane.commit(bytes(5_000))
    lane.writer.close()
    lane.boot_id, lane.synchronised, lane.mono_ns = b"another boot....", True, 0
    lane.wall_ns = CLOCK_PLAUSIBLE_NS + HOUR_NS
    lane.open()
    lane.wait(lambda: len(lane.segments()) == 1)
    dropped = dropped_in(tmp_path)[0][1]
    assert (dropped.reason, dropped.streams[0].from_ns) == ("expired", CLOCK_PLAUSIBLE_NS + 2_000)
    lane.writer.close()


def test_an_age_across_boots_needs_a_clock_that_is_right_now(tmp_path: Path) -> None:
    lane = Lane(tmp_path, AGING)
    lane.wall_ns = CLOCK_PLAUSIBLE_NS + HOUR_NS
    fill_segments(lane, 3)
    lane.writer.close()
    lane.boot_id, lane.synchronised = b"another boot....", False
    lane.wall_ns += 1000 * HOUR_NS
    lane.open()
    time.sleep(3 * AGING.max_age / 10)
    assert not dropped_in(tmp_path)
    lane.synchronised = True
    lane.wait(lambda: len(lane.segments()) == 1)
    assert dropped_in(tmp_path)
    lane.writer.close()


def test_a_crash_between_the_word_and_the_deed_ends_with_the_deed(tmp_path: Path) -> None:
    lane = Lane(tmp_path)
    while len(lane.segments()) < 4:
        lane.commit(bytes(5_000))
    first, second, *_ = (int(path.stem) for path in lane.segments())
    lane.writer.close()
    Dropped.of_segment(tmp_path, LOG_ID, first, second, "queue-full", BootClocks()).save(tmp_path)
    lane.open()
    assert int(lane.segments()[0].stem) == second
    gone = dropped_at(tmp_path, first)
    assert gone is not None
    assert gone.streams[0].count == second - first
    lane.writer.close()


def test_damage_in_what_is_dropped_is_counted_too(tmp_path: Path) -> None:
    lane = Lane(tmp_path)
    while len(lane.segments()) < 2:
        lane.commit(bytes(5_000))
    first, second = (int(path.stem) for path in lane.segments())
    spoil(lane.segments()[0], 4096 + 200 + 5_100)
    gone = Dropped.of_segment(tmp_path, LOG_ID, first, second, "queue-full", BootClocks())
    assert sum(stream.count for stream in gone.streams) == second - first
    assert {stream.device for stream in gone.streams} == {"dev-1", None}
    lane.writer.close()


def test_a_position_within_is_told_of_what_is_behind_it(tmp_path: Path) -> None:
    ends_before, cut = Stream("a", "t", 1, 4, 4), Stream("b", "t", 2, 9, 7)
    Dropped(1, 10, "queue-full", [ends_before, cut]).save(tmp_path)
    assert dropped_at(tmp_path, 6) == Dropped(6, 10, "queue-full", [Stream("b", "t", 6, 9, 4)])
    assert dropped_at(tmp_path, 10) is None


def test_there_are_never_more_files_than_a_bound(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path, Keyring())
    for number in range(3 * FILES_MAX):
        first, reason = 10 * number, ("queue-full", "expired")[number % 2]
        ledger.add(Dropped(first, first + 10, reason, [Stream("a", "t", first, first, 1)]))
    gone = [dropped for _, dropped in dropped_in(tmp_path)]
    assert len(gone) == FILES_MAX
    assert sum(each.streams[0].count for each in gone) == 3 * FILES_MAX
    assert gone[-1].next_seq == 30 * FILES_MAX
    assert gone[-1].reason == "expired, queue-full"
    assert all(before.next_seq == after.first_seq for before, after in pairwise(gone))


@pytest.mark.parametrize("content", [b"", b"0000", b"00000000{}", b"not a number", b"00000000" + bytes(30)])
def test_a_garbled_file_is_none(tmp_path: Path, content: bytes) -> None:
    path = Dropped(1, 10, "queue-full", []).save(tmp_path)
    assert dropped_in(tmp_path)
    path.write_bytes(content)
    assert not dropped_in(tmp_path)
    assert dropped_at(tmp_path, 1) is None
