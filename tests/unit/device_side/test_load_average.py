"""Averages that forget."""

from __future__ import annotations

import pytest

from bridge.device_side.load_average import LoadAverage


def test_a_steady_rate_is_what_they_come_to() -> None:
    load = LoadAverage()
    load.update(0, 0.0)
    for number in range(1, 1000):
        load.update(number * 20, 10.0)
    assert load.per_minute == pytest.approx({1: 120.0, 5: 120.0, 15: 120.0}, rel=0.01)


def test_the_longer_ones_rise_and_fall_slower() -> None:
    load = LoadAverage()
    load.update(60, 60.0)
    rising = dict(load.per_minute)
    assert 60 > rising[1] > rising[5] > rising[15] > 0
    assert rising[1] == pytest.approx(60 * (1 - 2.718281828**-1))
    for _ in range(10):
        load.update(60, 60.0)
    assert load.per_minute[1] < 0.01 < load.per_minute[5] < load.per_minute[15]


def test_a_first_reading_has_no_rate() -> None:
    load = LoadAverage()
    load.update(1_000_000, 0.0)
    load.update(1_000_000, 10.0)
    assert load.per_minute == {1: 0.0, 5: 0.0, 15: 0.0}
