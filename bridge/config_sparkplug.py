"""Settings of routes whose messages are Sparkplug B: a part of `bridge.config`. docs/sparkplug.md says how it works."""

from __future__ import annotations

from typing import Annotated

import msgspec

from bridge.quantities import KIB, Count, Size, Timeout


class Sparkplug(msgspec.Struct, frozen=True):
    """What is made of a route's Sparkplug B messages. A message beyond these bounds is a dead letter."""

    json: bool = False
    """The value in Kafka is JSON with every metric named; else the payload as it is."""
    rebirth: bool = True
    """Ask edge nodes for their births (NCMD `Node Control/Rebirth`) where a message of theirs is missing."""
    rebirth_interval: Timeout = 10.0
    """Between two such requests to one edge node."""
    report: bool | None = None
    """Births become reported state, which is in clear. None: unless the route seals."""
    reported_interval: Timeout | None = None
    """Data changes the reported state, too, at most so often for each document; None: only births do. Each time costs
    flash and Kafka a whole document."""
    values_max: Count = 10_000
    """In one payload: metrics, properties, parameters, cells of data sets and elements of arrays, all together."""
    nesting_max: Annotated[int, msgspec.Meta(ge=1, le=16)] = 8
    """Templates and property sets within each other."""
    metrics_max: Count = 10_000
    """Of one edge node and the devices behind it: their names are kept, in memory and on disk."""
    name_max_bytes: Size = 1 * KIB
    """Of a metric's name."""
    id_max_bytes: Size = 256
    """Of the id of a group, edge node, device or host application."""
    devices_max: Count = 1000
    """Behind one edge node; each has a document of its own."""
    nodes_max: Count = 100
    """Edge nodes for which one client speaks."""
