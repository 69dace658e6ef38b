"""A wall clock that is set late: what the log keeps of it, and how the times of earlier records come right."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.log import record
from bridge.log.boot_clocks import BOOTS_MAX, BootClock, BootClocks, clock_of, encode_clock
from bridge.log.record import CLOCK_CORRECTED, CLOCK_SYNCHRONISED, Record
from tests.unit.log.lane import BOOT_ID, CONTEXT, Lane, read_all

OTHER_BOOT = bytes(16)
HOUR_NS = 3600 * 10**9
NOW_NS = 1_800_000_000 * 10**9
CLOCKS = st.builds(BootClock, st.integers(-(1 << 62), 1 << 62), st.integers(0, 1 << 40))


def received(mono_ns: int, flags: int = 0, boot: bytes = BOOT_ID) -> Record:
    """A message by a clock that stands in 1970."""
    return Record(1, record.MESSAGE, flags, 0, mono_ns, mono_ns, boot, CONTEXT, b"", b"")


@given(st.dictionaries(st.binary(min_size=16, max_size=16), st.none() | CLOCKS, max_size=5))
def test_they_come_back_from_a_checkpoint(known: dict[bytes, BootClock | None]) -> None:
    assert BootClocks.decode(BootClocks(known).encode()).known == known


@pytest.mark.parametrize("headers", [b"", b"x", record.encode_headers([("clocks", b"1234")])])
def test_a_checkpoint_without_them_has_none(headers: bytes) -> None:
    assert not BootClocks.decode(headers).known


@given(CLOCKS, st.integers(0, 1 << 60))
def test_a_clock_record_says_what_was_read(clock: BootClock, mono_ns: int) -> None:
    assert clock_of(record.decode(encode_clock(clock, mono_ns), 1, BOOT_ID)) == clock


@pytest.mark.parametrize("step_ns", [NOW_NS, 3 * HOUR_NS, -3 * HOUR_NS])
def test_only_what_was_received_by_a_clock_not_known_to_be_right_is_corrected(step_ns: int) -> None:
    clocks = BootClocks()
    clocks.learn(BOOT_ID, BootClock(step_ns, 0))
    records = [received(5), received(6, CLOCK_SYNCHRONISED), received(7, boot=OTHER_BOOT)]
    clocks.correct(records)
    assert [(each.wall_ns, each.flags) for each in records] == [
        (step_ns + 5, CLOCK_CORRECTED), (6, CLOCK_SYNCHRONISED), (7, 0),
    ]  # fmt: skip


def test_the_oldest_boots_are_forgotten_first() -> None:
    clocks = BootClocks()
    for number in range(BOOTS_MAX + 3):
        clocks.learn(number.to_bytes(16), BootClock(number, 0))
    clocks.doubt((1).to_bytes(16))
    assert len(clocks.known) == BOOTS_MAX
    assert clocks.wall_ns((0).to_bytes(16), 0) is clocks.wall_ns((1).to_bytes(16), 0) is None
    assert clocks.wall_ns((9).to_bytes(16), 1) == 10


def lives(tmp_path: Path) -> Lane:
    """A boot in 1970 whose clock is set, segments later, and a start in the same boot after that."""
    lane = Lane(tmp_path, synchronised=False)
    lane.commit(b"in 1970")
    lane.writer.close()
    lane.open()
    lane.writer.tell_clock(BOOT_ID, BootClock(NOW_NS, 7), 3_000)
    while len(lane.segments()) < 3:
        lane.commit(bytes(5_000))
    lane.writer.close()
    return lane


def test_what_is_known_outlives_every_start_and_is_in_the_newest_segment(tmp_path: Path) -> None:
    lane = lives(tmp_path)
    for path in lane.segments()[:-1]:
        path.unlink()
    lane.open()
    assert lane.writer.clocks.known == {BOOT_ID: BootClock(NOW_NS, 7)}
    lane.writer.close()


def test_a_start_finds_out_that_records_of_its_boot_wait_for_the_time(tmp_path: Path) -> None:
    lane = Lane(tmp_path)
    lane.commit(b"by a clock that is not known to be right")  # its flag says so; the checkpoint came before
    lane.writer.close()
    lane.open()
    assert lane.writer.clocks.known == {BOOT_ID: None}
    lane.writer.close()


def test_clock_records_stand_between_the_others_and_older_readers_pass_over_them(tmp_path: Path) -> None:
    lane = lives(tmp_path)
    records = read_all(tmp_path, lane.writer.committed)
    assert [each.kind for each in records[:3]] == [record.MESSAGE, record.CLOCK, record.MESSAGE]
    assert [each.seq for each in records] == list(range(1, len(records) + 1))
    clocks = BootClocks()
    for each in records:
        clocks.replay(each)
    clocks.correct(records[:1])
    assert records[0].wall_ns == NOW_NS + 2_000


def test_a_lane_learns_what_another_one_was_told() -> None:
    one, other = BootClocks({BOOT_ID: None}), BootClocks({BOOT_ID: BootClock(5, 0), OTHER_BOOT: None})
    one.merge(other)
    assert one.known == {BOOT_ID: BootClock(5, 0)}
