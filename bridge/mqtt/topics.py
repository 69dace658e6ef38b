"""Topic names and topic filters (MQTT5 §4.7): which are valid, which match. No trie: that is the broker's."""

from __future__ import annotations

from typing import Final

from bridge.mqtt.errors import PeerError
from bridge.mqtt.reasons import Reason

SHARE_PREFIX = "$share/"
REMEMBERED_MAX: Final = 1024
"""Characters: longer topic names are taken, but no cache remembers them, for it would hold 64 times as much."""
_FLAT_LEVELS = 16
"""Of a name or filter that costs what its text does."""
_LEVEL_BYTES = 256
"""What a level takes in a tree, about."""


def check_name(name: str, max_bytes: int = 0xFFFF, max_levels: int = 0x10000) -> None:
    """PeerError 0x90 for an empty name [MQTT-4.7.3-1], wildcards [MQTT-3.3.2-2] and names beyond our limits."""
    if not name:
        raise PeerError(Reason.TOPIC_NAME_INVALID, "a topic name is empty [MQTT-4.7.3-1]")
    if "+" in name or "#" in name:
        raise PeerError(Reason.TOPIC_NAME_INVALID, "a topic name holds a wildcard [MQTT-3.3.2-2]")
    if _beyond(name, max_bytes, max_levels):
        raise PeerError(Reason.TOPIC_NAME_INVALID, f"a topic name has over {max_bytes} bytes or {max_levels} levels")


def check_filter(pattern: str, max_bytes: int = 0xFFFF, max_levels: int = 0x10000) -> None:
    """PeerError 0x8F for a filter that is none: empty, wildcards out of place, a bad `$share`, beyond our limits."""
    fault = _filter_fault(pattern)
    if fault:
        raise PeerError(Reason.TOPIC_FILTER_INVALID, fault)
    if _beyond(pattern, max_bytes, max_levels):
        raise PeerError(Reason.TOPIC_FILTER_INVALID, f"a filter has over {max_bytes} bytes or {max_levels} levels")


def weight(text: str) -> int:
    """Bytes that a name or filter is counted with where it is kept in a tree: many short levels are not for nothing."""
    return len(text) + _LEVEL_BYTES * max(0, text.count("/") + 1 - _FLAT_LEVELS)


def _beyond(text: str, max_bytes: int, max_levels: int) -> bool:
    return len(text.encode()) > max_bytes or text.count("/") >= max_levels


def _filter_fault(pattern: str) -> str:
    if is_shared(pattern):
        group, slash, pattern = pattern.removeprefix(SHARE_PREFIX).partition("/")
        if not group or "+" in group or "#" in group:
            return "a share name is empty or holds a wildcard [MQTT-4.8.2-1]"
        if not slash:
            return "a shared subscription has no filter [MQTT-4.8.2-2]"
    if not pattern:
        return "a topic filter is empty [MQTT-4.7.3-1]"
    levels = pattern.split("/")
    if any("#" in level for level in levels[:-1]) or ("#" in levels[-1] and levels[-1] != "#"):
        return "# stands alone in the last level of a filter only [MQTT-4.7.1-1]"
    if any("+" in level and level != "+" for level in levels):
        return "+ stands alone in its level [MQTT-4.7.1-2]"
    return ""


def is_valid_name(name: str) -> bool:
    """Whether `name` can be published to."""
    return _is_text(name) and not ("+" in name or "#" in name)


def is_valid_filter(pattern: str) -> bool:
    """Whether `pattern` can be subscribed to."""
    return _is_text(pattern) and not _filter_fault(pattern)


def _is_text(topic: str) -> bool:
    if not topic or "\0" in topic:
        return False
    try:
        return len(topic.encode()) <= 0xFFFF
    except UnicodeEncodeError:
        return False


def is_shared(pattern: str) -> bool:
    """Whether a filter is a shared subscription (MQTT5 §4.8.2)."""
    return pattern.startswith(SHARE_PREFIX)


def split_share(pattern: str) -> tuple[str, str]:
    """(share name, filter) of a valid filter; the share name is empty when it is not shared (MQTT5 §4.8.2)."""
    if not is_shared(pattern):
        return "", pattern
    group, _, rest = pattern.removeprefix(SHARE_PREFIX).partition("/")
    return group, rest


def matches(pattern: str, topic: str) -> bool:
    """Whether a valid filter (without `$share/GROUP/`) matches a valid topic name.

    A wildcard in the first level does not match a topic that begins with `$` [MQTT-4.7.2-1]; `a/#` matches `a` too.
    """
    if topic.startswith("$") and pattern[0] in "+#":
        return False
    wanted, levels = pattern.split("/"), topic.split("/")
    if wanted[-1] == "#":
        wanted.pop()
        levels = levels[: len(wanted)]
    return len(wanted) == len(levels) and all(want in ("+", level) for want, level in zip(wanted, levels, strict=True))
