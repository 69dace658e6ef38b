"""Topics by level against a list of them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.device_side.topic_tree import TopicTree
from bridge.mqtt.topics import is_valid_filter, matches

LEVELS = st.sampled_from(["", "a", "b", "$x", "long"])
TOPICS = st.lists(LEVELS, min_size=1, max_size=4).map("/".join).filter(bool)
FILTERS = st.lists(LEVELS | st.sampled_from(["+", "#"]), min_size=1, max_size=5).map("/".join).filter(is_valid_filter)


@given(st.lists(st.tuples(st.booleans(), TOPICS)), st.lists(FILTERS, min_size=1, max_size=5))
def test_what_a_filter_matches_after_any_changes(changes: list[tuple[bool, str]], filters: list[str]) -> None:
    tree, topics = TopicTree(), set[str]()
    for there, topic in changes:
        if there:
            tree.add(topic)
            topics.add(topic)
        else:
            tree.remove(topic)
            topics.discard(topic)
    for topic_filter in filters:
        assert sorted(tree.match(topic_filter)) == sorted(topic for topic in topics if matches(topic_filter, topic))


@pytest.mark.parametrize("topics", [["a/b/c", "a/b", "a"], ["a", "a/b", "a/b/c"]])
def test_what_is_removed_leaves_nothing_behind(topics: list[str]) -> None:
    tree = TopicTree()
    for topic in topics:
        tree.add(topic)
    assert sorted(tree.match("#")) == sorted(topics)
    for topic in topics:
        tree.remove(topic)
    assert list(tree.match("#")) == []
    tree.add("a/b/c")
    assert list(tree.match("a/+/c")) == ["a/b/c"]


def test_topics_as_deep_as_they_may_be() -> None:
    deep = "/".join("a" * 400)
    tree = TopicTree()
    tree.add(deep)
    for topic_filter in (deep, "/".join("+" * 400), "a/#"):
        assert list(tree.match(topic_filter)) == [deep]
