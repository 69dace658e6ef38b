"""What can be a label, what can be a group, and who is in it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.groups import PART_MAX, BadLabels, by_rank, check_group, check_labels, is_member

PARTS = st.text("aZ09._:@-", min_size=1, max_size=4)


@pytest.mark.parametrize(
    "labels",
    [{"": "x"}, {"a": ""}, {"a b": "x"}, {"a=b": "x"}, {"a": "b/c"}, {"a": "ü"}, {"a": "x\n"}, {"a" * 64: "x"},
     {"a": "x" * (PART_MAX + 1)}, {"a": "1", "b": "2", "c": "3"}],
)  # fmt: skip
def test_what_cannot_be_labels_says_so(labels: dict[str, str]) -> None:
    with pytest.raises(BadLabels) as error:
        check_labels(labels, 2)
    assert len(str(error.value)) < 300


@pytest.mark.parametrize("name", ["", "=", "a=", "=b", "everyone", "ALL", "a=b=c", "a=b,c=d", "a=b/c", "a" * 200])
def test_what_cannot_be_a_group_says_so(name: str) -> None:
    with pytest.raises(BadLabels):
        check_group(name)


@given(st.dictionaries(PARTS, PARTS, max_size=4), PARTS, PARTS)
def test_a_device_is_in_the_groups_of_its_labels_and_in_all(labels: dict[str, str], key: str, value: str) -> None:
    check_labels(labels, 4)
    check_group(f"{key}={value}")
    assert is_member(labels, "all")
    assert all(is_member(labels, f"{name}={text}") for name, text in labels.items())
    assert is_member(labels, f"{key}={value}") == ((key, value) in labels.items())


def test_all_is_the_lowest_and_the_others_go_by_their_names() -> None:
    names = ["site=north", "all", "able=yes", "model=x1"]
    assert sorted(names, key=by_rank) == ["all", "able=yes", "model=x1", "site=north"]
