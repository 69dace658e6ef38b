"""Who gets how much of a transaction, and where reading goes on."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from bridge.bus_side.backoff import Backoff
from bridge.bus_side.lanes import Budget, furthest, shares

LANES = st.dictionaries(st.sampled_from("abcdef"), st.tuples(st.integers(1, 10), st.integers(0, 10_000)), min_size=1)


@given(LANES, st.integers(1, 20_000))
def test_shares_waste_nothing_and_starve_nobody(lanes, budget):
    weights = {name: weight for name, (weight, _) in lanes.items()}
    backlog = {name: count for name, (_, count) in lanes.items()}
    given_out = shares(weights, backlog, budget)
    waiting = {name for name, count in backlog.items() if count}
    assert given_out.keys() == waiting
    assert all(1 <= given_out[name] <= backlog[name] for name in waiting)
    wanted = sum(backlog.values())
    # Rounding may cost less than one record a lane.
    assert min(wanted, budget) - len(waiting) <= sum(given_out.values()) <= max(budget, 0) + len(waiting)


def test_shares_go_by_weight_while_all_have_enough():
    assert shares({"alarm": 8, "bulk": 1, "normal": 1}, dict.fromkeys(("alarm", "bulk", "normal"), 9999), 1000) == {
        "alarm": 800,
        "bulk": 100,
        "normal": 100,
    }


def test_what_one_does_not_need_goes_to_the_others():
    assert shares({"alarm": 8, "bulk": 1}, {"alarm": 10, "bulk": 9999}, 1000) == {"alarm": 10, "bulk": 990}


def test_furthest_known_position():
    assert furthest((None, None), oldest=1, committed=50) == 1
    assert furthest((None, None), oldest=30, committed=50) == 30
    assert furthest((40, 45), oldest=30, committed=50) == 45
    assert furthest((40, None), oldest=30, committed=50) == 40
    # Somebody removed segments that were not forwarded: what they held is a gap, not nothing.
    assert furthest((10, None), oldest=30, committed=50) == 10
    # The disk lost records that were forwarded: their numbers are given out again.
    assert furthest((60, 45), oldest=30, committed=50) == 45
    assert furthest((60, None), oldest=30, committed=50) == 30


def test_budget_halves_and_grows_back():
    budget = Budget(20_000, 16 << 20)
    for _ in range(40):
        budget.shrink()
    assert (budget.records, budget.bytes) == (1, 838)
    for _ in range(40):
        budget.grow()
    assert (budget.records, budget.bytes) == (20_000, 16 << 20)


def test_backoff_doubles_up_to_its_bound_with_jitter():
    lowest = Backoff(0.1, 1.0, lambda: 0.0)
    highest = Backoff(0.1, 1.0, lambda: 1.0)
    assert [round(lowest.next_s(), 3) for _ in range(6)] == [0.05, 0.1, 0.2, 0.4, 0.5, 0.5]
    assert [round(highest.next_s(), 3) for _ in range(6)] == [0.1, 0.2, 0.4, 0.8, 1.0, 1.0]
    highest.reset()
    assert highest.next_s() == 0.1
