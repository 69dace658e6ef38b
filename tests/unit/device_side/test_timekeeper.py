"""Who is told when the clock comes right, and who is not."""

from __future__ import annotations

from pathlib import Path

import pytest

from bridge.device_side.clock import Clock
from bridge.device_side.timekeeper import STEP_NS, Timekeeper
from bridge.log import record
from bridge.log.errors import LogFull
from tests.unit.log.lane import BOOT_ID, Lane, read_all

NOW_NS = 1_800_000_000 * 10**9


class SetClock(Clock):
    """Stands where the test puts it."""

    def __init__(self) -> None:
        super().__init__()
        self.boot_id = BOOT_ID
        self.is_right = False
        self.wall = 5_000
        self.mono_ns = lambda: 5_000
        self.wall_ns = lambda: self.wall

    def look(self) -> bool:
        return self.is_right

    def synchronised(self) -> bool:
        return self.is_right


class Site:
    """Two lanes of one gateway."""

    def __init__(self, directory: Path, *, right: bool = False) -> None:
        self.clock = SetClock()
        self.clock.is_right = right
        for name in "ab":
            (directory / name).mkdir(parents=True, exist_ok=True)
        self.lanes = [Lane(directory / name, synchronised=right) for name in "ab"]
        self.keeper = Timekeeper(self.clock, [lane.writer for lane in self.lanes])

    def told(self) -> list[list[int]]:
        """By lane, the wall clock of each CLOCK record."""
        for lane in self.lanes:
            lane.wait(lambda lane=lane: lane.writer.committed == lane.writer.next_seq)  # type: ignore[misc]
        found = [read_all(lane.directory, lane.writer.committed) for lane in self.lanes]
        return [[each.wall_ns for each in records if each.kind == record.CLOCK] for records in found]

    def close(self) -> None:
        for lane in self.lanes:
            lane.writer.close()


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def test_nothing_is_said_until_the_clock_is_right_and_then_once_in_each_lane(site: Site) -> None:
    assert not site.keeper.look()
    site.clock.is_right, site.clock.wall = True, NOW_NS
    assert site.keeper.look()
    assert not site.keeper.look()
    assert site.told() == [[NOW_NS], [NOW_NS]]
    assert site.keeper.known.wall_ns(BOOT_ID, 6_000) == NOW_NS + 1_000
    site.close()


def test_a_clock_that_was_right_all_along_needs_no_record(tmp_path: Path) -> None:
    site = Site(tmp_path, right=True)
    site.clock.wall += STEP_NS
    assert not site.keeper.look()
    assert site.told() == [[], []]
    site.close()


@pytest.mark.parametrize("step_ns", [STEP_NS + 1, -2 * STEP_NS, 3600 * 10**9])
def test_a_step_of_a_clock_that_counts_as_right_is_written_down(tmp_path: Path, step_ns: int) -> None:
    site = Site(tmp_path, right=True)
    site.clock.wall = NOW_NS
    site.keeper.look()
    site.clock.wall += step_ns
    assert site.keeper.look()
    assert site.told()[0][-1] == NOW_NS + step_ns
    site.close()


def test_a_clock_that_is_lost_and_found_again_where_it_should_be_needs_no_second_record(site: Site) -> None:
    for right in (True, False, True):
        site.clock.is_right = right
        site.keeper.look()
    assert site.told() == [[5_000], [5_000]]
    site.close()


def append_for_ever(lane: Lane) -> None:
    """The shortest records there are."""
    while True:
        lane.writer.append(record.encode(record.RESET, 0, 0, 0, 0, b"", b"", b""))


def test_a_lane_without_room_is_told_when_it_has_some(site: Site) -> None:
    lane = site.lanes[1]
    lane.fill(9_000)
    with pytest.raises(LogFull):
        append_for_ever(lane)
    lane.writer.kick()
    site.clock.is_right, site.clock.wall = True, NOW_NS
    assert site.keeper.look()
    assert lane.writer.clocks.known == {BOOT_ID: None}
    lane.writer.forwarded(lane.writer.committed)
    lane.wait(lambda: not lane.writer.full and not lane.writer.shortage)
    assert site.keeper.look()
    assert site.told() == [[NOW_NS], [NOW_NS]]
    site.close()


def test_what_one_lane_knows_of_an_earlier_boot_all_know(tmp_path: Path) -> None:
    first = Site(tmp_path)
    first.clock.is_right, first.clock.wall = True, NOW_NS
    only_one = Timekeeper(first.clock, [first.lanes[0].writer])
    only_one.look()
    first.close()
    again = Site(tmp_path)
    assert again.lanes[1].writer.clocks.wall_ns(BOOT_ID, 5_000) == NOW_NS
    again.close()
