"""DeviceFilter: an MQTT topic filter of the configuration; `{device}` in it stands for whoever publishes or subscribes.

Pure. It does not check whether a topic is well formed; the MQTT session has done that.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

PLACEHOLDER = "{device}"


class DeviceFilter:
    """One filter, cut into levels once.

    The device id is put into single levels *after* the filter was cut at its slashes and is only ever compared as a
    literal: a device named `+` or `a/b` gains nothing by its name.
    """

    __slots__ = ("_levels",)

    def __init__(self, text: str) -> None:
        """Cut and check the filter.

        Raises:
            ValueError: it is not a topic filter [MQTT-4.7.1], or has a placeholder other than `{device}`.
        """
        self._levels = tuple(text.split("/"))
        if not text:
            raise ValueError("an empty topic filter")
        if "#" in self._levels[:-1]:
            raise ValueError(f"topic filter {text!r}: '#' may stand only at the end")
        for level in self._levels:
            if len(level) > 1 and ("+" in level or "#" in level):
                raise ValueError(f"topic filter {text!r}: a wildcard must be a whole level")
            rest = level.replace(PLACEHOLDER, "")
            if "{" in rest or "}" in rest:
                raise ValueError(f"topic filter {text!r}: the only placeholder is {PLACEHOLDER}")

    def matches(self, device: str, levels: Sequence[str]) -> bool:
        """Whether the topic with these levels matches, for `device`."""
        return self._allows(levels, device, _takes_level)

    def covers(self, device: str, levels: Sequence[str]) -> bool:
        """Whether everything that the topic filter with these levels can match also matches this one, for `device`."""
        return self._allows(levels, device, _covers_level)

    def overlaps(self, device: str, levels: Sequence[str]) -> bool:
        """Whether any topic matches both this filter, for `device`, and the topic filter with these levels."""
        own = self._levels
        if not (_reaches(own[0], levels[0]) and _reaches(levels[0], own[0])):
            return False
        for mine, theirs in zip(own, levels, strict=False):
            if "#" in (mine, theirs):
                return True
            if "+" not in (mine, theirs) and mine.replace(PLACEHOLDER, device) != theirs:
                return False
        longer, length = (own, len(levels)) if len(own) > len(levels) else (levels, len(own))
        return list(longer[length:]) in ([], ["#"])  # '#' also takes its parent level [MQTT-4.7.1-2]

    def _allows(self, levels: Sequence[str], device: str, takes: Callable[[str, str, str], bool]) -> bool:
        own = self._levels
        if not _reaches(own[0], levels[0]):
            return False
        if own[-1] == "#":
            own = own[:-1]  # '#' also takes its parent level [MQTT-4.7.1-2], hence the plain prefix
            if len(levels) < len(own):
                return False
        elif len(levels) != len(own):
            return False
        return all(takes(allowed, level, device) for allowed, level in zip(own, levels, strict=False))


def _reaches(first: str, other: str) -> bool:
    """A leading wildcard does not reach $SYS and its like [MQTT-4.7.2-1]."""
    return first not in ("+", "#") or not other.startswith("$")


def _takes_level(allowed: str, level: str, device: str) -> bool:
    return allowed == "+" or allowed.replace(PLACEHOLDER, device) == level


def _covers_level(allowed: str, level: str, device: str) -> bool:
    if level in ("+", "#"):
        return allowed == "+" and level == "+"  # a wildcard asked for needs a wildcard, never a device named '+'
    return _takes_level(allowed, level, device)
