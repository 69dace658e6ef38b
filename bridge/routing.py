"""Which route a device's topic takes: a pure function of the configuration. The first route that matches decides."""

from __future__ import annotations

from collections.abc import Sequence

from bridge.config import Route
from bridge.device_filter import DeviceFilter


class Routing:
    """The routes of one configuration."""

    def __init__(self, routes: Sequence[Route]) -> None:
        self._routes = tuple((DeviceFilter(route.filter), route) for route in routes)

    def route(self, device: str, topic: str) -> Route | None:
        """The route for what `device` publishes on `topic`; None: it stays on the local broker.

        Costs a match for each route; callers remember the answer for a (device, topic).
        """
        levels = topic.split("/")
        for wanted, route in self._routes:
            if wanted.matches(device, levels):
                return route
        return None
