"""What happens thousands of times is said once a minute, with its number."""

from __future__ import annotations

from bridge.device_side.seldom import INTERVAL_S, Seldom


def test_once_a_minute_with_what_was_left_out() -> None:
    now = [0.0]
    seldom = Seldom(lambda: now[0])
    assert [seldom.due("a") for _ in range(4)] == [1, 0, 0, 0]
    assert seldom.due("b") == 1
    now[0] = INTERVAL_S
    assert [seldom.due("a"), seldom.due("a")] == [4, 0]


def test_it_forgets_what_was_said_longest_ago() -> None:
    seldom = Seldom(lambda: 0.0)
    for number in range(1024):
        seldom.due(number)
    assert seldom.due(1024) == 1
    assert (seldom.due(1023), seldom.due(0)) == (0, 1)
