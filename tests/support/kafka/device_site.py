"""A gateway with documents, desired states and commands in topics of its own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tests.interop.gateway import Gateway

_SINK = '[kafka]\nbootstrap_servers = ["{server}"]\nrequest_timeout = "5 s"\nheartbeat = "500 ms"\n'
_ROUTES = """
[state]
topic = "{topic}"
[downlink]
desired_topic = "{topic}-desired"
command_topic = "{topic}-commands"
outcome_topic = "{topic}-outcomes"
unsynchronised_clock = "trust"
max_bytes = "16 MiB"
"""


def make_topics(make_topic: Callable[..., None], server: str, name: str) -> None:
    """The state topic of this name, and those named after it."""
    for each in (name, f"{name}-desired"):
        make_topic(server, each, 2, cleanup_policy="compact")
    for each in ("commands", "outcomes"):
        make_topic(server, f"{name}-{each}", 2)


def device_gateway(directory: Path, server: str, topic: str) -> Gateway:
    """It does not run yet."""
    return Gateway(directory, sink=_SINK.replace("{server}", server), routes=_ROUTES.format(topic=topic))
