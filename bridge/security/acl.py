"""Acl: what a device may publish and subscribe to, by MQTT topic filters with `{device}` in them.

Pure. The callers remember the answers per (device, topic). What no filter allows is refused.
"""

from __future__ import annotations

from bridge import config
from bridge.device_filter import DeviceFilter

_SHARED = "$share/"
_OURS = "$SYS"


class Acl:
    """Answers for one `[acl]` section, or for its absence where everything is allowed."""

    def __init__(self, rules: config.Acl | None) -> None:
        """Compile the filters. None: everything is allowed but publishing the broker's own figures.

        Raises:
            ValueError: one of them is not a topic filter; says which and why.
        """
        self.replace(rules)

    def replace(self, rules: config.Acl | None) -> None:
        """Judge by other rules from now on. Raises ValueError as the constructor does; then the old ones stay."""
        publish, subscribe = (rules.publish, rules.subscribe) if rules is not None else ((), ())
        self._publish, self._subscribe = tuple(map(DeviceFilter, publish)), tuple(map(DeviceFilter, subscribe))
        self._open = rules is None

    def may_publish(self, device: str, topic: str) -> bool:
        """Whether `device` may publish to `topic`."""
        levels = topic.split("/")
        if self._open:
            return levels[0] != _OURS
        return any(allowed.matches(device, levels) for allowed in self._publish)

    def may_subscribe(self, device: str, topic_filter: str) -> bool:
        """Whether everything that `topic_filter` can match is within one allowed filter.

        A shared subscription `$share/GROUP/FILTER` (MQTT5 §4.8.2) is judged by its FILTER.
        """
        levels = topic_filter.split("/")
        if topic_filter.startswith(_SHARED):
            levels = levels[2:]
        return bool(levels) and (self._open or any(allowed.covers(device, levels) for allowed in self._subscribe))
