"""Acl: what a device may publish and subscribe to, by MQTT topic filters with `{device}` in them.

Pure. The callers remember the answers per (device, topic). It does not check whether a topic or a filter is well
formed; the MQTT session has done that. What no pattern allows is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from bridge import config

DEVICE = "{device}"
_SHARED = "$share/"

Pattern = tuple[str, ...]
"""A filter's levels. Compiled once; only `{device}` inside a level is filled in per question."""


class Acl:
    """Answers for one `[acl]` section.

    The device id is put into single levels *after* the filter was cut at its slashes and is only ever compared as a
    literal: a device named `+` or `a/b` gains nothing by its name.
    """

    def __init__(self, rules: config.Acl) -> None:
        """Compile the filters.

        Raises:
            ValueError: one of them is not a topic filter [MQTT-4.7.1], or has a placeholder other than `{device}`.
        """
        self._publish = _compile(rules.publish)
        self._subscribe = _compile(rules.subscribe)

    def may_publish(self, device: str, topic: str) -> bool:
        """Whether `device` may publish to `topic`."""
        levels = topic.split("/")
        return any(_allows(pattern, levels, device, _takes_level) for pattern in self._publish)

    def may_subscribe(self, device: str, topic_filter: str) -> bool:
        """Whether everything that `topic_filter` can match is within one allowed filter.

        A shared subscription `$share/GROUP/FILTER` (MQTT5 §4.8.2) is judged by its FILTER.
        """
        levels = topic_filter.split("/")
        if topic_filter.startswith(_SHARED):
            levels = levels[2:]
        return bool(levels) and any(_allows(pattern, levels, device, _covers_level) for pattern in self._subscribe)


def _compile(filters: Iterable[str]) -> tuple[Pattern, ...]:
    return tuple(_checked(text, tuple(text.split("/"))) for text in filters)


def _checked(text: str, pattern: Pattern) -> Pattern:
    if not text:
        raise ValueError("an empty topic filter in [acl]")
    if "#" in pattern[:-1]:
        raise ValueError(f"[acl] filter {text!r}: '#' may stand only at the end")
    for level in pattern:
        if len(level) > 1 and ("+" in level or "#" in level):
            raise ValueError(f"[acl] filter {text!r}: a wildcard must be a whole level")
        rest = level.replace(DEVICE, "")
        if "{" in rest or "}" in rest:
            raise ValueError(f"[acl] filter {text!r}: the only placeholder is {DEVICE}")
    return pattern


def _allows(pattern: Pattern, levels: list[str], device: str, takes: Callable[[str, str, str], bool]) -> bool:
    if pattern[0] in ("+", "#") and levels[0].startswith("$"):
        return False  # a leading wildcard does not reach $SYS and its like [MQTT-4.7.2-1]
    if pattern[-1] == "#":
        pattern = pattern[:-1]  # '#' also takes its parent level [MQTT-4.7.1-2], hence the plain prefix
        if len(levels) < len(pattern):
            return False
    elif len(levels) != len(pattern):
        return False
    return all(takes(allowed, level, device) for allowed, level in zip(pattern, levels, strict=False))


def _takes_level(allowed: str, level: str, device: str) -> bool:
    return allowed == "+" or allowed.replace(DEVICE, device) == level


def _covers_level(allowed: str, level: str, device: str) -> bool:
    if level in ("+", "#"):
        return allowed == "+" and level == "+"  # a wildcard asked for needs a wildcard, never a device named '+'
    return _takes_level(allowed, level, device)
