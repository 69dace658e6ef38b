"""When a backlog is one, and how long it will take, against a simulation second by second."""

from __future__ import annotations

import pytest

from bridge.bus_side.catch_up import CatchUp

MIB = 1 << 20


def simulate(catch_up, backlog, came_in, went_out, seconds):
    """Readings once a second; returns `(second, active, seconds, waiting)` of each."""
    waiting, forwarded, told = backlog, 0, []
    for second in range(seconds):
        catch_up.observe(float(second), waiting, forwarded)
        told.append((second, catch_up.active, catch_up.seconds, waiting))
        went = min(went_out, waiting + came_in)
        waiting, forwarded = waiting + came_in - went, forwarded + went
    return told


@pytest.mark.parametrize("came_in", [0, 1 * MIB, 4 * MIB])
def test_the_estimate_comes_true(came_in):
    told = simulate(CatchUp(), 600 * MIB, came_in, 10 * MIB, 400)
    end = next(second for second, _, _, waiting in told if waiting == 0)
    guesses = [(second, seconds) for second, active, seconds, _ in told[:end] if active and second > 1]
    assert guesses
    assert all(abs(second + seconds - end) < 0.05 * end + 2 for second, seconds in guesses)
    assert not told[-1][1], "it has an end"


def test_what_is_on_its_way_anyway_is_no_backlog():
    told = simulate(CatchUp(), 1 * MIB, 5 * MIB, 6 * MIB, 60)
    assert not any(active for _, active, _, _ in told)


def test_more_in_than_out_has_no_end():
    told = simulate(CatchUp(), 100 * MIB, 9 * MIB, 5 * MIB, 60)
    assert all(active and seconds is None for _, active, seconds, _ in told[1:])


def test_begins_anew_after_a_pause():
    catch_up = CatchUp()
    simulate(catch_up, 600 * MIB, 0, 10 * MIB, 10)
    assert catch_up.active
    catch_up.pause()
    assert (catch_up.active, catch_up.seconds) == (False, None)
    told = simulate(catch_up, 600 * MIB, 0, 100 * MIB, 3)
    assert told[-1][2] == pytest.approx(4, abs=0.1), "the old rates are forgotten"
