"""Waiting: accounts against a list of all that was appended, and who has to wait when."""

from __future__ import annotations

import sys
from typing import Final

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from bridge.device_side.waiting import Waiting
from bridge.log.settings import LogSettings

MIB: Final = 1 << 20
BLOCKING = LogSettings(max_bytes=64 * MIB)
HALF = BLOCKING.max_bytes // 2


class Stock:
    """A writer's figures, by hand."""

    def __init__(self, capacity: int = BLOCKING.max_bytes) -> None:
        self.next_seq = 1
        self.capacity = capacity
        self.room = 2 * BLOCKING.segment_bytes
        self.oldest: int | None = None
        self.sizes: dict[int, tuple[str, int]] = {}

    def bytes_from(self, position: int) -> int:
        return sum(size for seq, (_, size) in self.sizes.items() if seq >= position)


def lane(settings: LogSettings = BLOCKING, stock: Stock | None = None) -> tuple[Waiting, Stock]:
    stock = stock or Stock()
    return Waiting("normal", settings, stock), stock


def append(waiting: Waiting, stock: Stock, device: str, size: int) -> None:
    """As the pipeline does."""
    waiting.account(device).add(size)
    stock.sizes[stock.next_seq] = (device, size)
    stock.next_seq += 1


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("append"), st.sampled_from("abcd"), st.integers(1, 3 * MIB)),
        st.tuples(st.just("forward"), st.just(""), st.integers(0, 100)),
        st.tuples(st.just("look"), st.just(""), st.just(0)),
    ),
    max_size=80,
)


@given(STEPS)
def test_an_account_is_never_too_low_and_what_is_forwarded_comes_back(steps: list[tuple[str, str, int]]) -> None:
    waiting, stock = lane()
    accounts = {device: waiting.account(device) for device in "abcd"}
    position = 1
    for what, device, number in steps:
        if what == "append":
            append(waiting, stock, device, number)
        elif what == "forward":
            position = max(position, 1 + (stock.next_seq - 1) * number // 100)
            waiting.look(position, 0.0)
        else:
            waiting.look(position, 0.0)
        true = dict.fromkeys("abcd", 0)
        for seq, (owner, size) in stock.sizes.items():
            true[owner] += size if seq >= position else 0
        assert all(accounts[each].bytes >= true[each] for each in "abcd")
    waiting.look(stock.next_seq, 0.0)
    assert {account.bytes for account in accounts.values()} == {0}


def test_an_account_is_late_by_a_stretch_at_the_most() -> None:
    waiting, stock = lane()
    for _ in range(500):
        append(waiting, stock, "a", 100_000)
        waiting.look(1, 0.0)
    for position in range(1, 501, 25):
        waiting.look(position, 0.0)
        left = (501 - position) * 100_000
        assert left <= waiting.account("a").bytes <= left + 50_000_000 // 16 + 200_000
    assert len(waiting._stretches) < 80


def test_the_only_device_of_a_lane_may_go_on_until_the_last_segment() -> None:
    waiting, stock = lane()
    append(waiting, stock, "a", HALF + MIB)
    assert not waiting.account("a").blocked
    stock.room = BLOCKING.segment_bytes // 2 - 1
    assert waiting.account("a").blocked


def test_one_of_several_has_half_and_the_others_go_on() -> None:
    waiting, stock = lane()
    babbler, other = waiting.account("a"), waiting.account("b")
    append(waiting, stock, "a", HALF)
    assert not babbler.blocked
    append(waiting, stock, "a", 1)
    assert babbler.blocked
    assert not other.blocked
    waiting.look(stock.next_seq, 0.0)
    assert not babbler.blocked


def test_whose_connection_is_gone_and_has_nothing_waiting_does_not_count() -> None:
    waiting, stock = lane()
    babbler = waiting.account("a")
    append(waiting, stock, "b", 100)
    append(waiting, stock, "a", HALF + 1)
    assert babbler.blocked
    waiting.look(2, 0.0)
    append(waiting, stock, "a", 1)
    assert babbler.blocked, "the stretch in which it has something is not closed"
    waiting.look(1, 0.0)
    waiting.look(stock.next_seq, 0.0)
    append(waiting, stock, "a", HALF + 1)
    assert not babbler.blocked


def test_a_share_that_somebody_set_is_for_a_single_device_too_and_whatever_the_policy() -> None:
    for drop_oldest in (False, True):
        settings = msgspec.structs.replace(BLOCKING, device_share=0.25, drop_oldest=drop_oldest)
        waiting, stock = lane(settings)
        account = waiting.account("a")
        append(waiting, stock, "a", BLOCKING.max_bytes // 4)
        assert not account.blocked
        append(waiting, stock, "a", 1)
        assert account.blocked


def test_where_the_oldest_go_nobody_waits_unless_a_share_is_set() -> None:
    waiting, stock = lane(msgspec.structs.replace(BLOCKING, drop_oldest=True))
    waiting.account("b")
    append(waiting, stock, "a", 10 * BLOCKING.max_bytes)
    assert not waiting.account("a").blocked
    assert waiting.threshold == sys.maxsize


def test_a_share_is_of_what_the_disk_can_hold() -> None:
    waiting, stock = lane()
    account, _ = waiting.account("a"), waiting.account("b")
    append(waiting, stock, "a", 3 * MIB)
    assert not account.blocked
    stock.capacity = 4 * MIB
    waiting.look(1, 0.0)
    assert account.blocked


def test_what_the_log_has_dropped_waits_no_more() -> None:
    waiting, stock = lane()
    append(waiting, stock, "a", 5 * MIB)
    waiting.look(1, 0.0)
    append(waiting, stock, "a", 7 * MIB)
    stock.oldest = 2
    waiting.look(1, 0.0)
    assert waiting.account("a").bytes == 7 * MIB


@given(st.dictionaries(st.sampled_from("abcdef"), st.integers(0, 12 * MIB), min_size=1), st.integers(0, 100))
def test_a_restart_remembers_the_heavy_ones(sizes: dict[str, int], forwarded: int) -> None:
    before, stock = lane()
    for device, size in sizes.items():
        for _ in range(10):
            append(before, stock, device, size // 10)
        before.look(1, 0.0)
    begun = stock.next_seq
    heavy = dict(before.heavy)
    true = {device: size // 10 * 10 for device, size in sizes.items()}
    assert all(abs(heavy.get(device, 0) - size) <= 2 * MIB + sum(sizes.values()) // 16 for device, size in true.items())
    append(before, stock, "a", 500)
    position = 1 + (begun - 1) * forwarded // 100
    after = Waiting("normal", BLOCKING, stock)
    after.restore(heavy, position, begun, {"a": 500})
    room = stock.bytes_from(position)
    assert sum(after.account(device).bytes for device in {*heavy, "a"}) <= room + 16
    after.look(stock.next_seq, 0.0)
    assert after.bytes == 0
