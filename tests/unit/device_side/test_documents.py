"""Merging, the difference, versions."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.device_side.documents import (
    DesiredState,
    Document,
    Presence,
    apply_desired,
    apply_reported,
    depth,
    difference,
    merge_patch,
    replacing,
    with_presence,
    without_desired,
)

AT = "2026-01-01T00:00:00.000Z"
SCALARS = st.one_of(st.none(), st.booleans(), st.sampled_from([0, 1, 0.5, -1]), st.sampled_from(["", "a"]))
NAMES = st.sampled_from(["a", "b", "c"])
JSON = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(NAMES, inner, max_size=3), max_leaves=8
)
OBJECTS = st.dictionaries(NAMES, JSON, max_size=3)
REPORTED = OBJECTS.map(lambda patch: merge_patch({}, patch))
"""What patches can make: it holds no null but in arrays."""


def json(value: object) -> bytes:
    """Tells true from 1 and 1 from 1.0, which `==` does not."""
    return msgspec.json.encode(value, order="sorted")


@given(REPORTED, REPORTED)
def test_the_patch_that_makes_one_state_another(before: Any, after: Any) -> None:
    patch = replacing(before, after)
    assert merge_patch(before, patch) == after
    assert (patch == {}) == (before == after or json(before) == json(after))
    assert replacing(after, after) == {}


APPENDIX_A: list[tuple[Any, Any, Any]] = [
    ({"a": "b"}, {"a": "c"}, {"a": "c"}),
    ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
    ({"a": "b"}, {"a": None}, {}),
    ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
    ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
    ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
    ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
    ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
    (["a", "b"], ["c", "d"], ["c", "d"]),
    ({"a": "b"}, ["c"], ["c"]),
    ({"a": "foo"}, None, None),
    ({"a": "foo"}, "bar", "bar"),
    ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
    ([1, 2], {"a": "b", "c": None}, {"a": "b"}),
    ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
]


@pytest.mark.parametrize(("original", "patch", "result"), APPENDIX_A)
def test_the_vectors_of_rfc_7386_appendix_a(original: Any, patch: Any, result: Any) -> None:
    assert json(merge_patch(original, patch)) == json(result)


@given(JSON, JSON)
def test_merging_changes_neither_argument(target: Any, patch: Any) -> None:
    before = json(target), json(patch)
    merge_patch(target, patch)
    assert (json(target), json(patch)) == before


@given(OBJECTS, REPORTED)
def test_a_device_that_does_what_the_delta_says_has_nothing_left_to_do(desired: Any, reported: Any) -> None:
    obeyed = merge_patch(reported, difference(desired, reported))
    assert difference(desired, obeyed) == {}


@given(OBJECTS, REPORTED)
def test_an_obedient_device_has_what_is_desired_and_keeps_the_rest(desired: Any, reported: Any) -> None:
    obeyed = merge_patch(reported, difference(desired, reported))
    assert json(obeyed) == json(merge_patch(reported, desired))


@pytest.mark.parametrize(
    ("desired", "reported", "delta"),
    [
        ({"a": True}, {"a": 1}, {"a": True}),
        ({"a": 0}, {"a": False}, {"a": 0}),
        ({"a": [True]}, {"a": [1]}, {"a": [True]}),
        ({"a": 1}, {"a": 1.0}, {}),
        ({"a": {"b": 1}}, {"a": {"b": 1, "c": 2}}, {}),
        ({"a": {"b": 1, "d": 3}}, {"a": {"b": 2, "c": 2, "d": 3}}, {"a": {"b": 1}}),
        ({"a": {}}, {}, {"a": {}}),
        ({"a": None}, {}, {}),
        ({"a": None}, {"a": 1}, {"a": None}),
        ({}, {"a": 1}, {}),
    ],
)
def test_differences(desired: Any, reported: Any, delta: Any) -> None:
    assert json(difference(desired, reported)) == json(delta)


def test_reported_versions_rise_by_one_and_the_delta_follows() -> None:
    document = apply_desired(Document("d"), DesiredState(4, {"interval_s": 10}), AT)
    assert document is not None
    assert document.delta == {"interval_s": 10}
    reported = apply_reported(document, {"interval_s": 5, "firmware": "1"}, AT)
    assert reported.reported is not None
    assert (reported.reported.version, reported.delta) == (1, {"interval_s": 10})
    again = apply_reported(reported, {"interval_s": 10}, AT)
    assert again.reported is not None
    assert (again.reported.version, again.delta) == (2, {})
    assert again.reported.state == {"interval_s": 10, "firmware": "1"}


@given(st.lists(st.integers(1, 9), max_size=8))
def test_a_desired_state_is_taken_once_and_an_older_one_never(versions: list[int]) -> None:
    document, taken = Document("d"), []
    for version in versions:
        after = apply_desired(document, DesiredState(version, {"v": version}), AT)
        if after is not None:
            document = after
            taken.append(version)
    assert taken == sorted(set(taken))
    assert (document.desired.version if document.desired else None) == (max(versions) if versions else None)


def test_removing_the_desired_state_removes_the_delta_and_nothing_else() -> None:
    presence = Presence("online", AT, AT, None, "gw", 1)
    document = apply_desired(apply_reported(Document("d", presence), {"a": 1}, AT), DesiredState(1, {"a": 2}), AT)
    assert document is not None
    after = without_desired(document, AT)
    assert (after.desired, after.delta, after.reported, after.presence) == (None, {}, document.reported, presence)


def test_presence_leaves_the_state_alone() -> None:
    document = apply_reported(Document("d"), {"a": 1}, AT)
    after = with_presence(document, Presence("offline", AT, AT, "keepalive", "gw", 2))
    assert (after.reported, after.presence and after.presence.reason) == (document.reported, "keepalive")


@given(JSON)
def test_depth_counts_what_is_nested(value: Any) -> None:
    def oracle(value: Any) -> int:
        if isinstance(value, dict):
            return 1 + max(map(oracle, value.values()), default=0)
        return 1 + max(map(oracle, value), default=0) if isinstance(value, list) else 0

    assert depth(value) == oracle(value)
