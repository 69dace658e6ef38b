"""The long clock: what it counts while the gateway is off, and whom it believes."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from bridge.config import Limits
from bridge.device_side.cold import ColdStore, Table
from bridge.device_side.long_clock import LongClock, Moment
from bridge.device_side.retained import Retained
from bridge.message import Message
from bridge.mqtt.properties import Property
from tests.unit.device_side.clocks import RIGHT_S, HandClock
from tests.unit.device_side.conftest import OpenStore

HOUR, DAY = 3600.0, 86_400.0
Start = Callable[[HandClock], LongClock]


class Shelf(ColdStore):
    """A store in memory: the edge of tests that start a gateway hundreds of times."""

    def __init__(self) -> None:
        self._rows: dict[str, bytes | None] = {}

    def get(self, table: Table, key: str) -> bytes | None:
        return self._rows.get(key)

    def put(self, table: Table, key: str, value: bytes | None) -> None:
        self._rows[key] = value

    write = put


@pytest.fixture
def start() -> Start:
    """The gateway's next start, after its power was cut."""
    shelf = Shelf()
    return lambda clock: LongClock(clock, shelf)


def leave(start: Start, clock: HandClock) -> Moment:
    """What is to end in an hour."""
    return start(clock).mark(HOUR)


def test_in_one_boot_the_monotonic_clock_counts_whatever_the_wall_clock_does(start: Start) -> None:
    clock = HandClock()
    end = leave(start, clock)
    clock.mono += 600
    clock.wall = 0.0
    assert start(clock).until(end) == pytest.approx(HOUR - 600)
    clock.wall, clock.right = RIGHT_S + DAY, False
    assert start(clock).until(end) == pytest.approx(HOUR - 600)


def test_between_boots_whose_clocks_are_right_the_wall_clock_counts(start: Start) -> None:
    end = leave(start, HandClock(5000.0))
    assert start(HandClock(10.0, wall=RIGHT_S + 600, boot=2)).until(end) == pytest.approx(HOUR - 600)
    assert start(HandClock(10.0, wall=RIGHT_S + DAY, boot=3)).until(end) == pytest.approx(HOUR - DAY)


@pytest.mark.parametrize(("first_right", "next_right"), [(True, False), (False, True), (False, False)])
@pytest.mark.parametrize(("first", "later"), [(RIGHT_S, 0.0), (0.0, RIGHT_S), (RIGHT_S, RIGHT_S - DAY)])
def test_a_clock_that_nobody_vouches_for_ends_nothing_and_keeps_nothing_for_ever(
    start: Start, first: float, later: float, first_right: bool, next_right: bool
) -> None:
    """Only the time that the gateway runs counts, in each boot."""
    before = HandClock(5000.0, wall=first, right=first_right)
    end = leave(start, before)
    before.pass_by(600)
    start(before)
    after = HandClock(10.0, wall=later, boot=2, right=next_right)
    long = start(after)
    assert long.until(end) == pytest.approx(HOUR - 600)
    after.pass_by(HOUR - 600)
    assert long.until(end) == pytest.approx(0.0)


def test_what_a_boot_has_run_is_written_down_now_and_then(start: Start) -> None:
    """Many short lives without a right clock add up."""
    end = leave(start, HandClock(10.0, right=False))
    for boot in range(2, 8):
        clock = HandClock(10.0, wall=0.0, boot=boot, right=False)
        long = start(clock)
        clock.pass_by(601)
        long.look()
    assert start(HandClock(10.0, boot=9, right=False)).until(end) == pytest.approx(HOUR - 6 * 601)


def test_a_clock_that_is_set_late_says_how_long_the_gateway_was_off(start: Start) -> None:
    """What this boot marked before that is not aged by it."""
    end = leave(start, HandClock(5000.0))
    clock = HandClock(10.0, wall=0.0, boot=2, right=False)
    long = start(clock)
    own = long.mark(HOUR)
    clock.pass_by(60)
    assert long.until(end) == pytest.approx(HOUR - 60)
    clock.wall, clock.right = RIGHT_S + 600, True
    long.look()
    assert (long.until(end), long.until(own)) == pytest.approx((HOUR - 600, HOUR - 60))
    clock.pass_by(40)
    again = start(clock)
    assert (again.until(end), again.until(own)) == pytest.approx((HOUR - 640, HOUR - 100))


def test_a_boot_whose_clock_was_never_set_may_lie_anywhere_between_its_neighbours(start: Start) -> None:
    """What it marked is given the most it can have."""
    known = leave(start, HandClock(5000.0))
    unknown = leave(start, HandClock(10.0, wall=0.0, boot=2, right=False))
    long = start(HandClock(10.0, wall=RIGHT_S + 1200, boot=3))
    assert long.until(known) == pytest.approx(HOUR - 1200)
    assert long.until(unknown) == pytest.approx(HOUR)


def test_a_clock_that_steps_back_gives_nothing_more_time(start: Start) -> None:
    end = leave(start, HandClock(5000.0))
    long = start(HandClock(10.0, wall=RIGHT_S - DAY, boot=2))
    assert long.until(end) == pytest.approx(HOUR)


def test_what_was_marked_in_a_boot_long_forgotten_ends_too(start: Start) -> None:
    end = leave(start, HandClock(1, boot=0, right=False))
    for boot in range(1, 256):
        start(HandClock(1, boot=boot, right=False))
    clock = HandClock(1, boot=255, right=False)
    clock.boot_id = b"another boot, too"[:16]
    long = start(clock)
    assert 0 < long.until(end) <= HOUR
    clock.pass_by(HOUR)
    assert long.until(end) <= 0


def test_a_retained_message_survives_a_start_in_1970(open_store: OpenStore) -> None:
    """And goes when the gateway has run for as long as it was to be kept."""
    store, clock = open_store(), HandClock()
    retained = Retained(store, Limits(), LongClock(clock, store), lambda: clock.mono)
    retained.store(Message("t", b"x", retain=True, properties={Property.MESSAGE_EXPIRY_INTERVAL: 3600}))
    store.close()
    again, later = open_store(), HandClock(3.0, wall=0.0, boot=2, right=False)
    retained = Retained(again, Limits(), LongClock(later, again), lambda: later.mono)
    assert [message.topic for message in retained.matching("t")] == ["t"]
    later.mono += 3600
    assert not list(retained.matching("t"))
