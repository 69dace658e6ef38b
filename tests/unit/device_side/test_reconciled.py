"""What a gateway knows of a device and what the topic has of it, made into one; and patches made into one."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.device_side.desired import Desired, Versioned, compose
from bridge.device_side.documents import (
    Document,
    Ground,
    Presence,
    apply_reported,
    apply_whole,
    merge_patch,
    reconciled,
)

T1, T2 = "2026-11-21T10:00:01.000Z", "2026-11-21T10:00:02.000Z"


def document(gateway: str, connected: str, version: int, state: dict[str, Any], *, base: int | None = None) -> Document:
    presence = Presence("online", connected, connected, None, gateway, 1, connected=connected)
    reported = Versioned(version, connected, state) if version else None
    return Document("d", presence, reported, ground=msgspec.UNSET if base is None else Ground(base))


def test_the_reports_of_a_newer_connection_here_come_on_top_of_what_others_know() -> None:
    own = document("gw-a", T2, 0, {}, base=0)
    for patch in ({"a": 1, "b": {"c": 1}}, {"b": {"c": None, "d": 2}}):
        own = apply_reported(own, patch, T2)
    merged = reconciled(own, document("gw-b", T1, 12, {"b": {"c": 9, "e": 3}, "f": 4}), "gw-a")
    assert merged.presence == own.presence
    assert merged.reported == Versioned(14, T2, {"a": 1, "b": {"d": 2, "e": 3}, "f": 4})
    assert merged.ground == Ground(12, 2, {"a": 1, "b": {"c": None, "d": 2}})
    assert reconciled(merged, document("gw-b", T1, 12, {}), "gw-a") == merged, "it stands on that now"


def test_what_was_all_that_is_reported_leaves_nothing_of_what_others_know() -> None:
    own = apply_reported(document("gw-a", T2, 0, {}, base=0), {"x": 1}, T2)
    own = apply_whole(own, {"a": 1}, T2)
    own = apply_reported(own, {"b": 2}, T2)
    merged = reconciled(own, document("gw-b", T1, 12, {"b": 9, "f": 4}), "gw-a")
    assert merged.reported == Versioned(15, T2, {"a": 1, "b": 2})
    again = apply_reported(merged, {"c": 3}, T2)
    assert reconciled(again, document("gw-b", T1, 20, {"f": 4}), "gw-a").reported == Versioned(
        24, T2, {"a": 1, "b": 2, "c": 3}
    )


def test_a_newer_connection_elsewhere_counts_as_it_is() -> None:
    own, known = document("gw-a", T1, 3, {"a": 1}, base=2), document("gw-b", T2, 2, {"b": 1})
    merged = reconciled(own, known, "gw-a")
    assert (merged.presence, merged.reported) == (known.presence, known.reported)


@pytest.mark.parametrize(
    ("own", "known", "version"),
    [
        (document("gw-a", T1, 3, {}, base=1), document("gw-a", T1, 2, {}), 3),
        (document("gw-a", T1, 3, {}, base=1), document("gw-a", T1, 7, {}), 7),
        (document("gw-a", T1, 3, {}), document("gw-a", T1, 7, {}), 7),
        (document("gw-a", T2, 3, {}), document("gw-b", T1, 7, {}), 7),
        (document("gw-a", T2, 9, {}), document("gw-b", T1, 7, {}), 9),
        (document("gw-a", T2, 9, {}, base=9), document("gw-b", T1, 0, {}), 9),
    ],
)
def test_versions_never_fall_and_the_next_look_finds_nothing_more_to_do(
    own: Document, known: Document, version: int
) -> None:
    merged = reconciled(own, known, "gw-a")
    assert merged.reported is not None
    assert merged.reported.version == version
    assert merged.presence == own.presence
    assert reconciled(merged, known, "gw-a") == merged


def test_the_later_desired_state_counts_wherever_the_device_is() -> None:
    own, known = document("gw-a", T1, 1, {"a": 1}), document("gw-b", T2, 1, {"a": 1})
    own.desired = Desired(5, T1, {"a": 2})
    known.desired = Desired(4, T1, {"a": 3})
    merged = reconciled(own, known, "gw-a")
    assert merged.desired == own.desired
    assert merged.delta == {"a": 2}


@pytest.mark.parametrize(("ours", "theirs", "later"), [(5, 4, "ours"), (4, 5, "theirs"), (None, 0, "theirs")])
def test_the_later_labels_count_wherever_the_device_is(ours: int | None, theirs: int, later: str) -> None:
    own, known = document("gw-a", T2, 0, {}), document("gw-b", T1, 0, {})
    if ours is not None:
        own.labels, own.labels_version = {"from": "ours"}, ours
    known.labels, known.labels_version = {"from": "theirs"}, theirs
    merged = reconciled(own, known, "gw-a")
    assert (merged.labels, merged.labels_version) == ({"from": later}, max(ours or 0, theirs))


STATES = st.recursive(st.integers(0, 3), lambda inner: st.dictionaries(st.sampled_from("abc"), inner, max_size=3))


@given(
    st.dictionaries(st.sampled_from("abc"), STATES, max_size=3),
    st.dictionaries(st.sampled_from("abc"), st.none() | st.integers(0, 3), max_size=3),
    st.dictionaries(st.sampled_from("abc"), st.none() | st.integers(0, 3), max_size=3),
)
def test_two_flat_patches_in_one_do_what_the_two_do(
    state: dict[str, Any], first: dict[str, Any], second: dict[str, Any]
) -> None:
    assert merge_patch(state, compose(first, second)) == merge_patch(merge_patch(state, first), second)


@given(
    st.dictionaries(st.sampled_from("abc"), st.dictionaries(st.sampled_from("xyz"), st.integers(0, 3)), max_size=3),
    st.dictionaries(st.sampled_from("abc"), st.dictionaries(st.sampled_from("xyz"), st.none() | st.integers(0, 3))),
    st.dictionaries(st.sampled_from("abc"), st.dictionaries(st.sampled_from("xyz"), st.none() | st.integers(0, 3))),
)
def test_two_deep_patches_of_one_shape_in_one_do_what_the_two_do(
    state: dict[str, Any], first: dict[str, Any], second: dict[str, Any]
) -> None:
    assert merge_patch(state, compose(first, second)) == merge_patch(merge_patch(state, first), second)
