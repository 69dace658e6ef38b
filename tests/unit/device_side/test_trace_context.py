"""W3C Trace Context: what is carried on, what is dropped, what is begun."""

from __future__ import annotations

import os
import re

import pytest

from bridge.device_side.trace_context import Beginnings, carried

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
PARENT = f"00-{TRACE}-{SPAN}-01"


@pytest.mark.parametrize(
    "parent", [PARENT, f"00-{TRACE}-{SPAN}-ff", f"cc-{TRACE}-{SPAN}-01", f"01-{TRACE}-{SPAN}-00-new"]
)
def test_a_valid_parent_goes_on_as_it_came(parent):
    assert carried([parent], []) == [("traceparent", parent.encode())]


@pytest.mark.parametrize(
    "parent",
    [
        "",
        PARENT.upper(),
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"{PARENT}-more",
        f"{PARENT}\n",
        f" {PARENT}",
        f"01-{TRACE}-{SPAN}-01x",
        f"00-{TRACE[:-1]}-{SPAN}-01",
        f"00-{TRACE[:-1]}٣-{SPAN}-01",
    ],
)
def test_an_invalid_parent_is_dropped_and_the_state_with_it(parent):
    assert carried([parent], ["a=1"]) == []


def test_two_parents_are_none():
    assert carried([PARENT, PARENT], []) == []


@pytest.mark.parametrize(
    ("states", "expected"),
    [
        (["rojo=00f067aa0ba902b7,congo=t61rcWkgMzE"], b"rojo=00f067aa0ba902b7,congo=t61rcWkgMzE"),
        (["rojo=1", " congo=2 ,, tenant@sys=3"], b"rojo=1,congo=2,tenant@sys=3"),
        (["a=1,a=2"], None),
        (["A=1"], None),
        (["a=1=2"], None),
        (["a"], None),
        (["a="], None),
        (["a=é"], None),
        ([""], None),
        ([",".join(f"k{number}=v" for number in range(32))], ",".join(f"k{number}=v" for number in range(32)).encode()),
        ([",".join(f"k{number}=v" for number in range(33))], None),
        ([f"a={'x' * 256}"], f"a={'x' * 256}".encode()),
        ([f"a={'x' * 257}"], None),
    ],
)
def test_the_state_goes_on_whole_or_not_at_all(states, expected):
    assert dict(carried([PARENT], states)).get("tracestate") == expected
    assert dict(carried([PARENT], states))["traceparent"] == PARENT.encode()


def test_beginnings_are_valid_and_differ():
    beginnings = Beginnings(os.urandom)
    found = [beginnings.next() for _ in range(1000)]
    assert len(set(found)) == 1000
    assert len({each[3:35] for each in found}) == 1000
    assert all(carried([each.decode()], []) for each in found)
    assert all(re.fullmatch(rb"00-[0-9a-f]{32}-[0-9a-f]{16}-01", each) for each in found)


def test_zeros_are_no_identifiers():
    rolls = iter([bytes(4080), os.urandom(4080)])
    assert carried([Beginnings(lambda _: next(rolls)).next().decode()], [])
