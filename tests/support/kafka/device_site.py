"""A gateway with documents, desired states and commands in topics of its own."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.interop.gateway import Gateway
from tests.support.kafka.documents import Topic

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


def fresh_topic(prefix: str, server: str, make_topic: Callable[..., None], read: Callable[..., Any]) -> Topic:
    """A state topic of a test's own, and those named after it."""
    name = f"{prefix}-{time.time_ns()}"
    for each in (name, f"{name}-desired"):
        make_topic(server, each, 2, cleanup_policy="compact")
    for each in ("commands", "outcomes"):
        make_topic(server, f"{name}-{each}", 2)
    return Topic(name, lambda which: read(server, which))


@contextmanager
def running_gateway(directory: Path, server: str, topic: str) -> Iterator[Gateway]:
    """Killed at the end."""
    gateway = Gateway(directory, sink=_SINK.replace("{server}", server), routes=_ROUTES.format(topic=topic))
    gateway.start()
    try:
        yield gateway
    finally:
        gateway.kill()
