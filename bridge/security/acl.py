"""Acl: what a device may publish and subscribe to, by MQTT topic filters with `{device}` in them.

Pure. The callers remember the answers per (device, topic). What no filter allows is refused.
"""

from __future__ import annotations

from bridge import config
from bridge.device_filter import DeviceFilter

_SHARED = "$share/"


class Acl:
    """Answers for one `[acl]` section."""

    def __init__(self, rules: config.Acl) -> None:
        """Compile the filters.

        Raises:
            ValueError: one of them is not a topic filter; says which and why.
        """
        self._publish = tuple(map(DeviceFilter, rules.publish))
        self._subscribe = tuple(map(DeviceFilter, rules.subscribe))

    def may_publish(self, device: str, topic: str) -> bool:
        """Whether `device` may publish to `topic`."""
        levels = topic.split("/")
        return any(allowed.matches(device, levels) for allowed in self._publish)

    def may_subscribe(self, device: str, topic_filter: str) -> bool:
        """Whether everything that `topic_filter` can match is within one allowed filter.

        A shared subscription `$share/GROUP/FILTER` (MQTT5 §4.8.2) is judged by its FILTER.
        """
        levels = topic_filter.split("/")
        if topic_filter.startswith(_SHARED):
            levels = levels[2:]
        return bool(levels) and any(allowed.covers(device, levels) for allowed in self._subscribe)
