"""The bound on what goes over the link, against a link simulated batch by batch."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from bridge.bus_side.meter import Meter

RATE = 10_000


@given(st.lists(st.integers(1, 30_000), min_size=1, max_size=60), st.floats(0, 5))
def test_the_average_keeps_to_the_rate(batches, idle):
    meter = Meter(RATE, 0.0)
    now, sent = idle, 0
    for size in batches:
        now += meter.wait_s(now)
        meter.spend(now, size, size)
        sent += size
        # One second's worth may be saved up, and what begins within the bound is sent whole.
        assert sent <= RATE * (now + 1) + max(batches) + 1
    assert now <= idle + sum(batches) / RATE, "and the link is not left idle"


def test_an_idle_link_saves_up_no_more_than_a_second():
    meter = Meter(RATE, 0.0)
    meter.spend(1000.0, 2 * RATE, 2 * RATE)
    assert meter.wait_s(1000.0) == 1.0
    assert meter.wait_s(1000.5) == 0.5
    assert meter.wait_s(2000.0) == 0.0


def test_a_transaction_is_a_seconds_worth_after_compression():
    meter = Meter(RATE, 0.0)
    assert meter.bytes_max() == RATE
    for second in range(40):
        meter.spend(float(second), RATE, RATE * 5)
    assert 4.9 * RATE < meter.bytes_max() <= 5 * RATE
    meter.spend(100.0, 0, 0)
    assert meter.bytes_max() > 4.9 * RATE, "what sent nothing teaches nothing"
