"""Buckets against the arithmetic they stand for; tables that do not grow."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from bridge.device_side.token_bucket import Bounded, TokenBucket


@given(st.lists(st.tuples(st.floats(0, 10), st.booleans()), max_size=60), st.integers(1, 20), st.integers(1, 20))
def test_never_more_than_the_burst_and_the_rate(moments: list[tuple[float, bool]], rate: int, burst: int) -> None:
    bucket, now, taken = TokenBucket(rate, burst, 0.0), 0.0, 0
    for pause, wants in moments:
        now += pause
        taken += wants and bucket.take_one(now)
        assert taken <= burst + rate * now + 1e-6


def test_a_debt_is_paid_first() -> None:
    bucket = TokenBucket(10, 5, 0.0)
    bucket.spend(25)
    assert bucket.level(0.0) == -20
    assert not bucket.take_one(2.0)
    assert bucket.take_one(2.1)
    assert bucket.level(1000.0) == 5
    assert bucket.level(999.0) == 5


def test_the_least_recently_asked_for_is_forgotten() -> None:
    table: Bounded[list[str]] = Bounded(2, list)
    table.of("a").append("a was here")
    table.of("b")
    table.of("a")
    table.of("c")
    assert len(table) == 2
    assert table.known("a") == ["a was here"]
    assert table.known("b") is None
    assert table.of("c") == []
