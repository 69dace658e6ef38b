"""What is a desired state, and what is not."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.bus_side.desired import NotDesired, encode_desired
from bridge.log.record import TOMBSTONE, decode, decode_context


def decoded(key, value, offset=7):
    return decode(encode_desired(key, value, offset, 1, 1000), 1, bytes(16))


def test_version_left_out_is_the_offset():
    record = decoded(b"dev-1", b'{"state": {"a": [1, 2.50, {"b": null}]}}')
    assert decode_context(record.context) == ("dev-1", "", "")
    assert json.loads(record.payload) == {"version": 7, "state": {"a": [1, 2.5, {"b": None}]}}


def test_null_is_a_tombstone():
    record = decoded(b"dev-1", None)
    assert (record.flags, record.payload) == (TOMBSTONE, b"")


@pytest.mark.parametrize(
    "value", [b"", b"null", b"1", b"{}", b'{"state": 1}', b'{"state": {}, "version": true}', b"\xff", b" " * 2000]
)
def test_anything_else_is_refused(value):
    with pytest.raises(NotDesired):
        decoded(b"dev-1", value)


@given(st.binary(max_size=20), st.binary(max_size=200))
def test_no_bytes_raise_anything_else(key, value):
    try:
        record = decoded(key, value)
    except NotDesired:
        return
    assert json.loads(record.payload)["version"] >= 0
