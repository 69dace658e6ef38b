"""Who subscribed to what: a trie over topic levels.

A look-up costs the levels of the topic and the matches it finds, whatever the number of subscriptions.
"""

from __future__ import annotations

from typing import Generic, TypeVar

Subscriber = TypeVar("Subscriber")
Details = TypeVar("Details")


class _Node(Generic[Subscriber, Details]):
    __slots__ = ("children", "here")

    def __init__(self) -> None:
        self.children: dict[str, _Node[Subscriber, Details]] = {}
        self.here: dict[Subscriber, Details] = {}


class Subscriptions(Generic[Subscriber, Details]):
    """Filter → subscribers, with what each asked for."""

    def __init__(self) -> None:
        self._root: _Node[Subscriber, Details] = _Node()
        self.version = 0
        """Rises with every change, so that callers can remember answers."""

    def add(self, topic_filter: str, subscriber: Subscriber, details: Details) -> bool:
        """True where the subscription is new, False where it replaces one [MQTT-3.8.4-3]."""
        node = self._root
        for level in topic_filter.split("/"):
            node = node.children.setdefault(level, _Node())
        new = subscriber not in node.here
        node.here[subscriber] = details
        self.version += 1
        return new

    def remove(self, topic_filter: str, subscriber: Subscriber) -> bool:
        """False where there was none. Branches that nobody needs any more go."""
        path = [self._root]
        levels = topic_filter.split("/")
        for level in levels:
            child = path[-1].children.get(level)
            if child is None:
                return False
            path.append(child)
        if path[-1].here.pop(subscriber, None) is None:
            return False
        for level, parent, node in zip(reversed(levels), reversed(path[:-1]), reversed(path[1:]), strict=True):
            if node.here or node.children:
                break
            del parent.children[level]
        self.version += 1
        return True

    def match(self, topic: str) -> list[tuple[Subscriber, Details]]:
        """Every subscription whose filter matches; a subscriber with several filters that match is there several times.

        A wildcard at the first level does not match a topic that begins with `$` [MQTT-4.7.2-1].
        """
        found: list[tuple[Subscriber, Details]] = []
        nodes = [self._root]
        wildcards = not topic.startswith("$")
        for level in topic.split("/"):
            below = []
            for node in nodes:
                children = node.children
                if wildcards:
                    if (rest := children.get("#")) is not None:
                        found += rest.here.items()
                    if (child := children.get("+")) is not None:
                        below.append(child)
                if (child := children.get(level)) is not None:
                    below.append(child)
            if not below:
                return found
            nodes, wildcards = below, True
        for node in nodes:
            found += node.here.items()
            if (rest := node.children.get("#")) is not None:
                found += rest.here.items()
        return found
