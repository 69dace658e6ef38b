"""Forms: what the routes say about their records in Kafka: key, partition, CloudEvents or not. Pure.

It is decided when a record is forwarded, by the configuration of that moment. A record whose route is not there any
more, or leads elsewhere by now, goes where the log says, in the plain form.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from bridge.config import Route
from bridge.routing import Routing

By = bytes | int | None
"""What decides a record's partition: the murmur2 hash of these bytes; this number; nothing: any partition, in turn."""

PLAIN: Final = Route("#", "")


class Forms:
    """The routes of one configuration."""

    def __init__(self, routes: Sequence[Route]) -> None:
        topics = {route.topic for route in routes}
        self._routings = {topic: Routing([each for each in routes if each.topic == topic]) for topic in topics}

    def of(self, device: str, topic: str, target: str) -> Route:
        """The first route that takes a message on the MQTT topic to the Kafka topic `target`."""
        routing = self._routings.get(target)
        return (routing.route(device, topic) if routing is not None else None) or PLAIN


def by_of(route: Route, device: str, key: bytes) -> By:
    """What decides the partition of a record with this key."""
    if route.partition == "key":
        # Without a key the device: so that its records stay in order all the same.
        return key or device.encode()
    if route.partition == "device":
        return device.encode()
    return None if route.partition == "any" else int(route.partition)


def key_of(route: Route, device: str, topic: str) -> bytes:
    """The record's key; empty: it has none."""
    if route.key == "device":
        return device.encode()
    if route.key == "none":
        return b""
    levels = topic.split("/")
    number = int(route.key.strip("{}"))
    return levels[number - 1].encode() if number <= len(levels) else b""


NO_ROUTES: Final = Forms(())
"""Every record in the plain form."""
