"""Payloads name themselves."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware_sim import payload
from firmware_sim.merge_patch import merge


@given(st.integers(1, 10**7), st.integers(0, 2), st.integers(0, 2**62), st.integers(1, 2000))
def test_a_payload_reads_back_and_has_its_size(n: int, qos: int, at: int, size: int) -> None:
    value = payload.encode("dev-00001", n, qos, at, "planted", size)
    told = payload.decode(value)
    assert told is not None
    assert (told.device, told.n, told.qos, told.at, told.marker) == ("dev-00001", n, qos, at, "planted")
    assert len(value) == max(size, len(value) - len(told.fill))


@pytest.mark.parametrize("value", [b"", b"{}", b"[1]", b"\xff", b'{"device":1,"n":1,"qos":1,"at":1,"marker":""}'])
def test_what_is_no_payload(value: bytes) -> None:
    assert payload.decode(value) is None


@pytest.mark.parametrize(
    ("target", "patch", "result"),
    # RFC 7386, appendix A, and what is special in it
    [
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b"}, {"a": None}, {}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
        ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
        ([1, 2], {"a": "b", "c": None}, {"a": "b"}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
    ],
)
def test_merge_patch(target: object, patch: object, result: object) -> None:
    assert merge(target, patch) == result
