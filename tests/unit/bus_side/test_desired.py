"""What is a desired state, and what is not."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.bus_side.desired import NotDesired, encode_desired
from bridge.log.record import DESIRED, LABELS, TOMBSTONE, decode, decode_context


def decoded(key, value, offset=7):
    return decode(encode_desired(key, value, offset, 1, 1000, 2), 1, bytes(16))


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


def test_labels_have_a_key_of_their_own():
    record = decoded(b"labels/dev-1", b'{"labels": {"site": "north", "model": "x1"}}')
    assert (record.kind, decode_context(record.context)[0]) == (LABELS, "dev-1")
    assert json.loads(record.payload) == {"version": 7, "labels": {"site": "north", "model": "x1"}}
    removed = decoded(b"labels/dev-1", None)
    assert (removed.kind, removed.flags, removed.payload) == (LABELS, TOMBSTONE, b"")
    assert decoded(b"dev-1", b'{"state": {}}').kind == DESIRED


@pytest.mark.parametrize(
    "labels", ['{"a": 1}', '{"a b": "c"}', '{"a": ""}', '["a"]', '{"a": "1", "b": "2", "c": "3"}', "null"]
)
def test_what_cannot_be_labels_is_refused(labels):
    with pytest.raises(NotDesired):
        decoded(b"labels/dev-1", f'{{"labels": {labels}}}'.encode())


def test_groups_have_desired_states_too():
    record = decoded(b"group/site=north", b'{"state": {"a": 1}}')
    assert (record.kind, decode_context(record.context)[0]) == (DESIRED, "group/site=north")


@pytest.mark.parametrize("name", [b"", b"everyone", b"a b=c", b"site="])
def test_what_cannot_be_a_group_is_refused(name):
    with pytest.raises(NotDesired):
        decoded(b"group/" + name, b'{"state": {}}')


def test_labels_of_nobody_are_refused():
    with pytest.raises(NotDesired):
        decoded(b"labels/", b'{"labels": {}}')


@given(st.binary(max_size=20) | st.just(b"labels/d"), st.binary(max_size=200))
def test_no_bytes_raise_anything_else(key, value):
    try:
        record = decoded(key, value)
    except NotDesired:
        return
    assert json.loads(record.payload)["version"] >= 0
