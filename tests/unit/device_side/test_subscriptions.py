"""The trie of subscriptions against a list and `bridge.mqtt.topics.matches`."""

from __future__ import annotations

from collections import Counter

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from bridge.device_side.subscriptions import Subscriptions, _Node
from bridge.mqtt.topics import is_valid_filter, is_valid_name, matches

LEVELS = st.sampled_from(["a", "b", "", "$SYS"])
TOPICS = st.lists(LEVELS, min_size=1, max_size=4).map("/".join).filter(is_valid_name)
FILTERS = (
    st.lists(st.one_of(LEVELS, st.sampled_from("+#")), min_size=1, max_size=4).map("/".join).filter(is_valid_filter)
)
CLIENTS = st.sampled_from(["one", "two", "three"])


class Trie(RuleBasedStateMachine):
    """Every operation on the trie and on a plain dictionary."""

    def __init__(self) -> None:
        super().__init__()
        self.trie: Subscriptions[str, int] = Subscriptions()
        self.model: dict[tuple[str, str], int] = {}

    @rule(topic_filter=FILTERS, client=CLIENTS, details=st.integers(0, 2))
    def add(self, topic_filter: str, client: str, details: int) -> None:
        before = self.trie.version
        assert self.trie.add(topic_filter, client, details) == ((topic_filter, client) not in self.model)
        self.model[topic_filter, client] = details
        assert self.trie.version > before

    @rule(topic_filter=FILTERS, client=CLIENTS)
    def remove(self, topic_filter: str, client: str) -> None:
        before, known = self.trie.version, (topic_filter, client) in self.model
        assert self.trie.remove(topic_filter, client) == known
        self.model.pop((topic_filter, client), None)
        assert (self.trie.version > before) == known

    @rule(topic=TOPICS)
    def match(self, topic: str) -> None:
        expected = [
            (client, details) for (topic_filter, client), details in self.model.items() if matches(topic_filter, topic)
        ]
        assert Counter(self.trie.match(topic)) == Counter(expected)

    @invariant()
    def no_branch_without_a_subscription(self) -> None:
        prefixes = {
            tuple(topic_filter.split("/")[:depth])
            for topic_filter, _ in self.model
            for depth in range(1, topic_filter.count("/") + 2)
        }
        assert _branches(self.trie._root) == len(prefixes)


def _branches(node: _Node[str, int]) -> int:
    return sum(1 + _branches(child) for child in node.children.values())


Trie.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestTrie = Trie.TestCase


def test_filters_as_deep_as_they_may_be() -> None:
    trie: Subscriptions[str, int] = Subscriptions()
    trie.add("/".join("a" * 400), "names", 0)
    trie.add("/".join("+" * 400), "wildcards", 0)
    assert {client for client, _ in trie.match("/".join("a" * 400))} == {"names", "wildcards"}
