"""Topics by level: which of them a filter matches, at the cost of the levels it walks and of what it finds.

The mirror image of `subscriptions`: there are many topics here, and a filter asks.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Union

_Node = Union[str, "_Branch"]
_Branch = dict[str, _Node]
"""By level. A topic that nothing lies below is there itself, for most are; one that has something below it stands in
its own branch under `_HERE`."""
_HERE = "#"
"""No level of a topic is called so [MQTT-4.7.1-1]."""


class TopicTree:
    """A set of topic names."""

    def __init__(self) -> None:
        self._root: _Branch = {}

    def add(self, topic: str) -> None:
        """Harmless when it is there."""
        *path, last = topic.split("/")
        branch = self._root
        for level in path:
            below = branch.get(level)
            if not isinstance(below, dict):
                below = branch[level] = {} if below is None else {_HERE: below}
            branch = below
        below = branch.get(last)
        if isinstance(below, dict):
            below[_HERE] = topic
        else:
            branch[last] = topic

    def remove(self, topic: str) -> None:
        """Harmless when it is not there. Branches that nothing is left in go."""
        *path, last = topic.split("/")
        branches = [self._root]
        for level in path:
            below = branches[-1].get(level)
            if not isinstance(below, dict):
                return
            branches.append(below)
        if isinstance(below := branches[-1].get(last), dict):
            below.pop(_HERE, None)
        else:
            branches[-1].pop(last, None)
        for level, parent, branch in zip(reversed(path), reversed(branches[:-1]), reversed(branches[1:]), strict=True):
            if branch:
                break
            del parent[level]

    def match(self, topic_filter: str) -> Iterator[str]:
        """Those that a valid filter matches; the tree must not change meanwhile.

        A wildcard at the first level does not match a topic that begins with `$` [MQTT-4.7.2-1].
        """
        levels = topic_filter.split("/")
        if levels[0] not in ("+", "#"):
            yield from _walk(self._root, levels, 0)
            return
        for level, below in self._root.items():
            if not level.startswith("$"):
                yield from _walk(below, levels, 0 if levels[0] == "#" else 1)


def _walk(node: _Node, levels: list[str], depth: int) -> Iterator[str]:
    if depth < len(levels) and levels[depth] == "#":
        yield from _all(node)
    elif isinstance(node, str):
        if depth == len(levels):
            yield node
    elif depth == len(levels):
        here = node.get(_HERE)
        if isinstance(here, str):
            yield here
    elif levels[depth] == "+":
        for level, below in node.items():
            if level != _HERE:
                yield from _walk(below, levels, depth + 1)
    elif (named := node.get(levels[depth])) is not None:
        yield from _walk(named, levels, depth + 1)


def _all(node: _Node) -> Iterator[str]:
    """The topic and all below it; the stack is our own, for topics may be as deep as they are long."""
    left = [node]
    while left:
        node = left.pop()
        if isinstance(node, str):
            yield node
        else:
            left += node.values()
