"""A Sparkplug message as one JSON object, the value of its record in Kafka. docs/sparkplug.md describes the form."""

from __future__ import annotations

from typing import Any

import msgspec

from bridge.sparkplug.metrics import Json, body
from bridge.sparkplug.names import Names
from bridge.sparkplug.topic import Topic

encode = msgspec.json.Encoder().encode


def record_of(topic: Topic, payload: Any, metrics: list[Json], names: Names | None, stale: str | None) -> Json:
    """The object.

    Args:
        topic: what its MQTT topic says.
        payload: a `wire.Payload`.
        metrics: its metrics in JSON.
        names: of the birth by which they were named; None: there was none.
        stale: why they may be wrong, or incomplete.
    """
    found: Json = {"type": topic.kind, "group": topic.group, "node": topic.node}
    if topic.device:
        found["device"] = topic.device
    if payload.HasField("timestamp"):
        found["timestamp"] = payload.timestamp
    if payload.HasField("seq"):
        found["seq"] = payload.seq
    if names is not None and names.born:
        found["born"] = names.born
    if stale is not None:
        found["stale"] = stale
    found["metrics"] = metrics
    found.update(body(payload))
    return found
