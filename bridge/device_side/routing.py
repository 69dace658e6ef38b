"""Which route a device's topic takes: a pure function of the configuration. The first route that matches decides."""

from __future__ import annotations

from collections.abc import Sequence

from bridge.config import Route

DEVICE_PLACEHOLDER = "{device}"


class Routing:
    """The routes of one configuration."""

    def __init__(self, routes: Sequence[Route]) -> None:
        self._routes = tuple((tuple(route.filter.split("/")), route) for route in routes)

    def route(self, device: str, topic: str) -> Route | None:
        """The route for what `device` publishes on `topic`; None: it stays on the local broker.

        Costs a match for each route; callers remember the answer for a (device, topic).
        """
        levels = topic.split("/")
        for pattern, route in self._routes:
            if _matches(pattern, levels, device):
                return route
        return None


def _matches(pattern: Sequence[str], levels: Sequence[str], device: str) -> bool:
    """As an MQTT filter (MQTT5 §4.7), the placeholder as one literal level: a wildcard in a device id is none."""
    if levels[0].startswith("$") and pattern[0] in ("+", "#"):
        return False
    for index, part in enumerate(pattern):
        if part == "#":
            return True
        if index == len(levels):
            return False
        wanted = device if part == DEVICE_PLACEHOLDER else part
        if part != "+" and wanted != levels[index]:
            return False
    return len(pattern) == len(levels)
